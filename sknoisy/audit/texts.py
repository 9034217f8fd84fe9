"""Texts as numbers, by skrub."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["text_numbers"]

_N_COLUMNS = 30  # numbers that stand for a text
_MAX_SAMPLE = 20_000  # different texts that the encoder learns from
_LEARNED_ROWS = 200_000  # whose different texts are held at a time
_BLOCK_TEXTS = 20_000  # that are encoded at a time
_MAX_CHARACTERS = 2_000  # of a text that are encoded
_MANY_WORDS = 4  # in the median text, from which words are counted, not parts of words


def text_numbers(
    column: pd.Series, seed: int, new_columns: Callable[[int], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return 30 numbers for each text: its words or parts of words, reduced by an SVD.

    The encoder learns from 20,000 different texts, of a long column from those of 200,000 random
    rows, and encodes all rows by pieces.

    Parameters
    ----------
    column : Series of shape (n,)
        Texts, not all of them without a letter; missing ones are 0.
    seed : int
        Seed of the sample that the encoder learns from, and of the SVD.
    new_columns : callable
        Takes k and returns the array of shape (k, n) that is filled.

    Returns
    -------
    numbers : ndarray of shape (k, n), float32
        k is 30, or the number of words or parts, or of texts, if it is smaller.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sknoisy.audit.texts import text_numbers
    >>> texts = pd.Series(["red car", "blue car", None, "red car"], dtype=object)
    >>> numbers = text_numbers(texts, 0, lambda k: np.empty((k, 4), np.float32))
    >>> bool((numbers[:, 0] == numbers[:, 3]).all()), bool(numbers[:, 2].any())
    (True, False)
    """
    encoder, width = _fitted(column, seed)
    numbers = new_columns(width)
    for start in range(0, len(column), _LEARNED_ROWS):
        codes, texts = _distinct(column.iloc[start : start + _LEARNED_ROWS])
        blocks = [
            encoder.transform(texts.iloc[first : first + _BLOCK_TEXTS]).to_numpy(np.float32)
            for first in range(0, len(texts), _BLOCK_TEXTS)
        ]
        table = np.vstack([*blocks, np.zeros((1, width), np.float32)])
        for column_of_table, filled in zip(table.T, numbers, strict=True):
            # -1, missing, is the last row
            filled[start : start + len(codes)] = column_of_table[codes]
    return numbers


def _distinct(column: pd.Series) -> tuple[NDArray[np.intp], pd.Series]:
    """Return the code of each text, -1 where it is missing, and the texts, cut."""
    import pandas as pd

    codes, values = pd.factorize(column.astype("str"))
    return codes, pd.Series(values, dtype="str").str.slice(0, _MAX_CHARACTERS)


def _fitted(column: pd.Series, seed: int) -> tuple[Any, int]:
    """Return an encoder that has learned some of the texts, and the number of its columns."""
    from skrub import StringEncoder

    rng = np.random.RandomState(seed)
    if len(column) > _LEARNED_ROWS:
        rows = rng.choice(len(column), _LEARNED_ROWS, replace=False)
        column = column.iloc[np.sort(rows)]
    texts = _distinct(column)[1]
    n_sample = min(len(texts), _MAX_SAMPLE)
    sample = texts.iloc[np.sort(rng.choice(len(texts), n_sample, replace=False))]
    has_words = sample.str.count(r"\w\w+").median() >= _MANY_WORDS
    encoder = StringEncoder(
        n_components=_N_COLUMNS,
        analyzer="word" if has_words else "char_wb",
        ngram_range=(1, 1) if has_words else (3, 4),
        random_state=seed,
    )
    encoder.fit(sample)
    return encoder, encoder.transform(sample.iloc[:1]).shape[1]
