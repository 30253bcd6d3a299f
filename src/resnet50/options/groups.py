"""The groups of options that several verbs share."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from resnet50.options.fields import fields_of, option
from resnet50.options.validation import validated

Depth = Literal[18, 34, 50, 101, 152]
Variant = Literal["v1", "v1.5"]
ShortcutKind = Literal["A", "B", "C", "none"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the options of every verb have in common: they are checked when they are made.

    A verb is a dataclass that inherits the groups it is made of, in the order in which `--help` shows them. Its own
    fields come first. `section` is the title that a group is shown under.
    """

    section: ClassVar[str] = "Options"

    def __post_init__(self) -> None:
        """Take every value as its option's type; a UserError for the first that is none or out of range."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields_of(type(self))}
        for name, value in validated(type(self), values).items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """The architecture."""

    section = "Network"

    depth: Depth = option("Depth of the network.", 50)
    variant: Variant | None = option(
        "Which convolution of a bottleneck strides: its 3x3 (v1.5) or its first 1x1 (v1). Left out: as the weights "
        "have it, else v1.5.",
        None,
    )
    shortcuts: ShortcutKind = option(
        "Shortcuts as in the paper: A, B (projection where shapes differ), C, or none.", "B"
    )


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """What the network runs on."""

    section = "Runtime"

    device: str = option("auto, cpu, cuda, cuda:N or mps.", "auto")
    precision: Precision = option("Number format that the network computes in.", "auto")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions(DeviceOptions):
    """Who loads the images for it."""

    workers: int | None = option("Processes that load images. Left out: chosen from the CPU count.", None, at_least=0)


@dataclass(frozen=True, kw_only=True)
class InferenceOptions(LoaderOptions):
    """How a trained network is run."""

    batch_size: int = option("Images per forward pass.", 32, at_least=1)


@dataclass(frozen=True, kw_only=True)
class ShardOptions(Options):
    """Work divided among machines."""

    section = "Sharding"

    shard: str | None = option("Do one shard of the work: 2/8 is the second of eight. See --merge.", None)
    merge: int | None = option("Merge this many finished shards instead of doing the work.", None, at_least=1)
