"""`--batch-size auto`: counted memory, a power of two, a margin, and no more than a dataset is good for."""

from pathlib import Path
from typing import Any

import pytest
import torch

import resnet50
from resnet50.model import resnet18
from resnet50.options import TrainOptions, from_values
from resnet50.runtime.device import resolve_device
from resnet50.runtime.errors import UserError
from resnet50.training.setup import batch_size as memory
from resnet50.training.setup.batch_size import available_memory, bytes_per_image, choose_batch_size, power_of_two
from tests.conftest import NARROW, TINY

CPU = resolve_device("cpu", "fp32")


def options(**values: Any) -> TrainOptions:
    given = {"dataset": "d", "out": "r", "batch_size": "auto", "depth": 18, "image_size": 64}
    return from_values(TrainOptions, given | values)


def test_what_is_counted_grows_with_the_area_of_the_image() -> None:
    network = resnet18(2)
    small, large = (bytes_per_image(network, size, CPU) for size in (64, 128))
    assert large == pytest.approx(4 * small, rel=0.05)
    # The stem's output alone, and what its norm and its ReLU keep of it, are 32 x 32 numbers a channel.
    assert small > 3 * NARROW[0] * 32 * 32 * 4


def test_half_the_bytes_a_number_nearly_half_the_memory() -> None:
    network = resnet18(2)
    bf16 = resolve_device("cpu", "bf16")
    assert bytes_per_image(network, 64, bf16) < 0.75 * bytes_per_image(network, 64, CPU)


@pytest.mark.parametrize(("bound", "power"), [(1, 1), (1.9, 1), (2, 2), (63.9, 32), (64, 64)])
def test_the_power_of_two_below(bound: float, power: int) -> None:
    assert power_of_two(bound) == power


def test_more_memory_takes_larger_batches_as_far_as_the_data_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    each = memory.TRANSIENT * bytes_per_image(resnet18(2), 64, CPU)
    fixed = 5 * 4 * sum(parameter.numel() for parameter in resnet18(2).parameters())

    def chosen(images_that_fit: float, images: int = 1_000_000, **values: Any) -> int:
        free = int((fixed + images_that_fit * each) / (1 - memory.MARGIN)) + 1
        monkeypatch.setattr(memory, "available_memory", lambda _: free)
        return choose_batch_size(options(**values), 2, images, CPU).batch

    assert [chosen(images) for images in (1.5, 8.1, 100, 100_000)] == [1, 8, 64, 1024]
    assert chosen(100_000, images=1000) == 32
    assert chosen(8.1, accumulate=4) == 32
    with pytest.raises(UserError, match=r"not even one image.*--image-size"):
        chosen(0.5)


def test_a_number_stays_as_it_is() -> None:
    assert choose_batch_size(options(batch_size=7), 2, 100, CPU).batch == 7


def test_some_memory_is_free_here() -> None:
    assert 10_000_000 < available_memory(torch.device("cpu")) < 10**14


@pytest.mark.slow
def test_a_run_says_what_it_took(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = resnet50.train(prepared, tmp_path / "run", epochs=1, batch_size="auto", **TINY)
    assert "batches of 2 images: each takes" in " ".join(capsys.readouterr().out.split())
    assert "batch_size: 2" in (run / "config.yaml").read_text()


def test_what_is_neither_a_number_nor_auto_is_refused() -> None:
    with pytest.raises(UserError, match=r"--batch-size 'large': expected a whole number or one of auto"):
        options(batch_size="large")
