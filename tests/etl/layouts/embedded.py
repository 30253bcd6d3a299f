"""Layouts whose images are inside tables and arrays."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from tests.etl.layouts.draws import Draw, one_of
from tests.etl.layouts.layout import Layout


def pixels_in_cells(draw: Draw) -> Layout:
    """No image files: pixels in columns, in one cell, as encoded bytes, or in an array file."""
    layout, classes = Layout(), ("0", "1", "2")
    what = one_of(draw, ("columns", "parquet", "npz"))
    splits = one_of(draw, ((("train", "train"), ("test", "test")), (("train", ""),)))
    arrays: dict[str, np.ndarray] = {}
    for name, split in splits:
        labels = [classes[n % 3] for n in range(24 if name == "train" else 9)]
        images = [layout.inside(label, split) for label in labels]
        if what == "columns":
            header = ["label", *(f"pixel{n}" for n in range(64))]
            rows = [[label, *image[..., 0].ravel()] for label, image in zip(labels, images, strict=True)]
            layout.table(f"{name}.csv", header, rows)
        elif what == "parquet":
            data = [
                {"image": {"bytes": png(image), "path": None}, "label": int(label)}
                for image, label in zip(images, labels, strict=True)
            ]
            buffer = io.BytesIO()
            pd.DataFrame(data).to_parquet(buffer)
            layout.text(f"data/{name}-00000-of-00001.parquet", buffer.getvalue())
        else:
            arrays |= {f"{name}_images": np.stack(images), f"{name}_labels": np.array(labels, dtype=int)[:, None]}
    if arrays:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        layout.text("cells.npz", buffer.getvalue())
    return layout


def png(image: np.ndarray) -> bytes:
    """Return pixels as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
