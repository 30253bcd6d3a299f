"""Images inside tables: pixels in the columns or cells of a CSV, image bytes in Parquet, arrays in .npz and .npy."""

from resnet50.etl.embedded.containers import unreadable_container, unreadable_containers
from resnet50.etl.embedded.find import choices_between, find_embedded
from resnet50.etl.embedded.part import EmbeddedFile, Fault
from resnet50.etl.embedded.source import EmbeddedSource

__all__ = [
    "EmbeddedFile",
    "EmbeddedSource",
    "Fault",
    "choices_between",
    "find_embedded",
    "unreadable_container",
    "unreadable_containers",
]
