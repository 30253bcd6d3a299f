"""When compiling the step pays for itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnet50.options import TrainOptions
from resnet50.runtime.device import Device
from resnet50.runtime.errors import UserError
from resnet50.training.setup.compile import COMPILE_GAIN, COMPILE_SECONDS, decide_compile, needs_timing

OPTIONS = TrainOptions(dataset=Path("d"), out=Path("r"))
CPU = Device(torch.device("cpu"), "fp32", "tests")
GPU = Device(torch.device("cuda"), "bf16", "tests")
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


@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_is_asked_for_is_done(device: Device) -> None:
    assert decide_compile(replace(OPTIONS, compile="on"), device, 1.0) == (True, "as asked")
    assert decide_compile(replace(OPTIONS, compile="off"), device, 1e6) == (False, "as asked")
    assert not needs_timing(replace(OPTIONS, compile="on"), device)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        decide_compile(replace(OPTIONS, compile="on"), CPU, 1.0)
