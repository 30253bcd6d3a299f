import numpy as np

from resnet50.etl.near_duplicates import search
from resnet50.etl.near_duplicates.search import ORDERS, Index, bit_order, find_candidates, reorder


def thumbnails(count: int, seed: int = 0) -> np.ndarray:
    """Return thumbnails of random smooth images."""
    coarse = np.random.default_rng(seed).integers(0, 255, (count, 4, 4))
    return np.kron(coarse, np.ones((4, 4))).astype(np.uint8)


def test_equal_and_mirrored_thumbnails_are_candidates_among_others() -> None:
    images = thumbnails(300)
    images[200], images[250] = images[10], images[20][:, ::-1]
    found = find_candidates(images)
    pairs = {(*sorted((int(i), int(o))), bool(m)) for i, o, m in zip(*found[:2], found.mirrored, strict=True)}
    assert {(10, 200, False), (20, 250, True)} <= pairs
    assert len(pairs) < 10
    assert (np.diff(found.correlation) <= 0).all()


def test_number_of_comparisons_is_bounded_where_all_images_are_alike() -> None:
    images = np.repeat(thumbnails(1), 500, axis=0)
    found = find_candidates(images)
    assert np.bincount(found.image).max() <= search.MAX_PER_IMAGE
    assert len(found.image) >= 499, "enough to connect them all"


def test_candidates_are_the_same_in_every_run() -> None:
    images = thumbnails(700)
    images[300:600] = images[:300]
    for one, other in zip(find_candidates(images), find_candidates(images), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fewer_than_two_images_have_no_candidates() -> None:
    for count in (0, 1):
        assert find_candidates(thumbnails(count)).image.tolist() == []


def test_bits_are_moved_as_the_order_says() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**44, 100, dtype=np.uint64) << np.uint64(20)
    order = np.random.default_rng(1).permutation(44)
    for before, after in zip(hashes.tolist(), reorder(hashes, bit_order(order)).tolist(), strict=True):
        old = f"{before:064b}"
        assert f"{after:064b}"[:44] == "".join(old[bit] for bit in order)


def test_index_holds_every_image_and_its_mirror_image_in_every_order() -> None:
    index = Index(thumbnails(30))
    assert len(index.sorted) == ORDERS
    for values, order in index.sorted:
        assert (np.diff(values.astype(object)) >= 0).all()
        assert sorted(order.tolist()) == list(range(60))
