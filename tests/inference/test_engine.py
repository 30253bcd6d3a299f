"""Engines: faster, and the same answers as the network in eager mode."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from resnet50.data.transforms import Preprocess
from resnet50.inference.engine import OpenVinoEngine, TorchEngine, make_engine
from resnet50.model.file import Model, load_model, save_model
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, EngineName, ShortcutKind, Variant
from resnet50.runtime.device import Device
from resnet50.runtime.errors import UserError
from tests.conftest import make_once, with_random_statistics
from tests.inference.conftest import both_engines, needs_openvino

FP32 = Device(torch.device("cpu"), "fp32", "as asked")
BF16 = Device(torch.device("cpu"), "bf16", "as asked")

TOLERANCE = 1e-4
"""Largest difference of logits in fp32, and of logits above 1 relative to the largest: summation order, no more."""


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """Return 1,797 scanned digits, uint8 N×3×32×32, and what they are."""
    images, labels = load_digits(return_X_y=True)
    gray = torch.from_numpy(images.reshape(-1, 1, 8, 8) * (255 / 16))
    large = nn.functional.interpolate(gray, size=(32, 32), mode="bilinear").round().to(torch.uint8)
    return large.expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(labels)


@pytest.fixture
def model(digits: tuple[Tensor, Tensor], shared: Path) -> Model:
    """Return a network that has learned to read most of the first 600 digits."""

    def learn(path: Path) -> None:
        torch.manual_seed(0)
        network, preprocess = ResNet(18, 10).to(memory_format=torch.channels_last), Preprocess(size=32, resize=32)
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        batches = torch.stack([torch.randperm(600) for _ in range(8)]).view(-1, 30)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=len(batches))
        for rows in batches:
            loss = nn.functional.cross_entropy(network(preprocess.normalize(digits[0][rows])), digits[1][rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        save_model(Model(network, tuple("0123456789"), preprocess), path)

    return load_model(make_once(shared / "digits.safetensors", learn))


@torch.no_grad()
def eager(model: Model, images: Tensor) -> Tensor:
    """Return the logits of the network as it is."""
    return model.network.eval()(model.preprocess.normalize(images))


def assert_same(logits: Tensor, expected: Tensor) -> None:
    assert logits.dtype == torch.float32
    assert logits.shape == expected.shape
    torch.testing.assert_close(
        logits, expected, rtol=0, atol=TOLERANCE * max([1.0, *expected.abs().flatten().tolist()])
    )


@both_engines
def test_logits_in_fp32_are_those_of_the_network(name: EngineName, model: Model, digits: tuple[Tensor, Tensor]) -> None:
    images = digits[0][1200:1328]
    engine = make_engine(model, FP32, name)
    assert engine.name == name
    expected = eager(model, images)
    assert_same(engine(images), expected)
    difference = engine(images).softmax(dim=1) - expected.softmax(dim=1)
    assert difference.abs().max() <= TOLERANCE


@both_engines
@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 31, 32, 33, 70])
def test_however_many_images_come_each_gets_its_own_logits(
    name: EngineName, count: int, model: Model, digits: tuple[Tensor, Tensor]
) -> None:
    engine = make_engine(model, FP32, name, batch_size=32)
    images = digits[0][1200 : 1200 + count]
    one_by_one = [engine(image[None]) for image in images]
    assert_same(engine(images), torch.cat([torch.zeros(0, 10), *one_by_one]))


@both_engines
@pytest.mark.parametrize(
    ("depth", "variant", "shortcuts"),
    [(18, "v1.5", "A"), (34, "v1.5", "C"), (50, "v1.5", "B"), (50, "v1", "A"), (50, "v1", "B"), (18, "v1.5", "none")],
)
def test_every_kind_of_network_runs(
    name: EngineName, depth: Depth, variant: Variant, shortcuts: ShortcutKind, digits: tuple[Tensor, Tensor]
) -> None:
    images = digits[0][:16]
    preprocess = Preprocess(size=32, resize=32, mean=(0.1, 0.5, 0.3), std=(0.5, 0.2, 0.3))
    model = Model(with_random_statistics(depth, variant, shortcuts), tuple("abcdefg"), preprocess)
    expected = eager(model, images)
    assert (expected[0] - expected[1]).abs().max() > 5 * TOLERANCE
    assert_same(make_engine(model, FP32, name, batch_size=8)(images), expected)


@pytest.mark.slow
@both_engines
def test_bf16_gives_the_same_answers_on_real_images(
    name: EngineName, model: Model, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    expected = eager(model, images).argmax(dim=1)
    found = make_engine(model, BF16, name)(images).argmax(dim=1)
    assert (expected == labels)[1200:].float().mean() > 0.8  # so its margins are those of a network that is of use
    assert (found == expected).float().mean() >= 0.995


@both_engines
def test_the_layout_in_memory_makes_no_difference(
    name: EngineName, model: Model, digits: tuple[Tensor, Tensor]
) -> None:
    images = digits[0][:32]
    engine = make_engine(model, FP32, name)
    assert torch.equal(engine(images.to(memory_format=torch.channels_last)), engine(images))


@both_engines
def test_the_model_stays_as_it_is(name: EngineName, model: Model, digits: tuple[Tensor, Tensor]) -> None:
    before = eager(model, digits[0][:4])
    make_engine(model, BF16, name)(digits[0][:4])
    assert torch.equal(eager(model, digits[0][:4]), before)


@pytest.mark.slow
def test_a_compiled_network_is_compiled_once(
    model: Model, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.testing import CompileCounter  # imports for a second

    counter, compile_with = CompileCounter(), torch.compile

    def counting(graph: nn.Module, **settings: Any) -> Any:
        return compile_with(graph, backend=counter, dynamic=settings["dynamic"])

    monkeypatch.setattr(torch, "compile", counting)
    engine = make_engine(model, FP32, "torch", batch_size=8, compiled=True)
    images = digits[0][:40]
    for count in (8, 16, 1, 5, 13, 33, 40):
        assert_same(engine(images[:count]), eager(model, images[:count]))
    engine(images[:8].to(memory_format=torch.channels_last))
    assert counter.frame_count == 1


@needs_openvino
def test_openvino_has_a_graph_for_batches_and_one_for_single_images(
    model: Model, digits: tuple[Tensor, Tensor]
) -> None:
    engine = make_engine(model, FP32, "openvino", batch_size=8)
    assert isinstance(engine, OpenVinoEngine)
    engine(digits[0][:1])
    assert set(engine.graphs) == {(1, "LATENCY")}
    for count in (2, 5, 8, 13, 33):
        engine(digits[0][:count])
    assert set(engine.graphs) == {(1, "LATENCY"), (8, "LATENCY")}


@pytest.mark.parametrize("name", ["torch", pytest.param("openvino", marks=needs_openvino)])
@pytest.mark.parametrize("count", [0, 1, 5, 8, 16, 41, 47])
def test_a_stream_gives_the_logits_of_its_batches_in_order(
    model: Model, digits: tuple[Tensor, Tensor], name: EngineName, count: int
) -> None:
    engine = make_engine(model, FP32, name, batch_size=8)
    batches = [digits[0][start : min(start + 8, count)] for start in range(0, count, 8)]
    streamed = list(engine.stream(iter(batches)))
    assert [len(logits) for logits in streamed] == [len(batch) for batch in batches]
    for logits, batch in zip(streamed, batches, strict=True):
        assert_same(logits, engine(batch))


@needs_openvino
def test_a_stream_reads_no_further_ahead_than_it_has_requests(model: Model, digits: tuple[Tensor, Tensor]) -> None:
    engine = make_engine(model, FP32, "openvino", batch_size=8)
    assert isinstance(engine, OpenVinoEngine)
    read = 0

    def batches() -> Iterator[Tensor]:
        nonlocal read
        for start in range(0, 800, 8):
            read += 1
            yield digits[0][start : start + 8]

    requests = engine.graph(8, "THROUGHPUT").get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    for number, _ in enumerate(engine.stream(batches()), start=1):
        assert read <= number + requests


@pytest.mark.slow
def test_compiling_changes_no_logits_and_no_setting(model: Model, digits: tuple[Tensor, Tensor]) -> None:
    from torch._inductor import config

    before = config.freezing
    engine = make_engine(model, FP32, "torch", batch_size=16, compiled=True)
    assert_same(engine(digits[0][:30]), eager(model, digits[0][:30]))
    assert isinstance(engine, TorchEngine)
    assert engine.compiled is not None
    assert config.freezing == before


def test_without_a_compiler_it_goes_on_uncompiled(
    model: Model, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(graph: nn.Module, **settings: Any) -> Any:
        def run(images: Tensor) -> Tensor:
            raise RuntimeError("InvalidCxxCompiler: no working C++ compiler found")

        return run

    monkeypatch.setattr(torch, "compile", failing)
    engine = make_engine(model, FP32, "torch", batch_size=8, compiled=True)
    assert_same(engine(digits[0][:20]), eager(model, digits[0][:20]))
    assert capsys.readouterr().err.count("torch.compile failed") == 1


def test_without_openvino_auto_takes_torch_and_says_so(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    engine = make_engine(model, FP32)
    assert engine.name == "torch"
    assert "pip install 'resnet50[openvino]'" in engine.why


def test_openvino_that_is_not_installed_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install 'resnet50\[openvino\]'"):
        make_engine(model, FP32, "openvino")


@needs_openvino
def test_auto_takes_openvino_on_a_cpu(model: Model) -> None:
    assert make_engine(model, FP32).name == "openvino"


def test_openvino_is_refused_on_other_devices(model: Model) -> None:
    with pytest.raises(UserError, match="not on cuda:0: add --device cpu"):
        make_engine(model, Device(torch.device("cuda", 0), "bf16", ""), "openvino")


SILENT = """
import socket, sys
def refuse(*arguments, **named):
    raise AssertionError("network")
socket.socket.connect = refuse
import torch
from resnet50.data.transforms import Preprocess
from resnet50.inference.engine import make_engine
from resnet50.model.file import Model, load_model, save_model
from resnet50.model.resnet import ResNet
from resnet50.runtime.device import resolve_device
model = Model(ResNet(18, 2).eval(), ("a", "b"), Preprocess(size=32, resize=32))
make_engine(model, resolve_device("cpu", "fp32"), "openvino")(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry")))
import openvino_telemetry  # is what it was before, for whoever else wants it
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("openvino_telemetry") is None, reason="there is nothing to report with")
def test_openvino_reports_nothing_and_leaves_no_files(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # where OpenVINO keeps silent of its own accord
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", SILENT], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
