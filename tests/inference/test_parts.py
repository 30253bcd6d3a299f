"""Parts of a prediction: what is done, what is missing, and how that is cut."""

from pathlib import Path

import pytest

from resnet50.inference.parts import Part, PartFolder, gaps, pieces
from resnet50.runtime.errors import UserError


def test_a_part_comes_back_with_its_counts(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "p.csv.parts", "digest")
    assert folder.done() == []
    folder.create()
    folder.write(slice(8, 12), b"c\nd\n", b"", 0)
    folder.write(slice(0, 8), "é\n".encode(), b"x\n", 1)
    assert folder.done() == [Part(slice(0, 8), 1), Part(slice(8, 12), 0)]
    assert folder.read(slice(0, 8)) == ("é\n".encode(), b"x\n")
    folder.remove_rows(slice(7, 8))
    assert folder.done() == [Part(slice(8, 12), 0)]


def test_parts_of_other_work_and_other_files_are_refused(tmp_path: Path) -> None:
    PartFolder(tmp_path, "digest").write(slice(0, 8), b"", b"", 0)
    with pytest.raises(UserError, match="made from other images, another model or other options"):
        PartFolder(tmp_path, "other").done()
    (tmp_path / "000000000-000000008.safetensors").rename(tmp_path / "a-b.safetensors")
    with pytest.raises(UserError, match=r"a-b\.safetensors is not a part"):
        PartFolder(tmp_path, "digest").done()


@pytest.mark.parametrize(
    ("done", "within", "expected"),
    [
        ([], (0, 10), [(0, 10)]),
        ([(0, 4), (8, 10)], (0, 10), [(4, 8)]),
        ([(0, 4), (8, 10)], (2, 9), [(4, 8)]),
        ([(0, 10)], (0, 10), []),
        ([(4, 8)], (0, 12), [(0, 4), (8, 12)]),
        ([(20, 30)], (0, 10), [(0, 10)]),
    ],
)
def test_gaps_are_the_rows_that_no_part_holds(
    done: list[tuple[int, int]], within: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert gaps([Part(slice(*rows), 0) for rows in done], slice(*within)) == [slice(*rows) for rows in expected]


def test_pieces_have_at_most_the_size_asked_for() -> None:
    assert list(pieces([slice(0, 10), slice(16, 20)], 4)) == [
        slice(0, 4), slice(4, 8), slice(8, 10), slice(16, 20)
    ]  # fmt: skip
