"""What the report says of a dataset."""

import pandas as pd

from resnet50.evaluation.report.sections import image_sizes


def test_sizes_of_images_are_given_by_median_and_shorter_side() -> None:
    sizes = pd.DataFrame({"width": [30, 40, 90], "height": [20, 50, 60]})
    assert image_sizes(sizes) == "Their median size is 40 × 50 pixels; the shorter side ranges from 20 to 60."


def test_one_size_of_all_images_is_given_as_such() -> None:
    assert image_sizes(pd.DataFrame({"width": [30, 30], "height": [20, 20]})) == "All are 30 × 20 pixels."
    different = "Their median size is 30 × 25 pixels; the shorter side ranges from 20 to 30."
    assert image_sizes(pd.DataFrame({"width": [30, 30], "height": [20, 30]})) == different


def test_sizes_that_are_not_known_are_not_given() -> None:
    assert image_sizes(pd.DataFrame({"width": [], "height": []})) == ""
    assert image_sizes(pd.DataFrame({"width": [30]})) == ""
