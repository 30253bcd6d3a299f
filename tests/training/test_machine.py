"""What `auto` chooses on processors and GPUs that this machine may not have."""

import pytest
import torch

from resnet50.errors import UserError
from resnet50.training.machine import choose_device, choose_machine, choose_precision


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
        choose_machine("cpu", "fp16")


def test_a_precision_that_is_asked_for_is_taken() -> None:
    assert choose_machine("cpu", "bf16").precision == "bf16"


def test_autocast_computes_in_the_chosen_format() -> None:
    a = torch.randn(8, 8)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with choose_machine("cpu", precision).autocast():
            assert (a @ a).dtype == dtype
