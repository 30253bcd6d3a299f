"""Rows and values by key."""

import pandas as pd

from resnet50.study.tables import final_values, means_by, networks, select, trained_networks, value_of, values_of

TABLE = pd.DataFrame({
    "network": ["plain", "fine-tuned", "plain", "plain", "fine-tuned, the other"],
    "seed": [1, 0, 0, 1, 0], "epoch": [2, 1, 2, 1, 1], "value": [1.0, 2.0, 3.0, 4.0, 5.0],
})  # fmt: skip


def test_rows_are_selected_by_value_or_by_several() -> None:
    assert select(TABLE, network="plain", epoch=2)["value"].tolist() == [1, 3]
    assert select(TABLE, epoch=(1, 2)).equals(TABLE)
    assert select(TABLE, network="none").empty


def test_values_come_in_the_order_of_a_column() -> None:
    assert values_of(TABLE, "seed", network="plain", epoch=2).tolist() == [3, 1]
    assert final_values(TABLE, network="plain").tolist() == [3, 1]
    assert value_of(TABLE, network="plain") == 1
    assert means_by(TABLE, "seed", network="plain").to_dict() == {0: 3, 1: 2.5}


def test_trained_runs_are_told_from_small_networks() -> None:
    assert networks(TABLE) == ["plain", "fine-tuned", "fine-tuned, the other"]
    assert trained_networks(TABLE) == ["fine-tuned", "fine-tuned, the other"]
