"""What the report says of a dataset and of a training."""

import numpy as np
import pandas as pd

from resnet50.evaluation.report.sections import audit_rows, image_sizes, training_plots


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


def test_audit_names_three_examples_and_tells_of_more() -> None:
    def examples(*items: str) -> str:
        return audit_rows({"missing_images": {"count": len(items), "items": items}})[0][-1]

    assert examples("a", "b", "c") == "a, b, c"
    assert examples("a", "b", "c", "d") == "a, b, c, …"


def test_validation_is_dashed_beside_training() -> None:
    columns = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr", "head_lr", "grad_norm")
    metrics = pd.DataFrame({"epoch": [1, 2, 3]} | dict.fromkeys(columns, np.array([0.5, 0.6, 0.7])))
    plots = training_plots(metrics, best=1, val_images=10)
    # A dashed curve and its entry in the legend, and the dotted line at the best epoch.
    assert [plot.count("stroke-dasharray") for plot in plots] == [3, 3, 1, 1]
