"""Descriptions of a fit, by which a checkpoint tells whether it belongs to it."""

import numpy as np
import pytest
import torch

from sknoisy._engine import parquet_rows
from sknoisy._engine.parquet_rows import ParquetRows
from sknoisy._engine.run_description import _describe, _describe_given


class Slots:
    """An object without a ``__dict__``."""

    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Own:
    """An object of the user's, without a text of its own."""

    def __init__(self, a):
        self.a = a


def around_itself(a):
    value = Own(a)
    value.me = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        Own,
        Slots,
        around_itself,
        np.random.RandomState,
        np.random.default_rng,
        lambda seed: torch.Generator().manual_seed(seed),
        lambda a: [Own(Slots(a))],
        lambda a: {"key": {Own: a}},
    ],
)
def test_objects_are_described_by_what_they_hold(make):
    first, equal, other = (_describe(make(a)) for a in (1, 1, 2))
    assert first == equal
    assert first != other
    assert "0x" not in first


def test_the_order_of_a_set_does_not_matter():
    """That of texts is another one in each process; of 0 and 8, the first to come is the first."""
    sets = [{0, 8}, {8, 0}]
    assert [*sets[0]] != [*sets[1]]
    assert [_describe({"skip": values}) for values in sets] == ["{'skip': {0, 8}}"] * 2


def test_row_groups_that_change_the_order_of_rows_are_noticed(tmp_path, monkeypatch):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet_rows, "_BLOCK_ROWS", 10)
    texts = []
    for size in (10, 10, 20):
        parquet.write_table(pa.table({"a": np.arange(60.0)}), tmp_path / "X", size)
        texts.append(_describe_given(ParquetRows(tmp_path / "X")))
    assert texts[0] == texts[1] != texts[2]
