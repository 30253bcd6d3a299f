"""The Python interface: functions for the verbs, and objects for the folders that they write.

An object holds the path of a folder or file and nothing that is not on disk there; what it shows is read when it is
asked for. Importing this package loads neither torch nor pandas nor matplotlib.
"""

from resnet50.api.dataset import Dataset, prepare
from resnet50.api.evaluation import Evaluation, evaluate
from resnet50.api.models import create_model, load
from resnet50.api.run import Run, load_run, train

__all__ = ["Dataset", "Evaluation", "Run", "create_model", "evaluate", "load", "load_run", "prepare", "train"]
