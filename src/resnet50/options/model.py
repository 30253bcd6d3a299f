"""The options of `model`."""

from dataclasses import dataclass

from resnet50.options.fields import option
from resnet50.options.groups import NetworkOptions, Variant


@dataclass(frozen=True, kw_only=True)
class ModelOptions(NetworkOptions):
    """Show the network: a table of its stages with shapes, parameters, multiply-accumulates, receptive field."""

    variant: Variant = option(
        "Which convolution of a bottleneck strides: its 3x3 (v1.5) or its first 1x1 (v1).", "v1.5"
    )
    classes: int = option("Number of classes.", 1000, at_least=1)
    image_size: int = option("Side of the input image, in pixels.", 224, at_least=32)
