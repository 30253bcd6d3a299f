"""What --observe records is what is there, and recording it changes nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import resnet50
from resnet50.data.loader import EpochBatchSampler, SequentialBatchSampler, TensorBatches
from resnet50.data.transforms import Preprocess
from resnet50.model.file import load_model
from resnet50.model.resnet import ResNet
from resnet50.options import TrainOptions
from resnet50.runtime.device import resolve_device
from resnet50.runtime.errors import UserError
from resnet50.training.callbacks.probe import PROBED_STEPS, TrainingProbe, branch_facts, output_facts, probe_steps
from resnet50.training.loop import fit
from resnet50.training.optim import train_mode
from resnet50.training.state import TrainState, start_state
from resnet50.training.training import Training, TrainingData
from tests.conftest import NARROW, TINY

CPU = resolve_device("cpu", "fp32")
LR = 0.01


class Small:
    """Ten images in batches of four, so that two are left out of every epoch, for plain SGD."""

    def __init__(self, network: ResNet, **options: object) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (10, 3, 32, 32), generator=generator, dtype=torch.uint8)
        self.images, self.labels = images, torch.arange(10) % 3
        order = EpochBatchSampler(10, 4, seed=0)
        self.data = TrainingData(
            TensorBatches(images, self.labels, 4, order), order,
            TensorBatches(images, self.labels, 4), SequentialBatchSampler(10, 4),
            Preprocess(size=32, resize=32), None,
        )  # fmt: skip
        values = {
            "optimizer": "sgd", "momentum": 0.0, "lr": LR, "head_lr": LR, "weight_decay": 0.0, "schedule": "constant",
            "warmup": 0.0, "label_smoothing": 0.0, "batch_size": 4, "epochs": 2,
        } | options  # fmt: skip
        self.options = TrainOptions(dataset=Path(), out=Path(), **values)  # type: ignore[arg-type]
        self.state = start_state(network, self.options, CPU, len(order))
        self.probe = TrainingProbe(self.state.network, 10, len(order), CPU.torch_device)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        rows = [sample.row for sample in list(self.data.order)[number]]
        return self.data.preprocess.normalize(self.images[rows]), self.labels[rows]

    def fit(self) -> TrainState:
        fit(Training(self.state, self.data, self.options, CPU, (self.probe,)))
        return self.state


def network(**options: object) -> ResNet:
    torch.manual_seed(0)
    return ResNet(18, 3, **options)  # type: ignore[arg-type]


def value(table: pd.DataFrame, epoch: int, layer: str, quantity: str) -> float:
    found = table[(table["epoch"] == epoch) & (table["layer"] == layer) & (table["quantity"] == quantity)]
    return float(found["value"].item())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_autograds_and_updates_the_learning_rate_times_them(accumulate: int) -> None:
    net = network()
    small = Small(net, accumulate=accumulate)
    images, labels = small.batch(0)
    by_hand = network()
    train_mode(by_hand)
    for part, part_labels in zip(images.chunk(accumulate), labels.chunk(accumulate), strict=True):
        (F.cross_entropy(by_hand(part), part_labels, reduction="sum") / len(labels)).backward()
    small.fit()
    layers = small.probe.layers()
    for name in ("conv1", "layer2.0.conv1", "fc"):
        weight = by_hand.get_submodule(name).weight
        assert isinstance(weight, Tensor) and weight.grad is not None
        assert value(layers, 0, name, "gradient_norm") == pytest.approx(weight.grad.norm().item(), rel=1e-2)
        expected = LR * weight.grad.norm().item() / weight.norm().item()
        assert value(layers, 0, name, "update_ratio") == pytest.approx(expected, rel=1e-2)


def test_an_epochs_value_is_the_mean_over_its_probed_steps() -> None:
    small = Small(network())
    by_hand = network()
    train_mode(by_hand)
    optimizer, norms = torch.optim.SGD(by_hand.parameters(), LR), list[float]()
    for images, labels in (small.batch(0), small.batch(1)):
        optimizer.zero_grad()
        F.cross_entropy(by_hand(images), labels).backward()
        assert by_hand.fc.weight.grad is not None
        norms.append(by_hand.fc.weight.grad.norm().item())
        optimizer.step()
    small.fit()
    layers = small.probe.layers()
    assert set(layers["epoch"]) == {0, 1, 2}
    assert norms[0] != pytest.approx(norms[1], rel=0.05)  # so that neither of them passes for the mean
    assert value(layers, 1, "fc", "gradient_norm") == pytest.approx(sum(norms) / 2, rel=1e-2)


def test_every_samples_loss_is_that_of_its_step() -> None:
    small = Small(network())
    images, labels = small.batch(0)
    rows = [sample.row for sample in next(iter(small.data.order))]
    by_hand = network()
    train_mode(by_hand)
    with torch.no_grad():
        logits = by_hand(images)
    small.fit()
    samples = small.probe.samples()
    first = samples[samples["epoch"] == 1].set_index("row")
    assert first["loss"].notna().sum() == 8  # two rows were left out
    expected = F.cross_entropy(logits, labels, reduction="none").numpy()
    np.testing.assert_allclose(first.loc[rows, "loss"], expected, rtol=1e-4)
    assert first.loc[rows, "correct"].tolist() == (logits.argmax(1) == labels).float().tolist()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_sides_of_an_addition_are_compared_image_by_image(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    x, residual = (torch.randn(3, 4, 2, 2, generator=generator).to(memory_format=layout) for _ in range(2))
    ratios, cosines = branch_facts(x, residual)
    torch.testing.assert_close(ratios, residual.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1))
    torch.testing.assert_close(cosines, F.cosine_similarity(residual.flatten(1), x.flatten(1)))
    ratios, cosines = branch_facts(x, -0.5 * x)
    torch.testing.assert_close(ratios, torch.full((3,), 0.5))
    torch.testing.assert_close(cosines, torch.full((3,), -1.0))


def test_a_channel_that_never_fires_is_dead() -> None:
    y = torch.rand(3, 4, 2, 2) + 0.1
    y[:, 1] = 0
    y[:2, 2] = 0  # this one fires for one image
    facts = output_facts(y, y)
    assert facts.dead().item() == 0.25
    assert facts.variance().item() == pytest.approx(y.var(correction=0).item(), rel=1e-5)


def test_micro_batches_are_probed_as_one_batch() -> None:
    y = torch.rand(5, 4, 2, 2)
    y[:3, 1] = 0  # dead in the first part alone
    whole, parts = output_facts(y, y), output_facts(y[:3], y[:3]) + output_facts(y[3:], y[3:])
    assert whole.dead().item() == parts.dead().item() == 0
    assert parts.variance().item() == pytest.approx(whole.variance().item(), rel=1e-5)


def test_residuals_are_those_of_the_network_by_hand() -> None:
    small = Small(network())
    images, _ = small.batch(0)
    by_hand = network()
    train_mode(by_hand)
    with torch.no_grad():
        x = by_hand.maxpool(by_hand.relu(by_hand.bn1(by_hand.conv1(images))))
        block = by_hand.layer1[0]
        change = block.bn2(block.conv2(block.relu1(block.bn1(block.conv1(x)))))
        out = block.relu2(change + x)
    small.fit()
    layers = small.probe.layers()
    ratio = (change.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).mean().item()
    assert value(layers, 0, "layer1.0", "residual_ratio") == pytest.approx(ratio, rel=1e-3)
    assert value(layers, 0, "layer1.0", "activation_variance") == pytest.approx(out.var().item(), rel=1e-3)


def test_a_run_probes_few_steps_of_a_short_epoch() -> None:
    assert [probe_steps(steps) for steps in (1, 19, 40, 100, 160, 100_000)] == [1, 1, 2, 5, PROBED_STEPS, PROBED_STEPS]
    probe = TrainingProbe(network(), 3200, 100, CPU.torch_device, probed_steps=4)
    assert sorted(probe.probed) == [0, 25, 50, 75]


def test_a_dead_channel_is_found_in_a_network() -> None:
    net = network(shortcuts="none")
    with torch.no_grad():
        net.layer1[0].bn2.weight[: NARROW[0] // 4] = 0  # pyright: ignore
        net.layer1[0].bn2.bias[: NARROW[0] // 4] = -1  # pyright: ignore
    small = Small(net)
    small.fit()
    layers = small.probe.layers()
    assert value(layers, 0, "layer1.0", "dead_channels") == pytest.approx(0.25)
    assert "residual_ratio" not in set(layers["quantity"])  # nothing is added in a plain network


def test_frozen_stages_have_no_gradients_and_no_drift() -> None:
    small = Small(network(), freeze=2)
    small.fit()
    layers = small.probe.layers()
    learning = set(layers[layers["quantity"].isin(["gradient_norm", "running_mean_drift"])]["layer"])
    assert not any(name.startswith(("conv1", "bn1", "layer1")) for name in learning)
    assert {"layer2.0.conv1", "layer2.0.bn1"} <= learning


def test_a_network_without_norms_is_probed_too() -> None:
    net = network()
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.BatchNorm2d):
                setattr(parent, name, torch.nn.Identity())
    small = Small(net, lr=1e-6, head_lr=1e-6)
    small.fit()
    quantities = set(small.probe.layers()["quantity"])
    assert "residual_ratio" in quantities
    assert "running_mean_drift" not in quantities


def test_statistics_drift_by_what_they_changed() -> None:
    net = network()
    before = net.bn1.running_mean
    assert before is not None
    net.bn1.running_mean = torch.ones_like(before)
    small = Small(net, epochs=1)
    small.fit()
    after = net.bn1.running_mean
    assert isinstance(after, Tensor)
    drift = ((after - 1).norm() / torch.ones_like(after).norm()).item()
    assert value(small.probe.layers(), 1, "bn1", "running_mean_drift") == pytest.approx(drift, rel=1e-5)


@pytest.mark.slow
def test_probing_does_not_change_a_run(prepared: Path, tmp_path: Path) -> None:
    options = TINY | {"epochs": 2, "batch_size": 8}
    plain = resnet50.train(prepared, tmp_path / "plain", **options)
    observed = resnet50.train(prepared, tmp_path / "observed", observe=True, **options)
    ours, theirs = load_model(observed).network.state_dict(), load_model(plain).network.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    timing = ["images_per_second", "wait_seconds", "seconds"]
    first, second = (pd.read_csv(run / "metrics.csv").drop(columns=timing) for run in (plain, observed))
    pd.testing.assert_frame_equal(first, second)
    assert not (plain / "observed").exists()
    samples = pd.read_parquet(observed / "observed" / "samples.parquet")
    manifest = pd.read_parquet(prepared / "manifest.parquet")
    train = manifest[manifest["split"] == "train"]
    assert samples[samples["epoch"] == 2]["image_id"].tolist() == train["image_id"].tolist()
    assert pd.read_csv(observed / "observed" / "layers.csv")["epoch"].max() == 2


def test_probing_a_frozen_network_is_refused(trained: Path, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to probe"):
        resnet50.train(prepared, tmp_path / "run", **(TINY | {"weights": str(trained), "freeze": 5, "observe": True}))
