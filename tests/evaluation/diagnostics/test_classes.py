"""Rules about classes, on confusion matrices made to show a problem and not to."""

from typing import Any

import numpy as np

from resnet50.evaluation.diagnostics.classes import diagnose_classes
from tests.evaluation.diagnostics.found import find, rules


def evaluation(confusion: list[list[int]], classes: list[str] | None = None) -> dict[str, Any]:
    matrix = np.array(confusion)
    right, support = np.diag(matrix), matrix.sum(axis=1)
    recall = right / np.maximum(1, support)
    names = classes or [f"c{i}" for i in range(len(matrix))]
    return {
        "split": "test",
        "images": int(matrix.sum()),
        "accuracy": float(right.sum() / max(1, matrix.sum())),
        "balanced_accuracy": float(recall[support > 0].mean()) if matrix.sum() else 0.0,
        "classes": names,
        "confusion": confusion,
        "per_class": [
            {"label": n, "precision": 0.5, "recall": float(r), "f1": 0.5, "support": int(s)}
            for n, r, s in zip(names, recall, support, strict=True)
        ],
    }


def even(classes: int, right: int, wrong: int) -> list[list[int]]:
    """A confusion matrix without favorites."""
    return (np.full((classes, classes), wrong) + (right - wrong) * np.eye(classes, dtype=int)).tolist()


def test_even_classes_well_recognized_give_only_the_baseline() -> None:
    diagnoses = diagnose_classes(evaluation(even(5, 90, 2)), {f"c{i}": 300 for i in range(5)})
    assert rules(diagnoses) == {"majority_baseline"}
    assert diagnoses[0].level == "good"


def test_accuracy_below_and_about_the_majority_is_a_warning() -> None:
    about = find(diagnose_classes(evaluation([[68, 2], [28, 2]])), "majority_baseline")
    assert (about.level, "not clearly above" in about.text) == ("warning", True)
    below = find(diagnose_classes(evaluation([[300, 400], [200, 100]])), "majority_baseline")
    assert "below the 70.0%" in below.text
    assert "“c0”" in below.text


def test_lagging_class_is_named_with_what_it_is_predicted_as() -> None:
    confusion = even(5, 90, 2)
    confusion[2] = [40, 4, 50, 2, 2]
    diagnosis = find(diagnose_classes(evaluation(confusion), {f"c{i}": 300 for i in range(5)}), "lagging_classes")
    assert "“c2” (50 of 98 recognized, 40 predicted as “c0”)" in diagnosis.text
    assert "--class-weights" not in diagnosis.advice


def test_rare_lagging_class_asks_for_weights_unless_they_were_used() -> None:
    confusion = even(5, 90, 2)
    confusion[2] = [40, 4, 50, 2, 2]
    counts = {"c0": 300, "c1": 300, "c2": 40, "c3": 300, "c4": 300}
    diagnosis = find(diagnose_classes(evaluation(confusion), counts), "lagging_classes")
    assert "--class-weights balanced" in diagnosis.advice
    weighted = diagnose_classes(evaluation(confusion), counts, {"class_weights": "balanced"})
    assert "alone was not enough" in find(weighted, "lagging_classes").advice


def test_lagging_class_is_rare_below_half_the_median_of_images() -> None:
    confusion = even(5, 90, 2)
    confusion[2] = [40, 4, 50, 2, 2]
    for images, rare in ((149, True), (150, False), (250, False)):
        counts = {f"c{i}": 300 for i in range(5)} | {"c2": images}
        advice = find(diagnose_classes(evaluation(confusion), counts), "lagging_classes").advice
        assert ("Rare in training: “c2”" in advice) == rare


def test_small_class_does_not_lag_by_chance() -> None:
    confusion = even(5, 90, 2)
    confusion[2] = [1, 0, 3, 1, 0]  # 3 of 5
    diagnoses = diagnose_classes(evaluation(confusion))
    assert "lagging_classes" not in rules(diagnoses)
    assert "“c2”" in find(diagnoses, "few_images").text


