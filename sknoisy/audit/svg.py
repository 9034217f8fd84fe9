"""Pictures of the report as inline SVG, with a title and a text alternative, without scripts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .cells import html_text, visible

__all__ = ["bar", "heat_map", "histogram", "merge_classes"]

_CELL = 34  # width and height of a cell of the heat map
_NAME = 14  # characters of a class name that a picture shows; the title has more
_DARK = (8, 48, 107)  # colour of the largest count; 0 is white
_BINS = 10


def bar(share: float, kind: int = 0) -> str:
    """Return a bar as long as a share between 0 and 1; the number stands beside it, in the text.

    Parameters
    ----------
    share : float
        The length.
    kind : int, default=0
        Number of the colour: 0 for how sure the model is, 1 for doubtful rows.
    """
    length = 100 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="10"/>'
        f'<rect class="fill{kind}" width="{length:.1f}" height="10"/></svg>'
    )


def merge_classes(
    counts: NDArray[np.integer], names: Sequence[str], max_classes: int = 20
) -> tuple[NDArray[np.integer], list[str]]:
    """Return a smaller table of counts: the classes mixed up least are merged into "other".

    Parameters
    ----------
    counts : ndarray of int of shape (n_classes, n_classes)
        Rows by given (row) and suggested class (column).
    names : sequence of str
        Names of the classes.
    max_classes : int, default=20
        Number of classes that are left, "other" included.
    """
    n_classes = len(names)
    if n_classes <= max_classes:
        return counts, list(names)
    mixed = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    kept = np.sort(np.argsort(-mixed, kind="stable")[: max_classes - 1])
    place = np.full(n_classes, max_classes - 1)
    place[kept] = np.arange(max_classes - 1)
    merged = np.zeros((max_classes, max_classes), dtype=counts.dtype)
    np.add.at(merged, (place[:, None], place[None, :]), counts)
    return merged, [*(names[code] for code in kept), f"other ({n_classes - max_classes + 1})"]


def heat_map(
    counts: NDArray[np.integer], names: Sequence[str], title: str, description: str
) -> str:
    """Return a table of counts as a picture; the diagonal is grey, the rest the darker the more.

    Parameters
    ----------
    counts : ndarray of int of shape (n_classes, n_classes)
        Rows by given (row) and suggested class (column).
    names : sequence of str
        Names of the classes.
    title, description : str
        Title and text alternative.
    """
    n_classes = len(names)
    shown = [_short(name) for name in names]
    left = top = 30 + 7 * max(map(len, shown))
    size = _CELL * n_classes
    off_diagonal = counts[~np.eye(n_classes, dtype=bool)]
    largest = max(int(off_diagonal.max(initial=0)), 1)
    parts = [_opening(left + size + 10, top + size + 6, title, description, "heat")]
    parts.append(
        f'<text class="axis" x="{left + size / 2}" y="12" text-anchor="middle">suggested label'
        f'</text><text class="axis" transform="translate(12 {top + size / 2}) rotate(-90)" '
        'text-anchor="middle">given label</text>'
    )
    for code, name in enumerate(shown):
        middle = _CELL * code + _CELL / 2
        parts.append(
            f'<text x="{left - 6}" y="{top + middle + 4}" text-anchor="end">{html_text(name)}'
            f'</text><text transform="translate({left + middle + 4} {top - 6}) rotate(-90)">'
            f"{html_text(name)}</text>"
        )
    for given in range(n_classes):
        for suggested in range(n_classes):
            count = int(counts[given, suggested])
            colour = (232, 232, 232) if given == suggested else _shade(count / largest)
            x, y = left + _CELL * suggested, top + _CELL * given
            parts.append(
                f"<g><title>{html_text(names[given])} → {html_text(names[suggested])}: {count:,}"
                f'</title><rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" '
                f'fill="rgb{colour}" stroke="#767676"/>'
                f'<text class="count {_readable(colour)}" x="{x + _CELL / 2}" '
                f'y="{y + _CELL / 2 + 4}" text-anchor="middle">{_brief(count)}</text></g>'
            )
    return "".join([*parts, "</svg>"])


def histogram(scores: NDArray[np.floating], threshold: float | None, title: str) -> str:
    """Return how many rows have which score; heights grow with the root of the number.

    Parameters
    ----------
    scores : ndarray of float of shape (n,)
        Scores between 0 and 1.
    threshold : float or None
        Score below which rows are suspects, drawn as a line.
    title : str
        Title.
    """
    counts, _ = np.histogram(scores, bins=_BINS, range=(0, 1))
    description = "Rows by score: " + "; ".join(
        f"{place / _BINS:.1f} to {(place + 1) / _BINS:.1f}: {count:,}"
        for place, count in enumerate(counts)
    )
    width, height, left, top = 29, 130, 12, 30
    bottom = top + height
    heights = height * np.sqrt(counts / max(int(counts.max()), 1))
    parts = [_opening(left + width * _BINS + 12, bottom + 38, title, description, "histogram")]
    for place, (count, tall) in enumerate(zip(counts, heights, strict=True)):
        x, middle = left + width * place, left + width * (place + 0.5)
        is_suspect = threshold is not None and (place + 0.5) / _BINS < threshold
        parts.append(
            f'<rect class="fill{int(is_suspect)}" x="{x + 1}" y="{bottom - tall:.1f}" '
            f'width="{width - 2}" height="{tall:.1f}"/>'
            f'<text class="count" x="{middle}" y="{bottom - tall - 3:.1f}" text-anchor="middle">'
            f"{_brief(int(count), 6)}</text>"
        )
    parts.append(
        f'<path d="M{left} {bottom}h{width * _BINS}" stroke="#1b1b1b"/>'
        f'<text x="{left}" y="{bottom + 13}">0</text>'
        f'<text x="{left + width * _BINS}" y="{bottom + 13}" text-anchor="end">1</text>'
        f'<text x="{left}" y="{bottom + 29}">label looks wrong</text>'
        f'<text x="{left + width * _BINS}" y="{bottom + 29}" text-anchor="end">'
        "label looks right</text>"
    )
    if threshold is not None:
        line = left + width * _BINS * threshold
        parts.append(
            f'<path d="M{line:.1f} 14V{bottom + 4}" stroke="#1b1b1b" stroke-dasharray="4 3"/>'
            f'<text x="{line:.1f}" y="10" text-anchor="middle">'
            f"doubtful below {threshold:.2g}</text>"
        )
    return "".join([*parts, "</svg>"])


def _opening(width: float, height: float, title: str, description: str, kind: str) -> str:
    """Return the opening of a picture that a screen reader reads as its title and description."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" width="{1.3 * width:g}" '
        f'role="img" aria-labelledby="{kind}-title {kind}-text" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{kind}-title">{html_text(title)}</title>'
        f'<desc id="{kind}-text">{html_text(description, 2_000)}</desc>'
    )


def _short(name: str) -> str:
    """Return a name that fits beside a picture."""
    text = visible(name)
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def _brief(count: int, max_characters: int = 4) -> str:
    """Return a count that fits into a cell: 1234, 56k, 7M."""
    text = f"{count:,}"
    if len(text) <= max_characters:
        return text
    return f"{count / 1e6:.3g}M" if count >= 999_500 else f"{count / 1e3:.3g}k"


def _shade(share: float) -> tuple[int, int, int]:
    """Return a colour between white and dark blue."""
    red, green, blue = (round(255 + (dark - 255) * share) for dark in _DARK)
    return red, green, blue


def _readable(colour: tuple[int, int, int]) -> str:
    """Return "dark" or "light", the text that is easier to read on a colour.

    The better one of the two has a contrast of at least 4.5:1 on any colour (WCAG 2, 1.4.3).
    """
    is_light = contrast(colour, (0, 0, 0)) >= contrast(colour, (255, 255, 255))
    return "dark" if is_light else "light"


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Return the contrast of two sRGB colours by WCAG 2: 1 if equal, 21 for black and white."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    """Return the relative luminance of an sRGB colour, 0 for black and 1 for white."""
    shares = np.asarray(colour) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
