"""Small trainings: the loop of every run, on images in memory, made once in a study."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from resnet50.model.resnet import ResNet
from resnet50.study.lab import Lab
from resnet50.study.small import Setup, make_network, small_data, train_small, training_options


def test_setups_that_differ_have_names_that_differ() -> None:
    changes: list[dict[str, object]] = [
        {}, {"depth": 34}, {"shortcuts": "none"}, {"batch_norm": False}, {"zero_gamma": True}, {"seed": 1},
        {"shuffled_labels": True}, {"epochs": 3}, {"lr": 0.5}, {"watched": "sharpness"},
    ]  # fmt: skip
    assert {next(iter(change), "") for change in changes[1:]} == {field.name for field in dataclasses.fields(Setup)}
    assert len({Setup(**change).name for change in changes}) == len(changes)  # type: ignore[arg-type]


def test_a_training_is_made_once_and_read_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train_small(lab, Setup())
    monkeypatch.setattr("resnet50.study.small.train_into", None)  # would fail if it were called again
    again = train_small(lab, Setup())
    pd.testing.assert_frame_equal(first.history, again.history)
    assert first.history["epoch"].tolist() == [1, 2]
    assert set(first.layers["epoch"]) == {0, 1, 2}
    assert first.samples.groupby("epoch")["row"].count().tolist() == [32, 32]
    assert first.watched.empty


def test_its_weights_are_those_of_the_last_epoch(lab: Lab) -> None:
    watched: list[torch.Tensor] = []

    def watch(network: ResNet, epoch: int) -> dict[str, float]:
        watched.append(network.fc.weight.detach().clone())
        return {"norm": float(network.fc.weight.detach().norm())}

    training = train_small(lab, Setup(watched="norm"), watch)
    assert training.watched["epoch"].tolist() == [0, 1, 2]  # 0: before the first step
    assert torch.equal(training.network().fc.weight, watched[-1])
    assert not torch.equal(watched[0], watched[1])


def test_an_interrupted_training_leaves_nothing_half_done(lab: Lab) -> None:
    def interrupt(network: ResNet, epoch: int) -> dict[str, float]:
        if epoch == 1:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train_small(lab, Setup(watched="interrupted"), interrupt)
    assert not list((lab.parts / "trainings").glob("*interrupted*"))


def test_seeds_give_other_weights_and_another_order(lab: Lab) -> None:
    zero, one = make_network(lab, Setup(seed=0)), make_network(lab, Setup(seed=1))
    assert not torch.equal(zero.fc.weight, one.fc.weight)
    assert torch.equal(zero.fc.weight, make_network(lab, Setup(seed=0)).fc.weight)
    orders = [list(small_data(lab, setup, training_options(lab, setup)).order) for setup in (Setup(), Setup(seed=1))]
    assert orders[0] != orders[1]


def test_shuffled_labels_are_the_same_labels_on_other_images(lab: Lab) -> None:
    def labels(setup: Setup) -> torch.Tensor:
        data = small_data(lab, setup, training_options(lab, setup))
        return data.train.labels  # pyright: ignore

    true, shuffled = labels(Setup()), labels(Setup(shuffled_labels=True))
    assert torch.equal(true.sort().values, shuffled.sort().values)
    assert not torch.equal(true, shuffled)


def test_a_network_without_norms_runs_and_its_weights_are_not_kept(lab: Lab) -> None:
    network = make_network(lab, Setup(batch_norm=False))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    training = train_small(lab, Setup(batch_norm=False, lr=1e-6))
    assert len(training.history) == 2
    with pytest.raises(ValueError, match="not kept"):
        training.network()


def test_a_loss_that_is_no_number_any_more_ends_a_training_and_is_its_result(lab: Lab) -> None:
    history = train_small(lab, Setup(batch_norm=False, lr=1e6)).history
    assert len(history) < 2 or not np.isfinite(history["val_loss"]).all()
