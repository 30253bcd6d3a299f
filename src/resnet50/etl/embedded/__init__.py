"""Images inside tables: pixels in the columns or cells of a CSV, image bytes in Parquet, arrays in .npz and .npy."""

from resnet50.etl.embedded.containers import unreadable_container
from resnet50.etl.embedded.find import find_embedded
from resnet50.etl.embedded.source import EmbeddedFile, EmbeddedSource, Fault

__all__ = ["EmbeddedFile", "EmbeddedSource", "Fault", "find_embedded", "unreadable_container"]
