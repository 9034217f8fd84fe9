"""The report of benchmarks/accuracy.py: ranks, pairs, bars, and where it is written."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import _accuracy_report as suite_report
from _accuracy_report import BEGIN, END


def rows_of(accuracies, noise_rate=0.4, seconds=1.0):
    """Rows of a CSV from ``{(method, data, noise): accuracies by seed}``."""
    return [
        {
            **{"data": data, "noise": noise, "method": method, "seed": float(seed)},
            **{"noise_rate": noise_rate, "accuracy": value, "seconds": seconds},
            "error": "ValueError: no" if np.isnan(value) else "",
        }
        for (method, data, noise), values in accuracies.items()
        for seed, value in enumerate(values)
    ]


def test_mean_ranks_share_ties():
    # Settings in columns: 1, 2.5, 2.5; 3, 1, 2; all the same.
    means = np.array([[0.9, 0.1, 0.5], [0.8, 0.7, 0.5], [0.8, 0.6, 0.5]])
    ranks = suite_report.mean_ranks(means)
    assert_allclose(ranks, [(1 + 3 + 2) / 3, (2.5 + 1 + 2) / 3, (2.5 + 2 + 2) / 3])


def test_critical_difference_is_that_of_the_published_table():
    # Demsar (2006), table 5a: q for 2, 5 and 10 classifiers at 0.05.
    for k, q in {2: 1.960, 5: 2.728, 10: 3.164}.items():
        expected = q * (k * (k + 1) / (6 * 14)) ** 0.5
        assert_allclose(suite_report.critical_difference(k, 14), expected, rtol=5e-4)


def test_friedman_needs_three_methods():
    means = np.array([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.5]])
    # Ranks 1, 2, 3 in each of 3 settings: chi2 = 12 * 3 / (3 * 4) * (1 + 4 + 9 - 3 * 4) = 6.
    assert_allclose(suite_report.friedman_p(means), np.exp(-6 / 2))  # 2 degrees of freedom
    assert np.isnan(suite_report.friedman_p(means[:2]))


def test_gains_pair_the_settings_and_the_seeds(global_random_seed):
    accuracies = {}
    for i in range(6):
        base = 0.5 + 0.05 * i
        accuracies["cross-entropy", f"table{i}", "symmetric 40"] = [base, base + 0.2]
        accuracies["L2R", f"table{i}", "symmetric 40"] = [base + 0.01 * (i + 1), np.nan]
    rows = rows_of(accuracies)
    np.random.default_rng(global_random_seed).shuffle(rows)
    scores = suite_report.gather(rows)
    found = suite_report.gains(scores, "L2R", "cross-entropy")
    by_setting = dict(zip(found.settings, found.points, strict=True))
    expected = {(f"table{i}", "symmetric 40"): i + 1.0 for i in range(6)}
    assert by_setting == pytest.approx(expected), "seed 1 counts for neither"
    # Six settings, all above: two of 2^6 arrangements of signs are as extreme.
    assert_allclose(suite_report.wilcoxon_p(found.points), 2 / 64)
    assert suite_report.wilcoxon_p(np.zeros(5)) == 1
    assert found.worst(2) == "table0, symmetric 40 +1.0; table1, symmetric 40 +2.0"
    assert scores.n_failed[scores.methods.index("L2R")] == 6


def test_methods_are_compared_on_fits_that_all_have():
    accuracies = {
        (m, f"t{i}", "clean"): [0.5 + 0.1 * (m == "b")] for m in "abc" for i in range(20)
    }
    accuracies["a", "t0", "clean"] = [np.nan]  # one of twenty: the setting goes
    for i in range(3):
        accuracies["c", f"t{i}", "clean"] = [np.nan]  # three of twenty: the method goes
    methods, means, _ = suite_report.compare(suite_report.gather(rows_of(accuracies)))
    assert methods == ["a", "b"]
    assert means.shape == (2, 19)
    assert_allclose(means.mean(axis=1), [0.5, 0.6])


@pytest.mark.parametrize(
    ("gains", "reached"),
    [([3.0, 1.0], True), ([2.9, 1.0], False), ([9.0, -1.0], True), ([9.0, -1.1], False)],
)
def test_bar_of_noisy_settings(gains, reached):
    accuracies = {}
    for i, gain in enumerate(gains):
        accuracies["cross-entropy", f"t{i}", "pairflip 20"] = [0.6, 0.8]
        accuracies["MLC", f"t{i}", "pairflip 20"] = [0.6, 0.8 + 2 * gain / 100]
    # Neither clean labels nor 9 % of human ones count.
    accuracies["cross-entropy", "t0", "clean"] = accuracies["cross-entropy", "t0", "human x"] = [1]
    accuracies["MLC", "t0", "clean"] = accuracies["MLC", "t0", "human x"] = [0.0]
    scores = suite_report.gather(rows_of(accuracies, noise_rate=0.09))
    bar = suite_report.bar_noisy(scores, "MLC")
    assert bar.reached is reached
    assert_allclose(bar.gains.points, gains)
    assert suite_report.bar_noisy(scores, "FaMUS").reached is None


def test_human_labels_count_by_what_was_measured():
    accuracies = {(m, "cifar10n", "human x"): [0.5] for m in ("cross-entropy", "MLC")}
    for rate, n_settings in ((0.199, 0), (0.2, 1)):
        scores = suite_report.gather(rows_of(accuracies, noise_rate=rate))
        assert len(suite_report.bar_noisy(scores, "MLC").gains.settings) == n_settings


@pytest.mark.parametrize(("lost", "reached"), [(1.0, True), (1.1, False)])
def test_bar_of_clean_settings_is_on_the_mean(lost, reached):
    accuracies = {("cross-entropy", t, "clean"): [0.9] for t in "ab"}
    accuracies["MLC", "a", "clean"] = [0.9 - 2 * lost / 100]
    accuracies["MLC", "b", "clean"] = [0.9]
    scores = suite_report.gather(rows_of(accuracies))
    assert suite_report.bar_clean(scores, "MLC").reached is reached


def best_against_the_references(advantage, n_settings=8):
    """Scores in which the best default is above both references by points that differ."""
    accuracies = {}
    for i in range(n_settings):
        base = 0.5 + 0.01 * i
        setting = (f"t{i}", "symmetric 40")
        accuracies[(suite_report.CLEAN_FOREST, *setting)] = [base]
        accuracies[(suite_report.CLEAN_BOOSTING, *setting)] = [base - 0.1]
        accuracies[("L2R", *setting)] = [base - 0.2]
        accuracies[(suite_report.BEST, *setting)] = [base + advantage(i) / 100]
    return suite_report.gather(rows_of(accuracies))


def test_bar_of_the_best_default():
    lines, reached = suite_report.bar_best(best_against_the_references(lambda i: 1 + i))
    assert reached is True
    assert [line[2] for line in lines] == ["reached"] * 3
    # Above the forest in the mean, but in four settings of eight: no proof, and half the firsts.
    lines, reached = suite_report.bar_best(
        best_against_the_references(lambda i: (i + 2) * (-1) ** i - (i % 2) * 0.5 + 1)
    )
    assert reached is False
    assert lines[0][2] == "**missed**"
    assert lines[1][2] == "reached"
    few = suite_report.gather(rows_of({("L2R", "a", "clean"): [0.5]}))
    assert suite_report.bar_best(few) == ([], None)


def test_slow_classifiers_miss_their_bar():
    settings = {("cross-entropy", "t", "clean"): [0.5], ("MLC", "t", "clean"): [0.5]}
    for seconds, word in ((19.9, "reached"), (20.1, "**missed**")):
        table = suite_report.table_of_bars(suite_report.gather(rows_of(settings, seconds=seconds)))
        line = next(line for line in table.splitlines() if "MLC" in line)
        assert line.split("|")[-2].strip() == word


def test_means_stand_by_kind_of_noise():
    accuracies = {
        ("forest", "a", "symmetric 20"): [0.8, 0.6],
        ("forest", "b", "symmetric 40"): [0.5, 0.5],
        ("forest", "a", "clean"): [0.9, 0.9],
        ("forest", "cifar10n", "human worse"): [0.4],
    }
    table = suite_report.table_of_means(suite_report.gather(rows_of(accuracies)))
    header, _, line = (
        [cell.strip() for cell in text.split("|")[1:-1]] for text in table.splitlines()
    )
    assert dict(zip(header, line, strict=True)) == {
        "": "forest",
        "symmetric (2)": "0.600 ± 0.050",
        "clean (1)": "0.900 ± 0.000",
        "human (1)": "0.400 ± 0.000",
        "all tables (3)": "0.700 ± 0.033",
        "mean rank": "1.00",
        "median seconds": "1.0",
        "failed fits": "0",
    }


# --- the file -------------------------------------------------------------------------------


def test_only_what_is_between_the_markers_is_replaced(tmp_path):
    path = tmp_path / "results.md"
    before, after = "# Results\n\n  text \n", "\n\n## Other\n\n| a |\n"
    path.write_text(before + BEGIN + "\nold\n" + END + after)
    for text in ("first", "second"):
        suite_report.write_section(path, text)
        assert path.read_text() == (f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def test_without_markers_the_section_comes_last(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("# Results\n")
    suite_report.write_section(path, "text")
    assert path.read_text().startswith("# Results\n\n" + BEGIN)
    assert path.read_text().endswith(END + "\n")


@pytest.mark.parametrize(
    "text",
    [
        BEGIN,
        END + BEGIN,
        2 * BEGIN,
    ],
)
def test_markers_that_do_not_match_are_refused(tmp_path, text):
    path = tmp_path / "results.md"
    path.write_text(text)
    with pytest.raises(ValueError, match="one of each in this order, or none"):
        suite_report.write_section(path, "new")
    assert path.read_text() == text
