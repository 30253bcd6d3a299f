"""Options as YAML files: a config that a person writes, and the record of a run."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml

from resnet50.options.fields import fields_of
from resnet50.options.validation import validated
from resnet50.runtime.errors import UserError

KEPT_TAGS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class TextLoader(yaml.SafeLoader):
    """Read plain scalars as text, except null: what `1e-3`, `on` or `2024-01-01` means is for the option's type to say.

    So a value means the same in a file as on the command line. A key that stands there twice is refused.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  # as the base class has it
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; a YAML error if a key stands in it twice."""
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"found the key {twice!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, options: type) -> dict[str, Any]:
    """Read a YAML config for an options dataclass.

    Raises:
        UserError: no such file, no mapping in it, an unknown key, a value of another type or out of range.
    """
    if not path.is_file():
        raise UserError(f"config file {path} does not exist")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), TextLoader)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no mapping of option names to values")
    return validated(options, cast(dict[str, Any], values), str(path))


def write_yaml(options: Any, path: Path) -> None:
    """Write an options dataclass so that `read_yaml` gives the same values back."""
    path.write_text(yaml.safe_dump(plain_values(options), sort_keys=False, allow_unicode=True), encoding="utf-8")


def plain_values(options: Any) -> dict[str, Any]:
    """Return an options dataclass as YAML and JSON have it."""
    return {field.name: plain(getattr(options, field.name)) for field in fields_of(type(options))}


def plain(value: Any) -> Any:
    """Return a value as YAML and JSON have it."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
