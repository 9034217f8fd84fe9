"""The command ``sknoisy``: audits the labels of a file or of folders of images."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from .cells import visible
from .file_sources import Source, of_images, of_table
from .files import InputError, OutputFiles

if TYPE_CHECKING:
    from .result import LabelAudit

__all__ = ["main"]

_DONE, _UNUSABLE, _INTERRUPTED = 0, 2, 130  # exit codes
_EXAMPLES = """\
examples:
  sknoisy audit flowers.csv --label species
  sknoisy audit flowers.csv --label species --method fast --out checked --cleaned
  sknoisy audit photos --layout folders

The report and the other files repeat values of your data: give them only to people who may see
the data, or use --no-values. Your own file is never changed.
"""


class _Interrupted(BaseException):
    """Ctrl-C. A fit catches KeyboardInterrupt to keep what it has learned; the command stops."""


class Targets(NamedTuple):
    """Files that are written; None where one is not wanted."""

    html: Path | None
    csv: Path | None
    cleaned: Path | None

    def paths(self) -> list[Path]:
        """Return the files that are wanted."""
        return [path for path in self if path is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        0 if the audit is done, 2 if the input cannot be used or a file cannot be written, 130
        after Ctrl-C. Nothing is written in the latter cases.
    """
    arguments = _parser().parse_args(argv)
    try:
        with _stop_at_ctrl_c():
            _audit(arguments)
    except _Interrupted:
        _tell("Interrupted. Nothing was written.")
        return _INTERRUPTED
    except InputError as error:
        return _fail(str(error))
    except ImportError as error:
        return _fail(f'{error}. Install what the command needs: pip install "sknoisy[audit]"')
    except MemoryError:
        return _fail("The memory does not suffice. Audit a part of the rows.")
    return _DONE


def _fail(message: str) -> int:
    """Print an error as one line, and return the exit code."""
    print(f"sknoisy: error: {visible(message, 2_000)}", file=sys.stderr)
    return _UNUSABLE


def _tell(message: str) -> None:
    """Print a line of progress."""
    print(visible(message, 2_000), file=sys.stderr, flush=True)


