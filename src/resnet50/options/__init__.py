"""Every option once: a dataclass per verb, made of groups, with each option's type, default, range and help text.

The command line, the YAML files and the Python functions all read these dataclasses; nothing else defines an option.
"""

from resnet50.options.bench import BenchOptions
from resnet50.options.build import from_values
from resnet50.options.command_line import from_arguments
from resnet50.options.commands import call, command
from resnet50.options.evaluate import EvaluateOptions
from resnet50.options.fields import fields_of, flag
from resnet50.options.groups import Depth, Precision, ShortcutKind, Variant
from resnet50.options.model import ModelOptions
from resnet50.options.predict import EngineName, PredictOptions
from resnet50.options.prepare import CheckOptions, PrepareOptions
from resnet50.options.study import StudyName, StudyOptions
from resnet50.options.train import Augment, Flips, OptimizerName, ResizeMode, ScheduleName, TrainOptions
from resnet50.options.yaml_files import plain_values, read_yaml, write_yaml

__all__ = [
    "Augment",
    "BenchOptions",
    "CheckOptions",
    "Depth",
    "EngineName",
    "EvaluateOptions",
    "Flips",
    "ModelOptions",
    "OptimizerName",
    "Precision",
    "PredictOptions",
    "PrepareOptions",
    "ResizeMode",
    "ScheduleName",
    "ShortcutKind",
    "StudyName",
    "StudyOptions",
    "TrainOptions",
    "Variant",
    "call",
    "command",
    "fields_of",
    "flag",
    "from_arguments",
    "from_values",
    "plain_values",
    "read_yaml",
    "write_yaml",
]
