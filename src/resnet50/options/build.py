"""From values to the options of a verb: those of a run that is resumed beneath them, nothing required missing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from resnet50.options.fields import REQUIRED, fields_of, name_of
from resnet50.options.groups import Options
from resnet50.options.validation import validated
from resnet50.options.yaml_files import read_yaml
from resnet50.runtime.errors import UserError

Verb = TypeVar("Verb", bound=Options)


def from_values(options: type[Verb], values: Mapping[str, Any], hint: str = "") -> Verb:
    """Build options from named values, with the same checks as the command line; the Python functions' way in.

    Args:
        options: the dataclass of a verb.
        values: by the names of options.
        hint: what to say after the name of a required option that is missing.

    Raises:
        UserError: an unknown key, a value of another type or out of range, a required option that is missing.
    """
    values = validated(options, values)
    values = resumed_options(options, values) | values
    for field in fields_of(options):
        if field.default is REQUIRED and field.name not in values:
            raise UserError(f"{name_of(field)} is missing: {field.metadata['help']}{hint}")
    return options(**values)


def resumed_options(options: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a resumed run was started with; nothing if none is resumed."""
    run = values.get("resume")
    if not isinstance(run, Path):  # of `predict`, it is a switch
        return {}
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a training run (it has no config.yaml): --resume takes the folder of one")
    return read_yaml(run / "config.yaml", options) | {"out": run, "resume": run, "max_time": None}
