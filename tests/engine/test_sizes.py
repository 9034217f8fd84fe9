"""The rules by which rates and batches follow the size of the data."""

import pytest

from sknoisy._engine.sizes import bounded_meta_lr


def test_small_tables_keep_the_meta_rate():
    assert bounded_meta_lr(0.2, n_rows=2000, n_steps=1200) == 0.2


def test_total_way_of_the_meta_steps_does_not_grow_with_their_number():
    ways = [n * bounded_meta_lr(0.2, n_rows=900, n_steps=n) for n in (1200, 3000, 60_000)]
    assert ways == pytest.approx([0.2 * 1200] * 3)


def test_total_way_falls_with_the_cube_of_many_rows():
    ways = [3000 * bounded_meta_lr(0.2, n_rows=n, n_steps=3000) for n in (2000, 4000, 8000)]
    assert ways == pytest.approx([240, 30, 3.75])


def test_the_weighting_network_still_learns_on_large_data():
    rates = [bounded_meta_lr(0.2, n_rows=n, n_steps=3000) for n in (10_000, 1_000_000)]
    assert rates[0] == rates[1] > 0