def test_class_of_fewer_than_ten_images_is_said_to_be_small() -> None:
    assert "“c1”" in find(diagnose_classes(evaluation([[90, 0], [0, 9]])), "few_images").text
    assert "few_images" not in rules(diagnose_classes(evaluation([[90, 0], [0, 10]])))


def test_equal_classes_hardly_ever_lag() -> None:
    """Twenty classes of the same recall, 30 images each: a false alarm in at most a few of a hundred splits."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        right = rng.binomial(30, 0.8, 20)
        confusion = np.diag(right)
        for i in range(20):
            confusion[i, (i + 1) % 20] += 30 - right[i]
        alarms += "lagging_classes" in rules(diagnose_classes(evaluation(confusion.tolist())))
    assert alarms <= 5


def test_costliest_confusion_counts_both_directions() -> None:
    confusion = even(6, 90, 1)
    confusion[1][4], confusion[4][1] = 10, 25
    diagnosis = find(diagnose_classes(evaluation(confusion), config={"image_size": 128}), "costliest_confusion")
    assert "“c4” predicted as “c1” 25 times, the reverse 10 times, 55.6% of 63 mistakes" in diagnosis.text
    assert f"{100 * (1 - 28 / 603):.1f}%" in diagnosis.text
    assert "--image-size 160" in diagnosis.advice
    assert "costliest_confusion" not in rules(diagnose_classes(evaluation(even(6, 90, 2))))


def test_two_classes_are_read_by_direction() -> None:
    diagnosis = find(diagnose_classes(evaluation([[90, 5], [30, 70]])), "costliest_confusion")
    assert "“c1” predicted as “c0” 30 times" in diagnosis.text
    assert "costliest_confusion" not in rules(diagnose_classes(evaluation([[90, 18], [15, 70]])))


def test_imbalance_needs_a_factor_of_ten() -> None:
    confusion = [[990, 10], [8, 12]]
    diagnosis = find(diagnose_classes(evaluation(confusion), {"c0": 2000, "c1": 40}), "imbalance")
    assert "2,000 training images of “c0”, 40 of “c1”" in diagnosis.text
    assert "--class-weights balanced" in diagnosis.advice
    assert "imbalance" not in rules(diagnose_classes(evaluation(confusion), {"c0": 200, "c1": 40}))
    assert "imbalance" not in rules(diagnose_classes(evaluation(confusion), None))


def test_evaluation_without_images_gives_nothing() -> None:
    assert diagnose_classes(evaluation([[0, 0], [0, 0]])) == []


def test_a_class_never_trained_on_is_said_as_that_and_left_out_of_the_rest() -> None:
    confusion = even(5, 90, 2)
    confusion[2] = [60, 38, 0, 0, 0]
    counts = {f"c{i}": 300 for i in range(5)} | {"c2": 0}
    diagnoses = diagnose_classes(evaluation(confusion), counts)
    assert rules(diagnoses) == {"never_trained", "majority_baseline"}
    assert "“c2” has no image in training" in diagnoses[0].text
    assert "98 of the 490 measured images" in diagnoses[0].text
    assert "about the 392 other images" in diagnoses[0].text
    baseline = find(diagnoses, "majority_baseline")
    assert "91.8% of 392 images" in baseline.text
    assert baseline.level == "good"


def test_a_split_of_classes_never_trained_on_says_nothing_else() -> None:
    (diagnosis,) = diagnose_classes(evaluation([[0, 0, 0], [0, 0, 0], [6, 2, 0]]), {"c0": 8, "c1": 8})
    assert "“c2” has no image in training" in diagnosis.text
    assert "--" not in diagnosis.text + diagnosis.advice


def test_without_the_training_images_no_class_is_called_untrained() -> None:
    confusion = even(3, 90, 2)
    confusion[2] = [60, 38, 0]
    assert "never_trained" not in rules(diagnose_classes(evaluation(confusion), None))
