"""Report of the accuracy suite: means, ranks, critical differences, bars, and their markdown.

A setting is a data set with a kind of noise; its accuracy is the mean over seeds. Methods are
compared on those fits alone that all of them have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _accuracy_data import CIFAR, MAX_ROWS, kind_of, nominal_rate
from _accuracy_methods import BEST, CLEAN_BOOSTING, CLEAN_FOREST, CROSS_ENTROPY_LAST, METHODS
from _common import Row, markdown
from scipy.stats import friedmanchisquare, rankdata, studentized_range, wilcoxon

BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"

# The bars: points of accuracy, a share of wrong labels, seconds.
MIN_GAIN, MAX_LOSS, NOISY_FROM = 2.0, 1.0, 0.2
MAX_SECONDS = 20.0
LEVEL = 0.05
# A method that lacks more fits than this share is left out where all are compared.
MAX_LACKING = 0.1
N_WORST = 3

Setting = tuple[str, str]


# --- what was measured ----------------------------------------------------------------------


class Scores(NamedTuple):
    """Fits by method, setting and seed; NaN where one is lacking or has failed."""

    methods: list[str]
    settings: list[Setting]
    accuracy: np.ndarray  # (methods, settings, seeds)
    seconds: np.ndarray  # (methods, settings, seeds)
    rate: np.ndarray  # (settings,), share of wrong labels
    n_failed: np.ndarray  # (methods,)

    def on(self, keep: Sequence[bool] | np.ndarray) -> Scores:
        """Some of the settings."""
        keep = np.asarray(keep, dtype=bool)
        settings = [s for s, kept in zip(self.settings, keep, strict=True) if kept]
        accuracy, seconds = self.accuracy[:, keep], self.seconds[:, keep]
        return Scores(self.methods, settings, accuracy, seconds, self.rate[keep], self.n_failed)

    def tables(self) -> Scores:
        """Settings that are no images."""
        return self.on([data != CIFAR for data, _ in self.settings])


def gather(rows: Sequence[Row]) -> Scores:
    """Arrays of the rows of a CSV file, methods in the order of the registry."""
    found = dict.fromkeys(row["method"] for row in rows)
    methods = [m for m in METHODS if m in found] + [m for m in found if m not in METHODS]
    settings = list(dict.fromkeys((row["data"], row["noise"]) for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    accuracy = np.full((len(methods), len(settings), len(seeds)), np.nan)
    seconds, measured = accuracy.copy(), np.full((len(settings), len(seeds)), np.nan)
    n_failed = np.zeros(len(methods), dtype=int)
    for row in rows:
        m = methods.index(row["method"])
        s, r = settings.index((row["data"], row["noise"])), seeds.index(row["seed"])
        accuracy[m, s, r], seconds[m, s, r] = row["accuracy"], row["seconds"]
        measured[s, r] = row["noise_rate"]
        n_failed[m] += bool(row["error"])
    means = np.nanmean(measured, axis=1) if rows else np.empty(0)
    rate = [nominal_rate(noise, mean) for (_, noise), mean in zip(settings, means, strict=True)]
    return Scores(methods, settings, accuracy, seconds, np.array(rate), n_failed)


# --- statistics -----------------------------------------------------------------------------


class Comparison(NamedTuple):
    """Methods on the settings that all of them have."""

    methods: list[str]
    means: np.ndarray  # (methods, settings), accuracy
    spreads: np.ndarray  # (methods, settings), standard deviation over seeds


def compare(scores: Scores) -> Comparison:
    """Means over the seeds in which every method has a result."""
    n_fits = np.isfinite(scores.accuracy).sum(axis=(1, 2))
    kept = (n_fits > 0) & (n_fits >= (1 - MAX_LACKING) * n_fits.max(initial=0))
    common = np.isfinite(scores.accuracy[kept]).all(axis=0)
    settings = common.any(axis=1)
    accuracy = np.where(common, scores.accuracy[kept], np.nan)[:, settings]
    methods = [name for name, is_kept in zip(scores.methods, kept, strict=True) if is_kept]
    # Rounded: means that differ in their last bit are ties.
    means = np.nanmean(accuracy, axis=2).round(9)
    return Comparison(methods, means, np.nanstd(accuracy, axis=2))


def mean_ranks(means: np.ndarray) -> np.ndarray:
    """Mean over settings of the rank by accuracy: 1 is the best, ties share the mean rank."""
    return rankdata(-means, axis=0).mean(axis=1)


def friedman_p(means: np.ndarray) -> float:
    """P-value of equal ranks; NaN for fewer than three methods or two settings."""
    if means.shape[0] < 3 or means.shape[1] < 2:
        return np.nan
    return float(friedmanchisquare(*means).pvalue)


def critical_difference(n_methods: int, n_settings: int, level: float = LEVEL) -> float:
    """Nemenyi: mean ranks that differ by less are not told apart (Demsar, 2006)."""
    q = studentized_range.ppf(1 - level, n_methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_settings)))


class Gains(NamedTuple):
    """Points of accuracy of one method above another, by setting."""

    settings: list[Setting]
    points: np.ndarray

    def worst(self, n: int) -> str:
        """The lowest gains and where."""
        order = np.argsort(self.points, kind="stable")[:n]
        return "; ".join(
            f"{', '.join(self.settings[i])} {self.points[i]:+.1f}" for i in order.tolist()
        )


def gains(scores: Scores, method: str, reference: str) -> Gains:
    """Mean difference over the seeds that both have, for each setting in which they have one."""
    if not {method, reference} <= set(scores.methods):
        return Gains([], np.empty(0))
    ours, theirs = (scores.accuracy[scores.methods.index(m)] for m in (method, reference))
    difference = 100 * (ours - theirs)
    both = np.isfinite(difference).any(axis=1)
    settings = [s for s, kept in zip(scores.settings, both, strict=True) if kept]
    return Gains(settings, np.nanmean(difference[both], axis=1).round(9))


def wilcoxon_p(points: np.ndarray) -> float:
    """Two-sided signed rank test over settings; 1 if nothing differs, NaN without settings."""
    if len(points) == 0:
        return np.nan
    return float(wilcoxon(points).pvalue) if points.any() else 1.0


def median_seconds(scores: Scores, method: str) -> float:
    """Median over the fits on tables."""
    seconds = scores.tables().seconds[scores.methods.index(method)]
    return float(np.nanmedian(seconds)) if np.isfinite(seconds).any() else np.nan


# --- bars -----------------------------------------------------------------------------------


class Bar(NamedTuple):
    """Gains over cross-entropy, and whether they are enough; None: no fit tells."""

    gains: Gains
    reached: bool | None


def bar_noisy(scores: Scores, method: str) -> Bar:
    """Bar (1): gain over cross-entropy's last epoch where labels are noisy."""
    found = gains(scores.on(scores.rate >= NOISY_FROM), method, CROSS_ENTROPY_LAST)
    if not found.settings:
        return Bar(found, None)
    reached = found.points.mean() >= MIN_GAIN and found.points.min() >= -MAX_LOSS
    return Bar(found, bool(reached))


