"""The rules by which rates and batches follow the size of the data."""

import numpy as np
import pytest

from sknoisy._engine.sizes import auto_batch_size, auto_epochs, auto_lr, bounded_meta_lr


def test_small_tables_keep_the_meta_rate():
    assert bounded_meta_lr(0.2, n_rows=2000, n_steps=1200) == 0.2


def test_total_way_of_the_meta_steps_does_not_grow_with_their_number():
    ways = [n * bounded_meta_lr(0.2, n_rows=900, n_steps=n) for n in (1200, 3000, 60_000)]
    assert ways == pytest.approx([0.2 * 1200] * 3)


def test_total_way_falls_with_the_cube_of_many_rows():
    ways = [3000 * bounded_meta_lr(0.2, n_rows=n, n_steps=3000) for n in (2000, 4000, 8000)]
    assert ways == pytest.approx([240, 30, 3.75])


def test_total_way_falls_with_the_root_of_very_many_rows():
    rates = [bounded_meta_lr(0.2, n_rows=n, n_steps=3000) for n in (10_000, 40_000, 1_000_000)]
    assert np.divide(rates, rates[0]) == pytest.approx([1, 1 / 2, 1 / 10])


# --- large tables -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [100, 20_000, 200_000])
def test_up_to_200_000_rows_there_are_60_epochs_of_up_to_200_steps(n_rows):
    assert auto_epochs(n_rows, is_table=True) == 60
    assert n_rows / auto_batch_size(n_rows, is_table=True) <= 200


def test_the_cost_of_a_row_falls_with_the_number_of_rows():
    """Fewer steps for a row, and from 200,000 rows on fewer visits, until there are ten."""
    sizes = [10_000, 40_000, 160_000, 640_000, 1_200_000, 5_000_000]
    steps = [auto_epochs(n, True) / auto_batch_size(n, True) for n in sizes]
    assert (np.diff(steps[:5]) < 0).all()
    assert steps[4] == steps[5] == 10 / 2000


def test_the_variance_of_a_step_stays_until_the_rate_is_bounded():
    rates = np.array([auto_lr(b) ** 2 / b for b in (100, 500, 1600)])
    assert rates == pytest.approx(rates[:1].repeat(3))
    assert auto_lr(auto_batch_size(10**7, is_table=True)) == 0.2


def test_images_have_the_same_batches_and_epochs_in_any_number():
    assert auto_batch_size(10**6, is_table=False) == 100
    assert auto_epochs(10**6, is_table=False) == 60
