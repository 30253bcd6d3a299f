"""What `auto` chooses on processors and GPUs that this machine may not have."""

import subprocess
import sys

import pytest
import torch

from resnet50.runtime import device as machine_module
from resnet50.runtime.device import choose_device, choose_precision, limit_threads, resolve_device
from resnet50.runtime.errors import UserError


@pytest.mark.parametrize(
    ("features", "precision"),
    [
        ({"avx2": True}, "fp32"),
        ({"avx2": True, "avx512_f": True, "avx512_vnni": True}, "fp32"),
        ({"avx2": True, "avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({}, "fp32"),
    ],
)
def test_a_cpu_gets_bf16_only_where_it_multiplies_it(
    features: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    chosen, why = choose_precision(torch.device("cpu"))
    assert chosen == precision
    assert "bf16" in why


@pytest.mark.parametrize(
    ("capability", "precision"), [((6, 1), "fp32"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_a_gpu_gets_the_format_of_its_matrix_units(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    chosen, why = choose_precision(torch.device("cuda"))
    assert chosen == precision
    assert "Some GPU" in why


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:7", "there is no device cuda:7.*CUDA device"),
        ("gpu", "'gpu' is none of auto, cpu, cuda"),
        ("", "is none of auto"),
    ],
)
def test_a_device_that_is_not_here_is_named(device: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_device(device)


def test_auto_takes_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="fp16 is for GPUs"):
        resolve_device("cpu", "fp16")


def test_a_precision_that_is_asked_for_is_taken() -> None:
    assert resolve_device("cpu", "bf16").precision == "bf16"


def test_autocast_computes_in_the_chosen_format() -> None:
    a = torch.randn(8, 8)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with resolve_device("cpu", precision).autocast():
            assert (a @ a).dtype == dtype


def test_no_more_threads_than_cores_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        monkeypatch.setattr(machine_module, "available_cores", lambda: 3)
        limit_threads()
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(machine_module, "available_cores", lambda: 8)
        limit_threads()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux")
def test_memory_that_is_freed_is_kept_for_the_next_step() -> None:
    script = (
        "import resource, sys, torch\n"
        "from resnet50.runtime.device import tune_allocator\n"
        "if sys.argv[1] == 'keep': tune_allocator()\n"
        "def work(): torch.ones(8, 1 << 20)\n"  # 32 MB, got and freed
        "for _ in range(3): work()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): work()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )

    def faults(how: str) -> int:
        return int(
            subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=True).stdout
        )

    given_back = faults("give back")
    assert given_back > 1000
    # Other processes may make the system take back some of the memory in the meantime, but not every time.
    assert min(faults("keep") for _ in range(4)) < given_back / 10
