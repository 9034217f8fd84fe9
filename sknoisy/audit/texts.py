"""Texts as numbers, by skrub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["text_numbers"]

_N_COLUMNS = 30  # numbers that stand for a text
_MAX_SAMPLE = 20_000  # different texts that the encoder learns from
_BLOCK_TEXTS = 20_000  # that are encoded at a time
_MAX_CHARACTERS = 2_000  # of a text that are encoded
_MANY_WORDS = 4  # in the median text, from which words are counted, not parts of words


def text_numbers(column: pd.Series, seed: int) -> NDArray[np.float32]:
    """Return 30 numbers for each text: its words or parts of words, reduced by an SVD.

    Parameters
    ----------
    column : Series of shape (n,)
        Texts, not all of them without a letter; missing ones are 0.
    seed : int
        Seed of the sample that the encoder learns from, and of the SVD.

    Returns
    -------
    numbers : ndarray of shape (n, k), float32
        k is 30, or the number of words or parts, or of texts, if it is smaller.

    Examples
    --------
    >>> import pandas as pd
    >>> from sknoisy.audit.texts import text_numbers
    >>> texts = pd.Series(["red car", "blue car", None, "red car"], dtype=object)
    >>> numbers = text_numbers(texts, 0)
    >>> bool((numbers[0] == numbers[3]).all()), bool(numbers[2].any())
    (True, False)
    """
    import pandas as pd
    from skrub import StringEncoder

    codes, values = pd.factorize(column.astype("str"))
    texts = pd.Series(values, dtype="str").str.slice(0, _MAX_CHARACTERS)
    rng = np.random.RandomState(seed)
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
    starts = range(0, len(texts), _BLOCK_TEXTS)
    blocks = [
        encoder.transform(texts.iloc[start : start + _BLOCK_TEXTS]).to_numpy(np.float32)
        for start in starts
    ]
    table = np.vstack([*blocks, np.zeros((1, blocks[0].shape[1]), np.float32)])
    return table[codes]  # -1, missing, is the last row
