import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from resnet50.data import Preprocess
from resnet50.model import ResNet
from resnet50.model.file import Model, load_model, load_tensors, read_metadata, save_model
from resnet50.options import ShortcutKind, Variant
from resnet50.runtime.errors import UserError

CLASSES = ("Hund", 'Straße, "nass"', "猫")


def model(variant: Variant = "v1.5", shortcuts: ShortcutKind = "B") -> Model:
    return Model(ResNet(50, 3, variant, shortcuts), CLASSES, Preprocess(size=64, resize=80, interpolation="bicubic"))


@pytest.mark.parametrize(("variant", "shortcuts"), [("v1", "B"), ("v1.5", "none"), ("v1.5", "A")])
def test_saved_model_is_loaded_unchanged(tmp_path: Path, variant: Variant, shortcuts: ShortcutKind) -> None:
    saved = model(variant, shortcuts)
    save_model(saved, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.classes == CLASSES
    assert loaded.preprocess == saved.preprocess
    assert (loaded.network.depth, loaded.network.variant, loaded.network.shortcuts) == (50, variant, shortcuts)
    assert not loaded.network.training
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.network(images), saved.network.eval()(images))


def test_run_folder_is_accepted_for_its_model(tmp_path: Path) -> None:
    save_model(model(), tmp_path / "model.safetensors")
    assert load_model(tmp_path).classes == CLASSES


def test_saving_replaces_an_older_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("older")
    save_model(model(), path)
    assert load_model(path).classes == CLASSES
    assert list(tmp_path.iterdir()) == [path]


def test_channels_last_weights_are_saved_contiguous(tmp_path: Path) -> None:
    saved = model()
    saved.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_model(saved, tmp_path / "model.safetensors")
    weight = load_file(tmp_path / "model.safetensors")["conv1.weight"]
    assert weight.is_contiguous()
    assert torch.equal(weight, saved.network.conv1.weight)


def test_missing_model_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model at .*model\.safetensors"):
        load_model(tmp_path)


def test_truncated_or_foreign_file_is_reported_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(model(), path)
    whole = path.read_bytes()
    for content in (b"", b"this is text", whole[:1000], whole[: len(whole) // 2]):
        path.write_bytes(content)
        for read in (load_model, read_metadata, load_tensors):
            with pytest.raises(UserError, match=r"model\.safetensors"):
                read(path)


def test_safetensors_without_metadata_are_refused(tmp_path: Path) -> None:
    save_file(ResNet(18, 2).state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="was not written by `resnet50 train`"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"depth": "18"},
        {"depth": "fifty"},
        {"depth": "51"},
        {"variant": "v2"},
        {"classes": json.dumps(["a", "b"])},
        {"classes": "a, b, c"},
        {"shortcuts": "C"},
        {"preprocess": "{}"},
        {"preprocess": '{"size": 224, "color": 3}'},
    ],
)
def test_metadata_that_does_not_fit_the_weights_is_reported(tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / "model.safetensors"
    save_model(model(), path)
    save_file(load_file(path), path, read_metadata(path) | change)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_model(path)


def test_permissions_of_a_model_file_follow_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    path = tmp_path / "model.safetensors"
    save_model(Model(ResNet(18, 2), ("a", "b"), Preprocess()), path)
    assert path.stat().st_mode == plain.stat().st_mode