def bar_clean(scores: Scores, method: str) -> Bar:
    """Bar (3): mean loss against cross-entropy on clean labels."""
    found = gains(scores.on(scores.rate == 0), method, CROSS_ENTROPY_LAST)
    return Bar(found, bool(found.points.mean() >= -MAX_LOSS) if found.settings else None)


def bar_best(scores: Scores) -> tuple[list[list[str]], bool | None]:
    """Bar (2): the lines of its table, and whether all of it is reached; None: it was not run."""
    tables = scores.tables()
    lines, outcomes = [], []
    for reference in (CLEAN_FOREST, CLEAN_BOOSTING):
        found = gains(tables, BEST, reference)
        if not found.settings:
            return [], None
        mean, p = found.points.mean(), wilcoxon_p(found.points)
        outcomes.append(bool(mean > 0 and p < LEVEL))
        measured = f"{mean:+.2f} points, p = {p:.2g}, {len(found.settings)} settings"
        lines.append([f"above {reference}", measured, verdict(outcomes[-1])])
    methods, means, _ = compare(tables)
    ranks = dict(zip(methods, mean_ranks(means), strict=True))
    outcomes.append(BEST in ranks and ranks[BEST] == min(ranks.values()))
    measured = f"mean rank {ranks.get(BEST, np.nan):.2f}, the first has {min(ranks.values()):.2f}"
    lines.append(["mean rank first", measured, verdict(outcomes[-1])])
    return lines, all(outcomes)


def verdict(reached: bool | None) -> str:
    """A word for it."""
    return {True: "reached", False: "**missed**", None: "not run"}[reached]


# --- markdown -------------------------------------------------------------------------------


def groups(scores: Scores) -> dict[str, Scores]:
    """Settings by kind of noise, and all tables."""
    kinds = dict.fromkeys(kind_of(noise) for _, noise in scores.settings)
    by_kind = {k: scores.on([kind_of(n) == k for _, n in scores.settings]) for k in kinds}
    return {**by_kind, "all tables": scores.tables()}


def table_of_means(scores: Scores) -> str:
    """A line per method: mean ± standard deviation by group, mean rank, seconds, failures."""
    columns, ranks = {}, {}
    for name, part in groups(scores).items():
        methods, means, spreads = compare(part)
        if means.size:
            cells = [
                f"{m.mean():.3f} ± {s.mean():.3f}" for m, s in zip(means, spreads, strict=True)
            ]
            columns[f"{name} ({means.shape[1]})"] = dict(zip(methods, cells, strict=True))
            if name == "all tables":
                ranks = dict(zip(methods, mean_ranks(means), strict=True))
    lines = []
    for i, method in enumerate(scores.methods):
        rank = f"{ranks[method]:.2f}" if method in ranks else "-"
        seconds = median_seconds(scores, method)
        shown = "-" if np.isnan(seconds) else f"{seconds:.1f}"
        cells = [column.get(method, "-") for column in columns.values()]
        lines.append([method, *cells, rank, shown, str(scores.n_failed[i])])
    return markdown(["", *columns, "mean rank", "median seconds", "failed fits"], lines)


