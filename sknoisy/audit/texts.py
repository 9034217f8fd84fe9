"""Texts as numbers: weighted words, or parts of words, reduced by a truncated SVD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["text_numbers"]

_N_COLUMNS = 30  # numbers that stand for a text
_MAX_SAMPLE = 20_000  # different texts that the encoder learns from
_BLOCK_TEXTS = 20_000  # that are encoded at a time
_MAX_CHARACTERS = 2_000  # of a text that are encoded
_MANY_WORDS = 4  # in the median text, from which words are counted, not parts of words


def text_numbers(column: pd.Series, seed: int) -> NDArray[np.float32]:
    """Return numbers for each text.

    Words, or parts of words where the texts are short, are weighted by TF-IDF and reduced to 30
    numbers by a truncated SVD, which are divided by their total standard deviation, so that a
    text column counts like a standardised one.

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

    codes, values = pd.factorize(column.astype("str"))
    texts = pd.Series(values, dtype="str").str.slice(0, _MAX_CHARACTERS)
    drawn = np.random.RandomState(seed).choice(
        len(texts), min(len(texts), _MAX_SAMPLE), replace=False
    )
    sample = texts.iloc[np.sort(drawn)]
    has_words = sample.str.count(r"\w\w+").median() >= _MANY_WORDS
    vectorizer = TfidfVectorizer(
        analyzer="word" if has_words else "char_wb", ngram_range=(1, 1) if has_words else (3, 4)
    )
    weighted = vectorizer.fit_transform(sample).astype(np.float32)
    reduction = None
    if weighted.shape[1] > _N_COLUMNS:
        reduction = TruncatedSVD(_N_COLUMNS, random_state=seed)
        reduced = reduction.fit_transform(weighted)
    else:
        reduced = weighted.toarray()
    scale = _total_deviation(reduced)

    def encode(texts: pd.Series) -> NDArray[Any]:
        weighted = vectorizer.transform(texts).astype(np.float32)
        return (weighted.toarray() if reduction is None else reduction.transform(weighted)) / scale

    starts = range(0, len(texts), _BLOCK_TEXTS)
    blocks = [encode(texts.iloc[start : start + _BLOCK_TEXTS]) for start in starts]
    table = np.vstack([*blocks, np.zeros((1, reduced.shape[1]), np.float32)])
    return table[codes]  # -1, missing, is the last row


def _total_deviation(numbers: NDArray[np.float32]) -> np.float32:
    """Return the root of the sum of the variances of the columns, 1 if they are constant."""
    deviation = np.sqrt(numbers.var(axis=0).sum())
    return deviation if deviation > 10 * np.finfo(np.float32).eps else np.float32(1)
