"""Parts of messages."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["in_words"]

_NAMED = 5  # values that a message names


def in_words(noun: str, values: Iterable) -> str:
    """Return the noun and the first values, such as "column 3" or "rows 0, 1, 2, 3, 4, ..."."""
    listed = [str(value) for value in values]
    more = ", ..." if len(listed) > _NAMED else ""
    return f"{noun}{'s' * (len(listed) > 1)} {', '.join(listed[:_NAMED])}{more}"
