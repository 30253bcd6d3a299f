"""The names that `import resnet50` offers, and how little it loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import resnet50 as rn
from resnet50.api import Dataset, Run

LIGHT = [name for name in rn.__all__ if name != "Classifier"]
"""A class of the package itself needs nothing; `Classifier` is a class of torch's world."""


def test_every_public_name_is_there_and_documented() -> None:
    for name in rn.__all__:
        assert getattr(rn, name) is not None
        assert name == "__version__" or getattr(rn, name).__doc__
    assert set(rn.__all__) <= set(dir(rn))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        rn.trian  # noqa: B018  # pyright: ignore


def test_importing_the_public_names_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'torchvision', 'pandas', 'pyarrow', 'sklearn', 'matplotlib', 'PIL', 'yaml'}"
    code = f"import sys; from resnet50 import {', '.join(LIGHT)}; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [Dataset, Run])
def test_objects_stand_for_their_path(kind: type[Dataset] | type[Run], tmp_path: Path) -> None:
    thing = kind(tmp_path)
    assert os.fspath(thing) == str(tmp_path)
    assert thing / "file" == tmp_path / "file"
    assert Path(thing) == thing.path == tmp_path
    assert thing == kind(str(tmp_path))
    assert len({thing, kind(tmp_path)}) == 1
    assert thing != kind(tmp_path / "other")
    assert vars(thing) == {"path": tmp_path}


def test_user_error_offers_choices_in_pythons_words() -> None:
    message = "cannot tell: name it with --label-column, or add --overwrite, or see `resnet50 prepare`"
    error = rn.UserError(message, [{"label_column": "grade"}, {"label_column": "breed"}])
    assert str(error) == message
    assert error.choices == ({"label_column": "grade"}, {"label_column": "breed"})
    assert error._render_traceback_() == [
        "UserError: cannot tell: name it with label_column, or add overwrite=True, or see resnet50.prepare()",
        "    label_column='grade'",
        "    label_column='breed'",
    ]
    assert rn.UserError("no").choices == ()


def test_a_stopped_run_says_in_python_how_to_resume() -> None:
    told = rn.Stopped("out of time: continue with `resnet50 train --resume runs/a`")._render_traceback_()
    assert told == ["out of time: continue with resnet50.train(resume='runs/a')"]
