"""`prepare`, and the prepared dataset that it returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from resnet50.api.on_disk import OnDisk, facts_as_html, read_if_changed
from resnet50.runtime.errors import UserError, in_python, nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from resnet50.etl.prepared import PreparedDataset
    from resnet50.options.keywords import PrepareKeywords, StrPath

MAX_CLASSES_SHOWN = 20
"""Classes that a notebook lists below a dataset."""


def prepare(source: pd.DataFrame | StrPath, out: StrPath, **options: Unpack[PrepareKeywords]) -> Dataset:
    """Turn labeled images into a prepared dataset, as `resnet50 prepare` does.

    Args:
        source: a DataFrame with a row per image; or the path of a CSV or Parquet table, of class folders, or of a
            Kaggle input directory. A DataFrame needs `images=`, the folder that its rows refer to, and is kept in the
            dataset as `source.parquet`.
        out: folder to write the dataset to.
        **options: as on the command line; see `PrepareKeywords`.

    Returns:
        The dataset. After a single `shard` there is nothing in it yet.

    Raises:
        UserError: something about the source or the options is wrong; nothing is written then. If the source can be
            read in several ways, `choices` has the keyword arguments that select each.
    """
    import pandas as pd

    from resnet50.etl.prepare import prepare
    from resnet50.etl.prepared import SOURCE
    from resnet50.options import PrepareOptions, call, from_values

    table = source if isinstance(source, pd.DataFrame) else None
    path = Path(out) / SOURCE if table is not None else source
    given = from_values(PrepareOptions, {"source": path, "out": out, **options})
    try:
        prepare(given, table)
    except UserError as error:
        shown = {} if table is None else {"source": "table"}
        error.commands = tuple(call("prepare", given, choice, shown) for choice in error.choices)
        raise
    return Dataset(out)


class Dataset(OnDisk):
    """A prepared dataset: labeled images in splits, in the folder `path`.

    `Dataset("folder")` opens one that was prepared before.
    """

    def load(self) -> PreparedDataset:
        """Read the dataset as the other functions take it; again only if it has changed.

        Raises:
            UserError: there is no dataset in the folder, or a file in it is damaged.
        """
        from resnet50.etl.prepared import MANIFEST, load_prepared

        try:
            return read_if_changed(load_folder_of, self.path / MANIFEST)
        except OSError:
            return load_prepared(self.path)  # which says what is missing

    @property
    def name(self) -> str:
        """Name of the dataset in reports."""
        return self.load().name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted; the index of a label is its position here."""
        return self.load().classes

    @property
    def fingerprint(self) -> str:
        """SHA-256 over classes, ids, labels, splits and image hashes; equal for equal data only."""
        return self.load().fingerprint

    @property
    def manifest(self) -> pd.DataFrame:
        """A row per image: image_id, path, label, label_index, group, split, width, height, sha256."""
        return self.load().manifest.copy()

    def split(self, name: Literal["train", "val", "test"]) -> pd.DataFrame:
        """Return the manifest's rows of a split.

        Raises:
            UserError: the dataset has no such split.
        """
        return self.load().split(name)

    @property
    def splits(self) -> pd.DataFrame:
        """Number of images by class (rows) and split (columns)."""
        import pandas as pd

        from resnet50.etl.split import SPLITS

        data = self.load()
        counts = pd.crosstab(data.manifest["label"], data.manifest["split"])
        return counts.reindex(index=list(data.classes), columns=list(SPLITS), fill_value=0)

    @property
    def audit(self) -> pd.DataFrame:
        """What the audit found: a row per kind of finding with its count, and what was done about it."""
        import pandas as pd

        from resnet50.etl.audit import KINDS

        found = self.read_audit()
        rows = {
            kind: {
                "finding": title,
                "count": found[kind]["count"],
                "action": found[kind].get("action", action) if found[kind]["count"] else "",
            }
            for kind, (title, action) in KINDS.items()
            if kind in found  # earlier versions looked for fewer kinds
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def findings(self, kind: str) -> pd.DataFrame:
        """Return all findings of one kind, a name in the index of `audit`.

        Raises:
            UserError: there is no such kind; the message suggests the nearest.
        """
        import pandas as pd

        found = self.read_audit()
        if kind not in found:
            raise UserError(f"there is no kind of finding {kind!r}{nearest(kind, found)}: kinds are {', '.join(found)}")
        return pd.DataFrame(found[kind]["items"])

    def read_audit(self) -> dict[str, dict[str, Any]]:
        """Read `audit.json`: count and items of each kind; a UserError if it is missing or damaged."""
        from resnet50.etl.prepared import AUDIT

        self.load()
        try:
            return json.loads((self.path / AUDIT).read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path / AUDIT} can't be read; prepare the dataset again") from error

    def show(self, n: int = 9, split: Literal["train", "val", "test"] | None = None, seed: int = 0) -> Figure:
        """Draw images with their labels, about equally many of each class.

        Args:
            n: number of images.
            split: where they are from; None for all splits.
            seed: of the choice.
        """
        from resnet50.api.figures import image_grid

        rows = (self.manifest if split is None else self.split(split)).sample(frac=1, random_state=seed)
        turn = rows.groupby("label").cumcount()
        chosen = rows.assign(turn=turn).sort_values(["turn", "label_index"], kind="stable").head(n)
        return image_grid(chosen["path"].tolist(), chosen["label"].tolist(), self.load().bit_depth)

    def __len__(self) -> int:
        return len(self.load().manifest)

    def facts(self) -> dict[str, object]:
        """Return what is printed: numbers of images and classes, or why there is nothing to print."""
        try:
            data, splits = self.load(), self.splits.sum()
        except UserError as error:
            return {"unreadable": in_python(str(error))}
        by_split = ", ".join(f"{name} {count:,}" for name, count in splits.items())
        return {"images": f"{len(data.manifest):,} ({by_split})", "classes": f"{len(data.classes):,}"}

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {', '.join(f'{name}: {value}' for name, value in self.facts().items())})"

    def _repr_html_(self) -> str:
        try:
            splits = self.splits.head(MAX_CLASSES_SHOWN).to_html(border=0)
        except UserError:
            splits = ""
        return facts_as_html(f"Dataset {self.path}", self.facts()) + splits


def load_folder_of(manifest: Path) -> PreparedDataset:
    from resnet50.etl.prepared import load_prepared

    return load_prepared(manifest.parent)
