"""Every name of the public interface has a docstring with arguments, shapes and errors."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch

import resnet50
import resnet50.data
import resnet50.model
from resnet50.etl.decode import decode
from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.etl.store import open_store
from resnet50.model.file import load_model, save_model
from resnet50.runtime.errors import UserError

PACKAGES = (resnet50, resnet50.data, resnet50.model)
OTHERS = (decode, PreparedDataset, load_prepared, open_store, load_model, save_model, UserError)


def public_interface() -> dict[str, Any]:
    """Return the public classes and functions by their full names."""
    exported = [getattr(package, name) for package in PACKAGES for name in package.__all__]
    documented = [item for item in (*exported, *OTHERS) if inspect.isclass(item) or inspect.isfunction(item)]
    return {f"{item.__module__}.{item.__qualname__}": item for item in documented}


def functions_of(item: Any) -> Iterator[Callable[..., Any]]:
    """Yield a function itself, or the public methods that a class defines."""
    if inspect.isfunction(item):
        yield item
        return
    for name, member in vars(item).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        public = name == "__call__" or not name.startswith("_")
        if inspect.isfunction(function) and public and function.__module__ == item.__module__:
            yield function


PUBLIC = public_interface()
FUNCTIONS = {f"{f.__module__}.{f.__qualname__}": f for item in PUBLIC.values() for f in functions_of(item)}


CONSTRUCTED = [
    name
    for name, item in PUBLIC.items()
    if inspect.isclass(item) and not issubclass(item, Exception) and not hasattr(item, "load")
]
"""Classes that users construct themselves, rather than by `load`."""


def documentation(function: Callable[..., Any]) -> str:
    """Return a function's docstring; that of its class, too, for a method."""
    owner = function.__qualname__.rpartition(".")[0]
    outer = getattr(importlib.import_module(function.__module__), owner) if owner else None
    return f"{inspect.getdoc(function)} {inspect.getdoc(outer) if outer else ''}"


def is_array(annotation: Any) -> bool:
    """Return whether an annotation is a tensor or an array, perhaps optional."""
    types = set(get_args(annotation)) - {type(None)} or {annotation}
    return types <= {torch.Tensor, np.ndarray}


def mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_public_class_or_function_has_a_summary_line(name: str) -> None:
    lines = (PUBLIC[name].__doc__ or "").splitlines()  # not inherited
    assert lines, f"{name} has no docstring"
    assert lines[0].endswith(".")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_function_or_method_has_a_docstring(name: str) -> None:
    assert FUNCTIONS[name].__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", CONSTRUCTED)
def test_constructor_arguments_are_documented(name: str) -> None:
    cls = PUBLIC[name]
    text = f"{cls.__doc__} {cls.__init__.__doc__}"
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    undocumented = [parameter for parameter in named if not mentions(text, parameter)]
    assert not undocumented, f"{name}: {undocumented}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tensors_and_arrays_are_documented_with_their_shape(name: str) -> None:
    if any(is_array(annotation) for annotation in FUNCTIONS[name].__annotations__.values()):
        assert "×" in documentation(FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_raised_errors_are_documented(name: str) -> None:
    raised = set(re.findall(r"^\s+raise (\w+)\(", inspect.getsource(FUNCTIONS[name]), re.MULTILINE))
    undocumented = [error for error in raised if not mentions(documentation(FUNCTIONS[name]), error)]
    assert not undocumented, f"{name}: {undocumented}"
