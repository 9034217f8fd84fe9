"""Groups of rows, such as patients, whose labels may be wrong together."""

from __future__ import annotations

import numpy as np

from .labels import is_missing, to_numpy

__all__ = ["check_groups"]


def check_groups(groups, n_samples: int) -> np.ndarray | None:
    """Return the groups of the rows as codes 0, 1, ..., int64 of shape (n,), or None.

    The containers are those of y. Codes are given in the order in which the groups appear.
    ValueError is raised if the groups are not one value per row, have missing values, or are all
    equal.
    """
    if groups is None:
        return None
    values = to_numpy(groups, "groups")
    if values.shape != (n_samples,):
        raise ValueError(
            f"groups has shape {values.shape}, but X has {n_samples} rows: pass one group per row."
        )
    values = values.tolist()
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise ValueError(
            f"groups has a missing value in row {missing[0]}: every row needs a group. Give a row "
            "that belongs to no other a group of its own."
        )
    codes: dict = {}
    encoded = np.array([codes.setdefault(value, len(codes)) for value in values], dtype=np.int64)
    if len(codes) < 2:
        raise ValueError(
            f"groups holds only one group, {values[0]!r}, so no group can be left out. Pass at "
            "least 2 groups, or groups=None."
        )
    return encoded
