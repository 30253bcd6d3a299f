"""The sums of an epoch: what counts in which, how processes add them up, and what they come to."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resnet50.runtime.distributed import Distributed
from resnet50.training.metrics import Means, MetricAccumulator

CPU = torch.device("cpu")
LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, -1.0]])
LABELS = torch.tensor([0, 1, 1])


def step(objective: float = 0.5) -> MetricAccumulator:
    """Return the sums of one step on three images, of which two are right."""
    sums = MetricAccumulator.zeros(CPU)
    sums.objective += objective
    sums.update(LOGITS, LABELS)
    return sums


def test_means_are_those_of_every_image_and_step() -> None:
    epoch = MetricAccumulator.zeros(CPU)
    epoch.update_step(step(0.5), torch.tensor(2.0), torch.tensor(True))
    epoch.update_step(step(1.0), torch.tensor(3.0), torch.tensor(True))
    means = epoch.compute()
    loss = F.cross_entropy(LOGITS, LABELS).item()
    assert means == Means(pytest.approx(loss), pytest.approx(2 / 3), 0.75, 2.5, images=6, finite_steps=2)


def test_a_step_whose_loss_is_not_finite_counts_in_no_mean() -> None:
    epoch = MetricAccumulator.zeros(CPU)
    epoch.update_step(step(0.5), torch.tensor(2.0), torch.tensor(True))
    alone = epoch.compute()
    epoch.update_step(step(math.nan), torch.tensor(math.inf), torch.tensor(False))
    assert epoch.compute() == alone


def test_a_gradient_that_is_not_finite_counts_in_no_norm() -> None:
    epoch = MetricAccumulator.zeros(CPU)
    epoch.update_step(step(), torch.tensor(2.0), torch.tensor(True))
    epoch.update_step(step(), torch.tensor(math.inf), torch.tensor(False))
    means = epoch.compute()
    assert (means.grad_norm, means.finite_steps, means.images) == (2.0, 1, 6)


def test_nothing_counted_gives_no_number() -> None:
    means = MetricAccumulator.zeros(CPU).compute()
    assert all(math.isnan(value) for value in (means.loss, means.accuracy, means.objective))
    assert (means.grad_norm, means.images, means.finite_steps) == (0.0, 0, 0)


def test_sums_do_not_lose_an_image_after_sixteen_million() -> None:
    sums = MetricAccumulator.zeros(CPU)
    sums.images += 1 << 24
    sums.update(LOGITS[:1], LABELS[:1])
    assert sums.images.item() == (1 << 24) + 1


class Processes(Distributed):
    """Several processes that all have the same sums."""

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return tensor * self.world_size


def test_processes_add_up_images_but_take_every_step_together() -> None:
    epoch = MetricAccumulator.zeros(CPU)
    epoch.update_step(step(0.5), torch.tensor(2.0), torch.tensor(True))
    means = epoch.all_reduce(Processes(world_size=4)).compute()
    alone = epoch.compute()
    assert means == replace(alone, images=4 * alone.images, objective=4 * alone.objective)


def test_sums_over_processes_are_given_back_to_the_main_one() -> None:
    epoch = MetricAccumulator.zeros(CPU)
    epoch.update_step(step(0.5), torch.tensor(2.0), torch.tensor(True))
    main, other = (epoch.undo_all_reduce(Distributed(rank, 2)) for rank in (0, 1))
    for name in ("objective", "loss", "correct", "images"):
        assert getattr(main, name) == getattr(epoch, name) > 0
        assert getattr(other, name) == 0
    for name in ("steps", "grad_norm", "finite_steps"):  # what `all_reduce` divides by the number of processes
        assert getattr(main, name) == getattr(other, name) == getattr(epoch, name) > 0
