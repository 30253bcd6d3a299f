import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import resnet50
from tests.etl.near_duplicates.conftest import compress, draw_scene


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table with a near-duplicate pair, a contradictory pair, a broken file and a class named like a tag."""
    folder = tmp_path_factory.mktemp("source")
    rows = [(f"i{number}", ("<b>cat</b>", "dog")[number % 2]) for number in range(30)]
    for number, (name, _) in enumerate(rows):
        draw_scene(number, 160, 120).save(folder / f"{name}.jpg")
    for name, original, label in (("copy", 4, "<b>cat</b>"), ("other", 7, "<b>cat</b>")):
        compress(draw_scene(original, 160, 120)).save(folder / f"{name}.png")
        rows.append((name, label))
    (folder / "broken.jpg").write_text("no image")
    rows.append(("broken", "dog"))
    pd.DataFrame(rows, columns=["image_id", "label"]).to_csv(folder / "table.csv", index=False)
    return folder


class Page(HTMLParser):
    """Collects the text, and the addresses that a page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.sources = "", list[str]()
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_page_shows_what_was_found_and_stands_alone(source: Path, tmp_path: Path) -> None:
    resnet50.prepare(source / "table.csv", tmp_path / "out", min_class_count=0)
    page = Page((tmp_path / "out" / "audit.html").read_text())
    text = " ".join(page.text.split())
    assert "2 near-duplicates" in text
    assert "2 near-duplicates, other label" in text
    assert "1 unreadable images" in text
    assert "What was done: kept in one split" in text
    assert "copy" in text
    assert "<b>cat</b>" in text, "class names are escaped"
    assert all(re.match(r"data:image/jpeg;base64,|#", source) for source in page.sources)


def test_near_duplicates_are_on_one_side_and_equal_input_gives_an_equal_page(source: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        resnet50.prepare(source / "table.csv", tmp_path / out)
    assert (tmp_path / "a" / "audit.html").read_bytes() == (tmp_path / "b" / "audit.html").read_bytes()
    splits = pd.read_parquet(tmp_path / "a" / "manifest.parquet").set_index("image_id")["split"]
    assert splits["copy"] == splits["i4"]
    assert splits["other"] == splits["i7"]


@pytest.mark.slow
def test_shards_and_datasets_without_a_store_find_the_same(source: Path, tmp_path: Path) -> None:
    table = source / "table.csv"
    resnet50.prepare(table, tmp_path / "whole")
    resnet50.prepare(table, tmp_path / "files", store=False)
    for shard in ("1/2", "2/2"):
        resnet50.prepare(table, tmp_path / "merged", shard=shard)
    resnet50.prepare(table, tmp_path / "merged", merge=2)
    pages = [(tmp_path / out / "audit.html").read_bytes() for out in ("whole", "merged")]
    assert pages[0] == pages[1]
    kinds = [json.loads((tmp_path / out / "audit.json").read_text()) for out in ("whole", "files", "merged")]
    pairs = [{(item["same_as"], item["image_id"]) for item in found["near_duplicates"]["items"]} for found in kinds]
    assert pairs == [{("i4", "copy"), ("i7", "other")}] * 3
