"""Values of foreign data as safe text: in HTML, on a terminal, in a spreadsheet."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

__all__ = ["csv_cell", "html_text", "visible"]

MAX_CHARACTERS = 200  # of a cell that a report shows

# A number may begin with a sign; other text that begins so is a formula to a spreadsheet.
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?%?")
_FORMULA_STARTS = tuple("=+-@\t\r")


def visible(value: Any, max_characters: int = MAX_CHARACTERS) -> str:
    r"""Return a value as one line of text in which nothing is hidden.

    Control characters and invisible marks stand as their code points; a line break stands as an
    arrow. Longer text is cut.

    Parameters
    ----------
    value : object
        The value; a float is rounded to ten digits, a missing value is an empty string.
    max_characters : int, default=200
        Number of characters after which the text is cut. The number of all characters follows.

    Examples
    --------
    >>> from sknoisy.audit.cells import visible
    >>> visible("two\nlines, \x1b[31mred")
    'two↵ lines, [U+001B][31mred'
    """
    text = value if isinstance(value, str) else _text_of(value)
    size = len(text)
    shown = "".join(map(_shown_character, text[:max_characters].replace("\r\n", "\n")))
    return shown if size <= max_characters else f"{shown}… ({size:,} characters)"


def _text_of(value: Any) -> str:
    """Return a value that is no string as text, an empty one if it is missing."""
    from .._engine.labels import is_missing  # with torch, which the command loads late

    if is_missing(value):
        return ""
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return "" if text == "NaT" else text


def _shown_character(character: str) -> str:
    """Return the character, or its code point where it cannot be seen."""
    if character.isprintable():  # the common case; no hidden character is printable
        return character
    if character == "\n":
        return "↵ "
    if unicodedata.category(character) == "Zs":
        return " "  # a space of another width
    return f"[U+{ord(character):04X}]"


def html_text(value: Any, max_characters: int = MAX_CHARACTERS) -> str:
    """Return a value as text for HTML or SVG, also inside an attribute.

    Parameters
    ----------
    value : object
        The value, made visible and cut as by :func:`visible`.
    max_characters : int, default=200
        Number of characters after which the text is cut.

    Examples
    --------
    >>> from sknoisy.audit.cells import html_text
    >>> html_text('"><img>')
    '&quot;&gt;&lt;img&gt;'
    """
    return html.escape(visible(value, max_characters), quote=True)


def csv_cell(value: Any) -> Any:
    """Return a value that a spreadsheet does not take for a formula.

    Text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return gets an
    apostrophe in front. Numbers, also those in text, stay as they are.

    Parameters
    ----------
    value : object
        Value of a cell.

    Examples
    --------
    >>> from sknoisy.audit.cells import csv_cell
    >>> csv_cell("=1+1"), csv_cell("-1.5"), csv_cell(-1.5)
    ("'=1+1", '-1.5', -1.5)
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA_STARTS):
        return value
    return value if _NUMBER.fullmatch(value) else f"'{value}"
