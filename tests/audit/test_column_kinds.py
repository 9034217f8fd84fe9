"""Kinds of columns, and their values as numbers."""

import numpy as np
import pandas as pd
import pytest

from sknoisy.audit.columns import encode_columns
from sknoisy.audit.files import InputError

N_ROWS = 120


@pytest.fixture
def labels(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    return pd.Series(rng.choice(["yes", "no"], N_ROWS))


def encoded(labels, seed=0, decimal_comma=False, **columns):
    """Encode columns of text, as a CSV file has them."""
    frame = pd.DataFrame({name: pd.array(list(values), "str") for name, values in columns.items()})
    frame["always"] = pd.array([str(row % 7) for row in range(len(frame))], "str")
    return encode_columns(frame, labels, seed, decimal_comma=decimal_comma)


def texts(rng, n_words, n_rows=N_ROWS):
    words = np.array([f"word{number}" for number in range(300)])
    return [" ".join(rng.choice(words, n_words)) for _ in range(n_rows)]


def test_numbers_stay_numbers_and_missing_ones_are_nan(labels):
    values = [str(row / 7) for row in range(N_ROWS - 1)]
    result = encoded(labels, length=[None, *values])
    assert result.kinds["length"] == "number"
    assert np.isnan(result.X[0, 0])
    np.testing.assert_allclose(result.X[1:, 0], np.arange(N_ROWS - 1) / 7, rtol=1e-6)
    assert result.X.dtype == np.float32


def test_a_comma_is_a_decimal_point_only_on_request_and_where_there_is_one(labels):
    prices = [f"{row % 5 + 1}.234,5" if row % 2 else str(row) for row in range(N_ROWS)]
    grams = [f"{row % 60}.125" for row in range(N_ROWS)]
    result = encoded(labels, decimal_comma=True, price=prices, grams=grams)
    expected = [1000 * (row % 5 + 1) + 234.5 if row % 2 else row for row in range(N_ROWS)]
    np.testing.assert_array_equal(result.X[:, 0], np.float32(expected))
    np.testing.assert_array_equal(result.X[:, 1], np.float32(grams))
    assert encoded(labels, price=prices).kinds["price"] == "text"


def test_few_values_are_categories_with_an_indicator_each(labels):
    colours = [None, *("red", "green", "blue") * 40][:N_ROWS]
    result = encoded(labels, colour=colours)
    assert result.kinds["colour"] == "category"
    names = ["blue", "green", "red"]
    expected = [[float(colour == name) for name in names] for colour in colours]
    np.testing.assert_array_equal(result.X[:, :3], expected)


def test_texts_of_the_same_words_are_near_each_other(labels, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    first, second = ("tram bus train rail", "milk bread butter cheese")
    review = [
        " ".join(rng.permutation((first if row % 2 else second).split())) + f" {row} {row % 9}"
        for row in range(N_ROWS)
    ]
    result = encoded(labels, review=review)
    assert result.kinds["review"] == "text"
    X = result.X[:, :-1]
    odd, even = X[1::2], X[::2]
    within = np.linalg.norm(odd - odd.mean(axis=0), axis=1).mean()
    between = np.linalg.norm(odd.mean(axis=0) - even.mean(axis=0))
    assert between > 2 * within


@pytest.mark.parametrize("n_words", [1, 8])  # parts of words, words
def test_a_missing_text_is_zero_and_the_seed_decides_the_rest(labels, n_words, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    pool = texts(rng, n_words, 60)
    column = [None, *rng.choice(pool, N_ROWS - 1)]
    first, again = (encoded(labels, seed=3, note=column).X[:, :-1] for _ in range(2))
    assert not first[0].any()
    assert first[1:].any(axis=1).all()
    np.testing.assert_array_equal(first, again)


LEFT_OUT = {
    "dense numbers": ([str(row + 1000) for row in range(N_ROWS)], "an identifier"),
    "codes": ([f"K-{row:05d}" for row in range(N_ROWS)], "an identifier"),
    "dates": ([f"2024-01-{row % 28 + 1:02d}" for row in range(N_ROWS)], "dates"),
    "German dates": ([f"{row % 28 + 1}.1.2024" for row in range(N_ROWS)], "dates"),
    "times": ([f"2024-01-{row % 28 + 1:02d} 10:00:00" for row in range(N_ROWS)], "dates"),
    "one value": (["same"] * N_ROWS, "only one value"),
    "empty": ([None] * N_ROWS, "empty"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_columns_without_use_are_left_out_with_the_reason(labels, name):
    values, reason = LEFT_OUT[name]
    result = encoded(labels, column=values)
    assert reason in result.left_out["column"]
    assert result.X.shape[1] == 1


def test_different_numbers_are_an_identifier_only_if_dense_or_so_named(labels):
    values = [str(row * 7919 % 100_003) for row in range(1, N_ROWS + 1)]
    result = encoded(labels, **{"customer_id": values, "income": values})
    assert "identifier" in result.left_out["customer_id"]
    assert result.kinds["income"] == "number"


def test_different_sentences_are_texts_and_no_identifier(labels, global_random_seed):
    column = texts(np.random.RandomState(global_random_seed), 8)
    assert len(set(column)) == N_ROWS
    assert encoded(labels, review=column).kinds["review"] == "text"


def test_a_column_that_repeats_the_label_is_left_out(labels):
    codes = labels.map({"yes": "1", "no": "0"})
    result = encoded(labels, target=codes)
    assert result.left_out == {"target": "equals the label"}
    codes.iloc[0] = "1" if codes.iloc[0] == "0" else "0"
    assert encoded(labels, target=codes).left_out == {}


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e308", "1e31"])
def test_numbers_that_no_model_can_take_are_named(labels, cell):
    values = [str(row / 3) for row in range(N_ROWS)]
    values[5] = cell
    with pytest.raises(InputError, match=r"'length' holds .* in row 5.*--drop 'length'"):
        encoded(labels, length=values)


def test_without_any_column_of_use_the_reasons_are_told(labels):
    frame = pd.DataFrame({"id": pd.array([f"K{row}" for row in range(N_ROWS)], "str")})
    with pytest.raises(InputError, match="id: an identifier"):
        encode_columns(frame, labels, 0)


def test_columns_of_other_types_are_read_as_in_text(labels):
    frame = pd.DataFrame(
        {
            "flag": np.arange(N_ROWS) % 3 == 0,
            "size": pd.Categorical(np.array(["s", "m"])[np.arange(N_ROWS) % 2]),
            "day": pd.date_range("2024-01-01", periods=N_ROWS),
            "list": [[row] for row in range(N_ROWS)],
        }
    )
    result = encode_columns(frame, labels, 0)
    assert result.kinds == {"flag": "number", "size": "category"}
    assert set(result.left_out) == {"day", "list"}
