"""Statistics of shares, and how numbers are written."""

import pytest

from resnet50.runtime.stats import listed, loss, percent, points, round_size, wilson


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857–872, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_numbers_are_written_as_the_report_prints_them() -> None:
    assert [percent(share) for share in (0.8067, 0, 1)] == ["80.7%", "0.0%", "100.0%"]
    assert points(0.0226) == "2.3 points"
    assert [loss(value) for value in (0.12345, 1234.5)] == ["0.123", "1.23e+03"]
    assert [round_size(size) for size in (160 * 1.3, 224 * 1.3)] == [192, 288]


def test_a_list_in_words_leaves_out_what_is_empty() -> None:
    assert listed([]) == ""
    assert listed(["", "a"]) == "a"
    assert listed(["a", "", "b", "c"], "and") == "a, b and c"