def sentence_of_ranks(scores: Scores) -> str:
    """Friedman test, critical difference, and who is not told apart from the first."""
    methods, means, _ = compare(scores.tables())
    p = friedman_p(means)
    if np.isnan(p):
        return "Too few methods or settings for a test of ranks."
    ranks, width = mean_ranks(means), critical_difference(*means.shape)
    near = [methods[i] for i in np.argsort(ranks, kind="stable") if ranks[i] - ranks.min() < width]
    return (
        f"Mean ranks of {len(methods)} methods over {means.shape[1]} settings of tables: Friedman "
        f"p = {p:.2g}; critical difference by Nemenyi at {LEVEL:.0%}: {width:.2f}. Within it from "
        f"the first: {', '.join(near)}. Settings of one data set are not independent, so the true "
        "difference is wider."
    )


def table_of_bars(scores: Scores) -> str:
    """Bars (1), (3) and (4) of each classifier of the library."""
    lines = []
    for name in scores.methods:
        if name not in METHODS or METHODS[name].kind != "classifier":
            continue
        seconds = median_seconds(scores, name)
        line = [name]
        for bar in (bar_noisy(scores, name), bar_clean(scores, name)):
            shown = f"{bar.gains.points.mean():+.2f}" if bar.gains.settings else "-"
            line += [shown, bar.gains.worst(1) or "-", verdict(bar.reached)]
        fast = None if np.isnan(seconds) else seconds < MAX_SECONDS
        lines.append([*line, f"{seconds:.1f}", verdict(fast)])
    noisy, clean = f"{NOISY_FROM:.0%} noise or more", "clean"
    header = ["", f"{noisy}: mean gain", "worst setting", "bar 1", f"{clean}: mean gain"]
    return markdown([*header, "worst setting", "bar 3", "median seconds", "bar 4"], lines)


def table_of_worst(scores: Scores) -> str:
    """The settings in which each method is furthest below cross-entropy."""
    lines = []
    for name in scores.methods:
        found = gains(scores, name, CROSS_ENTROPY_LAST)
        if name != CROSS_ENTROPY_LAST and found.settings:
            below = f"{(found.points < -MAX_LOSS).sum()} of {len(found.settings)}"
            lines.append([name, below, found.worst(N_WORST)])
    header = ["", f"more than {MAX_LOSS:.0f} point below", "lowest gains (points)"]
    return markdown(header, lines)


def section(rows: Sequence[Row], command: str, machine: str) -> str:
    """The whole section as markdown.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the CSV file.
    command, machine : str
        What made them, and where.

    Returns
    -------
    text : str
        Without the markers.
    """
    scores = gather(rows)
    data = ", ".join(dict.fromkeys(name for name, _ in scores.settings))
    best, outcome = bar_best(scores)
    seeds = f"{scores.accuracy.shape[2]} seeds"
    parts = [
        "## Accuracy of all methods",
        f"    {command}",
        f"{machine}. {len(rows)} fits, {seeds}. Data sets: {data}.",
        f"Test accuracy: mean over settings ± mean standard deviation over seeds, {seeds}; number "
        "of settings in brackets; '-' where a method lacks more than a tenth of the fits",
        table_of_means(scores),
        sentence_of_ranks(scores),
        f"Bars of the classifiers. 1: mean gain over cross-entropy's last epoch at least "
        f"{MIN_GAIN:.0f} points, in no setting below -{MAX_LOSS:.0f}. 3: on clean labels a mean "
        f"loss of at most {MAX_LOSS:.0f}. 4: median fit on tables of up to {MAX_ROWS:,} rows "
        f"under {MAX_SECONDS:.0f} s",
        table_of_bars(scores),
        f"Bar 2, {BEST} on tables: {verdict(outcome)}",
        *([markdown(["", "measured", ""], best)] if best else []),
        "Where methods are furthest below cross-entropy's last epoch",
        table_of_worst(scores),
    ]
    return "\n\n".join(parts)


def write_section(path: Path, text: str) -> None:
    """Put a text between the two markers of a file, or at its end with new ones.

    Parameters
    ----------
    path : Path
        Markdown file.
    text : str
        What stands between the markers then.

    Raises
    ------
    ValueError
        If the file has one marker without the other, several, or the end before the begin.
    """
    old = path.read_text(encoding="utf-8")
    new = f"{BEGIN}\n\n{text}\n\n{END}"
    counts = old.count(BEGIN), old.count(END)
    if counts == (0, 0):
        path.write_text(f"{old.rstrip()}\n\n{new}\n", encoding="utf-8")
        return
    if counts != (1, 1) or old.index(BEGIN) > old.index(END):
        raise ValueError(
            f"{path} has {counts[0]} lines {BEGIN} and {counts[1]} lines {END}; it should have "
            "one of each in this order, or none."
        )
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    path.write_text(f"{before}{new}{after}", encoding="utf-8")
