"""Names of the columns of a file: each column has one, and no two have the same."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .cells import visible
from .files import InputError

__all__ = ["column_names", "free_name"]

_MAX_COLUMNS = 10_000


def column_names(header: Sequence[str], name: str) -> tuple[list[str], tuple[str, ...]]:
    """Return unique column names, and a note on each that was made up.

    InputError is raised if there are no names, or too many columns; `name` is that of the file.
    """
    if len(header) > _MAX_COLUMNS:
        raise InputError(
            f"{name} has {len(header):,} columns; at most {_MAX_COLUMNS:,} can be read. Leave out "
            "those that do not describe the rows."
        )
    if not any(title.strip() for title in header):
        raise InputError(f"{name} has no header: the first line must name the columns.")
    taken, names, notes = set(header), [], []
    seen: set[str] = set()
    for position, title in enumerate(header, 1):
        unique = title
        if not title.strip():
            unique = free_name(f"column {position}", taken)
            notes.append(f"Column {position} has no name; it is called “{unique}”.")
        elif title in seen:
            unique = free_name(f"{title} ({position})", taken)
            notes.append(
                f"Two columns are called “{visible(title)}”; one is now “{visible(unique)}”."
            )
        seen.add(title)
        taken.add(unique)
        names.append(unique)
    return names, tuple(notes)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with stars at its end if it is one of those that are taken."""
    while name in taken:
        name += "*"
    return name