@contextmanager
def _stop_at_ctrl_c() -> Iterator[None]:
    """Turn Ctrl-C into an exception that no fit catches."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return

    def stop(number: int, frame: Any) -> NoReturn:
        raise _Interrupted

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _parser() -> ArgumentParser:
    """Return the parser of the arguments."""
    parser = ArgumentParser(prog="sknoisy", description="Find labels that look wrong.")
    parser.add_argument("--version", action="version", version=f"sknoisy {version('sknoisy')}")
    commands = parser.add_subparsers(required=True, metavar="audit")
    audit = commands.add_parser(
        "audit",
        help="list the labels of a file that look wrong",
        description="List the labels of a CSV or Parquet file, or of folders of images, that "
        "look wrong, and write a report.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add = audit.add_argument
    add("data", type=Path, help="CSV or Parquet file, or a folder of images")
    add("--label", metavar="COLUMN", help="column with the labels")
    add(
        "--annotators",
        metavar="COLUMN",
        nargs="+",
        help="columns with the labels of several people, in place of --label",
    )
    add("--layout", choices=["folders"], help="data is a folder with a folder for each class")
    add("--drop", metavar="COLUMN", nargs="+", default=[], help="columns to leave out")
    add("--group", metavar="COLUMN", help="column that tells whose labels are wrong together")
    add("--clean-mask", metavar="COLUMN", help="column that is true where a label was checked")
    add("--missing", metavar="TEXT", nargs="+", default=[], help="texts that mean: no value")
    add("--encoding", help="encoding of a CSV file (default: UTF-8)")
    add("--method", choices=["auto", "fast"], default="auto", help='"fast" takes seconds')
    add("--seed", type=_seed, default=0, help="seed of the random numbers (default: 0)")
    add("--out", metavar="DIR", type=Path, help="folder for all files (default: NAME-audit)")
    add("--html", metavar="FILE", type=Path, help="where to write the report")
    add("--csv", metavar="FILE", type=Path, help="where to write the list of all rows")
    add(
        "--cleaned",
        action="store_true",
        help="also write the table with the suggested labels in the suspected rows",
    )
    add("--top", type=_number_of_rows, default=100, help="rows in the report (default: 100)")
    add("--force", action="store_true", help="replace files that exist")
    add("--raw", action="store_true", help="CSV: leave text that looks like a formula as it is")
    add("--no-values", action="store_true", help="report: row numbers and labels only")
    return parser


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**32:
        raise ValueError(text)
    return number


def _number_of_rows(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _audit(arguments: Namespace) -> None:
    """Read, audit and write."""
    targets = _targets(arguments)
    data = arguments.data
    with OutputFiles(targets.paths(), [data], arguments.force) as files:
        _tell(f"Reading {data} …")
        source = of_images(arguments) if arguments.layout else of_table(arguments, _tell)
        audit, notes = _judge(source, arguments)
        _tell("Writing …")
        try:
            notes += _write(files, targets, source, audit, arguments, notes)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"The files cannot be written: {reason}. Nothing was kept."
            ) from error
    for note in notes:
        _tell(f"Note: {note}")
    print("\n".join(_summary(audit, targets, arguments)))


def _targets(arguments: Namespace) -> Targets:
    """Return the files to write: those that are named, or all in a folder."""
    folder, html, csv = arguments.out, arguments.html, arguments.csv
    if folder is None and html is None and csv is None:
        name = arguments.data.name or arguments.data.resolve().name
        folder = Path(f"{Path(name).stem}-audit")
    if arguments.cleaned and arguments.layout:
        raise InputError("--cleaned writes a table, and there is none with --layout.")
    if arguments.cleaned and folder is None:
        raise InputError("--cleaned needs a folder to write to. Add --out DIR.")
    is_parquet = arguments.data.suffix.lower() in (".parquet", ".pq")
    cleaned = "cleaned.parquet" if is_parquet else "cleaned.csv"
    return Targets(
        html or (folder / "report.html" if folder else None),
        csv or (folder / "labels.csv" if folder else None),
        folder / cleaned if arguments.cleaned else None,
    )


def _judge(source: Source, arguments: Namespace) -> tuple[LabelAudit, list[str]]:
    """Audit the labels; warnings become notes."""
    from .auditor import audit_labels

    duration = "" if arguments.method == "fast" else "; --method fast takes less time"
    _tell(f"Judging {len(source.y):,} labels{duration} …")
    start = perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            audit = audit_labels(
                source.X,
                source.y,
                method=arguments.method,
                clean_mask=source.clean_mask,
                groups=source.groups,
                n_jobs=-1,
                random_state=arguments.seed,
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"{visible(str(arguments.data))}: {error}") from error
    _tell(f"Judged in {perf_counter() - start:.0f} seconds.")
    messages = dict.fromkeys(str(warning.message) for warning in caught)
    return audit, [*source.notes, *messages]


def _write(
    files: OutputFiles,
    targets: Targets,
    source: Source,
    audit: LabelAudit,
    arguments: Namespace,
    notes: Sequence[str],
) -> list[str]:
    """Write the files under temporary names, and return notes on what was changed in them."""
    import pandas as pd

    from .report import render_report
    from .result import column_pieces
    from .tables import write_csv

    n_changed = 0
    show_values = not arguments.no_values
    if targets.html is not None:
        report = render_report(
            audit,
            title=arguments.data.name or str(arguments.data),
            columns=source.shown(audit.suspects(arguments.top).tolist()) if show_values else None,
            thumbnails=source.thumbnail if show_values else None,
            notes=notes,
            top=arguments.top,
            row_name="File" if arguments.layout else "Row",
        )
        files.write_text(targets.html, report)
    if targets.csv is not None:
        name = "file" if arguments.layout else "row"
        frames = (
            pd.DataFrame(columns).rename(columns={"index": name})
            for columns in column_pieces(audit)
        )
        n_changed += write_csv(frames, files.temporary(targets.csv), raw=arguments.raw)
    if targets.cleaned is not None:
        n_changed += _write_cleaned(files.temporary(targets.cleaned), source, audit, arguments)
    if not n_changed:
        return []
    return [
        f"{n_changed} cells of the CSV files begin like a formula; they have an apostrophe in "
        "front. --raw leaves it out."
    ]


def _write_cleaned(path: Path, source: Source, audit: LabelAudit, arguments: Namespace) -> int:
    """Write the table with the suggested labels, and return the number of changed cells."""
    from pyarrow import parquet

    from .tables import write_csv

    assert source.table is not None
    pieces = source.cleaned(audit)
    if path.suffix != ".parquet":
        frames = (piece.to_pandas() for piece in pieces)
        delimiter = source.table.delimiter or ","
        return write_csv(frames, path, raw=arguments.raw, delimiter=delimiter)
    first = next(pieces)
    with parquet.ParquetWriter(path, first.schema) as writer:
        for piece in chain([first], pieces):
            writer.write_table(piece)
    return 0


def _summary(audit: LabelAudit, targets: Targets, arguments: Namespace) -> list[str]:
    """Return the five lines that the command prints."""
    n_labels = int((audit.given_codes >= 0).sum())
    n_suspects = int(audit.flagged.sum())
    without = len(audit) - n_labels
    rate, low, high = (100 * share for share in audit.noise_rate)
    if audit.is_clear:
        found = f"{n_suspects:,} labels; about {rate:.1f} % are wrong ({low:.1f} to {high:.1f} %)"
    else:
        found = f"{n_suspects:,} labels, which is no clear sign of wrong ones"
    written = ", ".join(visible(str(path), 1_000) for path in targets.paths())
    values = "" if arguments.no_values else " (they repeat your data)"
    return [
        f"Rows: {len(audit):,}" + (f", {without:,} of them without a label" if without else ""),
        f"Classes: {len(audit.names):,}",
        f"Suspected: {found}",
        f"Mixed up most: {_worst_pair(audit)}",
        f"Written: {written}{values}",
    ]


def _worst_pair(audit: LabelAudit) -> str:
    """Return the pair of classes that the suspects mix up most."""
    import numpy as np

    rows = np.flatnonzero(audit.flagged & (audit.given_codes != audit.suggested_codes))
    if not len(rows):
        return "no classes"
    n_classes = len(audit.names)
    given = audit.given_codes[rows].astype(np.int64)
    counts = np.unique(given * n_classes + audit.suggested_codes[rows], return_counts=True)
    place = counts[1].argmax()
    given_name, other = (audit.names[code] for code in divmod(int(counts[0][place]), n_classes))
    pair = f"{visible(given_name)!r} that should perhaps be {visible(other)!r}"
    return f"{pair}, {counts[1][place]:,} rows"
