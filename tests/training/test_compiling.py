"""When compiling the step pays for itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnet50.config import TrainOptions
from resnet50.errors import UserError
from resnet50.training.compiling import COMPILE_GAIN, COMPILE_SECONDS, decide_compile, needs_timing
from resnet50.training.machine import Machine

OPTIONS = TrainOptions(dataset=Path("d"), out=Path("r"))
CPU = Machine(torch.device("cpu"), "fp32", "tests")
GPU = Machine(torch.device("cuda"), "bf16", "tests")
PAYS_FROM = COMPILE_SECONDS / COMPILE_GAIN


def test_on_a_gpu_only_a_long_run_is_compiled() -> None:
    assert needs_timing(OPTIONS, GPU)
    assert decide_compile(OPTIONS, GPU, 1.1 * PAYS_FROM)[0]
    compiled, why = decide_compile(OPTIONS, GPU, 0.5 * PAYS_FROM)
    assert not compiled
    assert why == "it takes about 1 min 0 s and saves about 30 s of 3 min 20 s"


def test_a_cpu_does_without_and_needs_no_timing() -> None:
    assert not needs_timing(OPTIONS, CPU)
    assert not decide_compile(OPTIONS, CPU, 1e6)[0]


@pytest.mark.parametrize("machine", [CPU, GPU])
def test_what_is_asked_for_is_done(machine: Machine) -> None:
    assert decide_compile(replace(OPTIONS, compile="on"), machine, 1.0) == (True, "as asked")
    assert decide_compile(replace(OPTIONS, compile="off"), machine, 1e6) == (False, "as asked")
    assert not needs_timing(replace(OPTIONS, compile="on"), machine)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        decide_compile(replace(OPTIONS, compile="on"), CPU, 1.0)
