"""What the displays share: lazy matplotlib, axes and colours."""

from __future__ import annotations

from typing import Any

import numpy as np

# Blue and orange of Okabe and Ito, which people with any colour blindness tell apart.
LOW_COLOR, HIGH_COLOR = "#0072B2", "#D55E00"


def new_axes(display: Any, ax: Any, **figure_kw: Any) -> Any:
    """Return `ax`, or the axes of a new figure; keep both on the display.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{type(display).__name__} draws with matplotlib: pip install "sknoisy[plots]".'
        ) from error
    if ax is None:
        _, ax = plt.subplots(layout="constrained", **figure_kw)
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def draw_bars(ax: Any, edges: Any, heights: Any, label: str, bar_kw: dict[str, Any]) -> Any:
    """Draw a histogram in light grey, behind what is drawn over it; `bar_kw` are the user's."""
    settings: dict[str, Any] = {
        "color": "0.8",
        "edgecolor": "white",
        "linewidth": 0.5,
        "label": label,
        **bar_kw,
        "width": np.diff(edges),
        "align": "edge",
    }
    return ax.bar(edges[:-1], heights, **settings)


def name_ticks(set_ticks: Any, places: Any, names: Any) -> None:
    """Set ticks with names as they are, also if these hold dollar signs."""
    for tick in set_ticks(places, names):
        tick.label1.set_parse_math(False)
