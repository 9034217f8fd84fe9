"""The report of an audit: one HTML file without scripts, for readers who do not program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .cells import html_text
from .reasons import reasons
from .report_style import STYLE
from .svg import bar, heat_map, histogram, merge_classes

__all__ = ["render_report"]

LabelAudit: TypeAlias = Any  # the class in result.py, which imports this module

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MAX_LISTED = 50  # duplicates and outliers
_MAX_COLUMNS = 30  # of a row that the report shows
_MAX_CLASSES = 200  # in the table of the classes, and annotators in theirs


def render_report(
    audit: LabelAudit,
    *,
    title: str = "your data",
    columns: Mapping[str, Any] | None = None,
    thumbnails: Callable[[int], str | None] | None = None,
    notes: Sequence[str] = (),
    top: int = 100,
    threshold: float | None = 0.5,
    row_name: str = "Row",
) -> str:
    """Return the report of an audit as HTML.

    The file asks for nothing from a network and runs no script. All values of the data stand in
    it as text.

    Parameters
    ----------
    audit : LabelAudit
        The audit.
    title : str, default="your data"
        Name of the data.
    columns : mapping of str to array-like of shape (n,), DataFrame or None, default=None
        Values that are shown for each suspect. None shows none.
    thumbnails : callable or None, default=None
        Takes the position of a row and returns a picture as a ``data:`` address, or None.
    notes : sequence of str, default=()
        What was left out, and why, in addition to the notes of the audit.
    top : int, default=100
        Number of suspects in the table.
    threshold : float or None, default=0.5
        Score below which rows are suspects, for the picture of the scores.
    row_name : str, default="Row"
        What a row is called: "Row" or "File".

    Returns
    -------
    html : str
        The report.

    Examples
    --------
    >>> from sknoisy import audit_labels
    >>> from sknoisy.audit.report import render_report
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> audit = audit_labels(X, y, method="fast", random_state=0)
    >>> "<script" in render_report(audit, title="iris")
    False
    """
    listed, row_name = audit.suspects(top), html_text(row_name)
    sections = (
        _opening(audit, title, len(listed)),
        _suspects(audit, listed, columns, thumbnails, row_name),
        _confusions(audit),
        _classes(audit),
        _annotators(audit),
        _scores(audit, threshold),
        _duplicates(audit, row_name),
        _outliers(audit, row_name),
        _left_out(audit, notes),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>Label check of {html_text(title)}</title><style>{STYLE}</style></head>\n"
        "<body><main>\n" + "\n".join(filter(None, sections)) + "\n</main></body></html>\n"
    )


def _of_100(share: float) -> str:
    """Return a share as a number of 100."""
    return f"{100 * share:.0f}" if share >= 0.0095 or share == 0 else f"{100 * share:.1f}"


def _range_of_100(low: float, high: float) -> str:
    """Return the ends of an interval as numbers of 100, with as many digits as they need."""
    digits = 0 if 100 * (high - low) >= 1.5 else 1
    return f"between {100 * low:.{digits}f} and {100 * high:.{digits}f} of 100"


def _rows(n: int) -> str:
    """Return a number of rows in words."""
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def _opening(audit: LabelAudit, title: str, n_listed: int) -> str:
    """Return the heading, the finding in one sentence, and what to do with it."""
    n_labels = int((audit.given_codes >= 0).sum())
    n_suspects = int(audit.flagged.sum())
    rate, low, high = audit.noise_rate
    if not n_suspects:
        listed = f"None of the {n_labels:,} labels looks doubtful."
    elif n_suspects == 1:
        listed = f"One of the {n_labels:,} labels looks doubtful."
    elif n_listed < n_suspects:
        listed = (
            f"{n_suspects:,} of {n_labels:,} are doubtful; here are the {n_listed:,} most "
            "doubtful ones."
        )
    else:
        listed = f"Here are the {n_listed:,} doubtful ones of {n_labels:,}."
    if audit.is_clear:
        finding = (
            f"About {_of_100(rate)} of 100 labels look wrong "
            f"(probably {_range_of_100(low, high)})."
        )
        advice = "Each of them may be right: please check."
    else:
        finding = "There is no clear sign of wrong labels."
        advice = (
            "Rows that lie between two classes look doubtful in any data, so that this many are "
            "no evidence of mistakes. The first ones are worth a look."
        )
    return (
        f"<header><h1>Label check of <bdi>{html_text(title)}</bdi></h1>"
        f'<p class="lead">{finding} {listed} {advice}</p>'
        "<p>A <b>label</b> is the class that somebody has written down for a row. A model has "
        "learned from the other rows which label each row should have. Where it expects another "
        "one, the row is listed here. Nothing in your data has been changed.</p></header>"
    )


def _suspects(
    audit: LabelAudit,
    listed: NDArray[np.intp],
    columns: Mapping[str, Any] | None,
    thumbnails: Callable[[int], str | None] | None,
    row_name: str,
) -> str:
    """Return the table of the most doubtful rows."""
    if not len(listed):
        return "<section><h2>Rows to check</h2><p>There are none.</p></section>"
    names = audit.names
    heads = [row_name, "Given label", "Suggested label", "How sure", "Why", "Wrong"]
    if thumbnails is not None:
        heads.insert(1, "Picture")
    if columns is not None:
        heads.insert(-1, "Values of the row")
    lines = []
    for row, reason in zip(listed, reasons(audit, listed), strict=True):
        sure = audit.suggested_probability[row]
        cells = [
            f"<bdi>{html_text(audit.index[row])}</bdi>",
            f"<bdi>{html_text(names[audit.given_codes[row]])}</bdi>",
            f"<bdi>{html_text(names[audit.suggested_codes[row]])}</bdi>",
            f"{bar(sure)} {100 * sure:.0f}&nbsp;%",
            "<bdi>" + html_text(reason, 600).replace(" %", "&nbsp;%") + "</bdi>",
            '<span class="box" role="img" aria-label="box to tick on paper"></span>',
        ]
        if thumbnails is not None:
            cells.insert(1, _picture(thumbnails(int(row))))
        if columns is not None:
            cells.insert(-1, _values(columns, int(row)))
        lines.append(_line(heads, cells))
    if row_name == "Row":
        where = "The row number is the one that a spreadsheet shows."
    else:
        where = "The file name tells where the picture lies."
    return (
        "<section><h2>Rows to check</h2><p>The most doubtful row comes first. Compare the given "
        f"label with the suggested one, and correct your own file where it is wrong. {where} "
        "“How sure” is the probability that the model gives to the suggested label.</p>"
        f"{_table('cards', heads, lines)}</section>"
    )


def _table(style: str, heads: Sequence[str], lines: Sequence[str]) -> str:
    """Return a table of lines as of :func:`_line`."""
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f'<table class="{style}"><thead><tr>{header}</tr></thead><tbody>{"".join(lines)}</tbody>'
        "</table>"
    )


def _line(heads: Sequence[str], contents: Sequence[str]) -> str:
    """Return a row of a table; on a narrow screen each cell shows its heading."""
    pairs = zip(heads, contents, strict=True)
    return (
        "<tr>" + "".join(f'<td data-head="{head}">{cell}</td>' for head, cell in pairs) + "</tr>"
    )


def _picture(address: str | None) -> str:
    if address is None or not address.startswith("data:image/"):
        return "cannot be shown"
    return f'<img class="thumbnail" alt="the picture" src="{html_text(address, len(address))}">'


def _values(columns: Mapping[str, Any], row: int) -> str:
    """Return the values of a row as a list of names and values."""
    parts = []
    for name in list(columns)[:_MAX_COLUMNS]:
        values = columns[name]
        value = values.iloc[row] if hasattr(values, "iloc") else values[row]
        text = html_text(value) or "<i>empty</i>"
        parts.append(
            f"<div><dt><bdi>{html_text(name, 60)}</bdi></dt><dd><bdi>{text}</bdi></dd></div>"
        )
    more = len(list(columns)) - _MAX_COLUMNS
    end = f"<p>and {more:,} more columns</p>" if more > 0 else ""
    return f"<dl>{''.join(parts)}</dl>{end}"


def _confusions(audit: LabelAudit) -> str:
    """Return the picture of given by suggested classes."""
    n_classes = len(audit.names)
    labelled = np.flatnonzero(audit.given_codes >= 0)
    given = audit.given_codes[labelled].astype(np.int64)
    doubtful = audit.flagged[labelled]
    suggested = np.where(doubtful, audit.suggested_codes[labelled], given)
    cells = np.bincount(given * n_classes + suggested, minlength=n_classes**2)
    counts, names = merge_classes(cells.reshape(n_classes, n_classes), audit.names)
    off = counts - np.diag(counts.diagonal())
    worst = [place for place in np.argsort(-off, axis=None, kind="stable")[:3] if off.flat[place]]
    sentences = []
    for place in worst:
        given_name, other = names[place // len(names)], names[place % len(names)]
        sentences.append(
            f"{_rows(int(off.flat[place]))} labelled “{given_name}” should perhaps be “{other}”"
        )
    text = "; ".join(sentences) + "." if sentences else "No label is mixed up with another one."
    picture = heat_map(counts, names, "Which labels are mixed up", text)
    return (
        "<section><h2>Which labels are mixed up</h2>"
        f"<p><bdi>{html_text(text, 1_000)}</bdi></p>"
        "<p>Each line of the picture is a given label, each column a suggested one. Grey cells "
        "count the rows whose label is not in doubt; the darker another cell, the more rows.</p>"
        f'<div class="scroll" tabindex="0" role="group" aria-label="picture">{picture}</div>'
        "</section>"
    )


def _classes(audit: LabelAudit) -> str:
    """Return how many rows of each class are doubtful."""
    n_classes = len(audit.names)
    labelled = audit.given_codes >= 0
    n_rows = np.bincount(audit.given_codes[labelled], minlength=n_classes)
    n_doubtful = np.bincount(audit.given_codes[audit.flagged], minlength=n_classes)
    shares = n_doubtful / np.maximum(n_rows, 1)
    order = np.argsort(-shares, kind="stable")
    heads = ["Given label", "Rows", "Doubtful rows", "Share"]
    lines = []
    for code in order[:_MAX_CLASSES]:
        cells = [
            f"<bdi>{html_text(audit.names[code])}</bdi>",
            f"{n_rows[code]:,}",
            f"{n_doubtful[code]:,}",
            f"{bar(shares[code], 1)} {_of_100(shares[code])}&nbsp;%",
        ]
        lines.append(_line(heads, cells))
    more = n_classes - _MAX_CLASSES
    end = f"<p>{more:,} more labels have smaller shares.</p>" if more > 0 else ""
    return (
        "<section><h2>Doubtful rows of each label</h2>"
        f"{_table('classes', heads, lines)}{end}</section>"
    )


def _annotators(audit: LabelAudit) -> str:
    """Return how far the labels of each annotator can be trusted; nothing for one column."""
    found = audit.annotators
    if found is None:
        return ""
    heads = ["Annotator", "Labels", "Quality", "Agreement"]
    lines = []
    for place in np.argsort(found.annotator_quality, kind="stable")[:_MAX_CLASSES]:
        cells = [
            f"<bdi>{html_text(audit.annotator_names[place])}</bdi>",
            f"{found.n_labels[place]:,}",
            _quality(found.annotator_quality[place]),
            _quality(found.agreement[place]),
        ]
        lines.append(_line(heads, cells))
    return (
        "<section><h2>Whose labels can be trusted</h2><p>The given label of a row is the one that "
        "most annotators chose. “Quality” is the estimated share of right labels of an annotator, "
        "by the model and the others; “agreement” is how often the label is the one that all of "
        "them together make most probable.</p>"
        f"{_table('classes', heads, lines)}</section>"
    )


def _quality(share: float) -> str:
    return "unknown" if np.isnan(share) else f"{bar(share)} {100 * share:.0f}&nbsp;%"


def _scores(audit: LabelAudit, threshold: float | None) -> str:
    """Return the picture of the scores, and how to read it."""
    scores = audit.score[(audit.given_codes >= 0) & (audit.judged == 0)]
    picture = histogram(scores, threshold, "How much the model trusts the labels")
    return (
        "<section><h2>Can the list be trusted?</h2><p>The picture shows how many rows have a "
        "label that the model finds wrong (left) or right (right). <b>Two humps</b>, with few "
        "rows in the middle: the model tells wrong labels from right ones, and the list can be "
        "trusted. <b>One hump</b>, or many rows in the middle: it often cannot tell, and many "
        "listed rows will be right.</p>"
        f'<div class="scroll">{picture}</div><p class="small">The number of rows stands above '
        "each bar. Heights grow with the square root of it, so that small bars can be seen.</p>"
        "</section>"
    )


def _listed(lines: list[str], n: int) -> str:
    """Return a list that is cut, with the number of entries left out."""
    more = f"<p>and {n - len(lines):,} more; the CSV file has all.</p>" if n > len(lines) else ""
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>{more}"


def _duplicates(audit: LabelAudit, row_name: str) -> str:
    """Return identical rows with different labels, and rows that are there more than once."""
    first = np.flatnonzero((audit.contradicts >= 0) & (audit.contradicts < np.arange(len(audit))))
    twins = np.setdiff1d(np.flatnonzero(audit.twin >= 0), first)
    parts = ["<section><h2>Rows that are there more than once</h2>"]
    if len(first):
        parts.append(
            f"<p>Identical to an earlier row, but with another label: {_rows(len(first))}. One of "
            "the two labels must be wrong, or the columns do not tell the classes apart.</p>"
        )
        parts.append(_pairs(audit, first, audit.contradicts, row_name))
    if len(twins):
        parts.append(
            f"<p>Copies of an earlier row, exact or nearly so: {_rows(len(twins))}. Keep such "
            "rows together when you divide the data to test a model.</p>"
        )
        parts.append(_pairs(audit, twins, audit.twin, row_name))
    if len(parts) == 1:
        parts.append("<p>None were found.</p>")
    return "".join([*parts, "</section>"])


def _label(audit: LabelAudit, row: int) -> str:
    """Return the given label of a row in quotes."""
    code = audit.given_codes[row]
    return f"“<bdi>{html_text(audit.names[code])}</bdi>”" if code >= 0 else "no label"


def _named_row(audit: LabelAudit, row: int, row_name: str) -> str:
    """Return the name of a row, with its label."""
    return f"{row_name} <bdi>{html_text(audit.index[row])}</bdi> ({_label(audit, row)})"


def _pairs(
    audit: LabelAudit, rows: NDArray[np.intp], others: NDArray[np.int64], row_name: str
) -> str:
    """Return a list of rows, each with the one that it repeats."""
    lines = [
        f"{_named_row(audit, int(row), row_name)} repeats "
        f"{_named_row(audit, int(others[row]), row_name.lower())}"
        for row in rows[:_MAX_LISTED]
    ]
    return _listed(lines, len(rows))


def _outliers(audit: LabelAudit, row_name: str) -> str:
    """Return the rows that are far from all others."""
    rows = np.flatnonzero(audit.is_outlier)
    rows = rows[np.argsort(audit.outlier_score[rows], kind="stable")]
    if not len(rows):
        text = "<p>None were found.</p>"
    else:
        verb, order = ("is", "") if len(rows) == 1 else ("are", ", the farthest first")
        lines = [_named_row(audit, int(row), row_name) for row in rows[:_MAX_LISTED]]
        text = (
            f"<p>{_rows(len(rows))} {verb} far from all others{order}. Perhaps a "
            "value is mistyped, or the row belongs to none of the classes:</p>"
            + _listed(lines, len(rows))
        )
    return f"<section><h2>Unusual rows</h2>{text}</section>"


def _left_out(audit: LabelAudit, notes: Sequence[str]) -> str:
    """Return what was left out, and how the report was made."""
    lines = "".join(
        f"<li><bdi>{html_text(note, 1_000)}</bdi></li>" for note in (*notes, *audit.notes)
    )
    seed = "none" if audit.seed is None else str(audit.seed)
    return (
        "<section><h2>What was left out, and how this was made</h2>"
        f"<ul>{lines or '<li>Nothing was left out.</li>'}</ul>"
        f'<p class="small">sknoisy {html_text(version("sknoisy"))}; judged by '
        f"{html_text(audit.origin, 500)}; seed {seed}; {audit.seconds:.1f} seconds; "
        f"{len(audit):,} rows.</p></section>"
    )
