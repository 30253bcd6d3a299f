"""From a table of labeled images to a ResNet-50 classifier that its owner understands, can trust and can ship.

    import resnet50 as rn

    data = rn.prepare("train.csv", "dataset", images="images", label_column="label")
    run = rn.train(data, "run", epochs=5)
    print(run.evaluate("test").accuracy)
    print(rn.load(run).predict("a.jpg"))

The verbs take the options of the command line as keywords. `import resnet50` loads neither torch nor pandas nor
matplotlib: each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet50.api import Dataset, Evaluation, Run, create_model, evaluate, load, load_run, prepare, train
    from resnet50.inference.classifier import Classifier
    from resnet50.runtime.errors import Stopped, UserError

    __version__: str

__all__ = [
    "Classifier",
    "Dataset",
    "Evaluation",
    "Run",
    "Stopped",
    "UserError",
    "__version__",
    "create_model",
    "evaluate",
    "load",
    "load_run",
    "prepare",
    "train",
]

ELSEWHERE = {
    "Classifier": "resnet50.inference.classifier",
    "Stopped": "resnet50.runtime.errors",
    "UserError": "resnet50.runtime.errors",
}
"""Modules of the names that `resnet50.api` does not define."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'resnet50' has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        return version("resnet50")
    value = getattr(import_module(ELSEWHERE.get(name, "resnet50.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
