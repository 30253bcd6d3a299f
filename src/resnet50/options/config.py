"""The former home of the options; to be deleted once nothing imports it."""

from resnet50.options import *  # noqa: F403
