"""benchmarks/accuracy.py: runs that go on, failures, statistics of the report, data sets."""

import csv
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import _accuracy_data as suite_data  # noqa: E402
import _accuracy_methods as suite_methods  # noqa: E402
import _accuracy_report as suite_report  # noqa: E402
import accuracy  # noqa: E402
from _accuracy_data import Sources, load  # noqa: E402
from _common import numbers, read_csv  # noqa: E402

from sknoisy.exceptions import InterruptedFitWarning  # noqa: E402

COLUMNS = (
    "data,noise,method,seed,n_rows,n_features,n_classes,noise_rate,accuracy,balanced_accuracy,"
    "seconds,error"
)
DATA = ROOT.parent / "shared" / "data"


class Majority(ClassifierMixin, BaseEstimator):
    """Predicts the most frequent label, and notes each fit; or fails, or is interrupted."""

    fits = []

    def __init__(self, seed=0, trouble=None):
        self.seed = seed
        self.trouble = trouble

    def fit(self, X, y):
        Majority.fits.append(self.seed)
        if isinstance(self.trouble, Warning):
            warnings.warn(self.trouble, stacklevel=2)
        elif self.trouble is not None:
            raise self.trouble
        self.label_ = np.bincount(y).argmax()
        return self

    def predict(self, X):
        return np.full(len(X), self.label_)


@pytest.fixture
def suite(monkeypatch, tmp_path):
    """Runs the command with methods of small cost; returns its exit status and the CSV's rows."""
    Majority.fits.clear()
    path = tmp_path / "fits.csv"

    def run(*options, methods=None, **troubles):
        methods = methods or {
            "neighbors": suite_methods.Method(lambda seed: KNeighborsClassifier(), "reference"),
            "majority": suite_methods.Method(lambda seed: Majority(seed, **troubles), "reference"),
        }
        monkeypatch.setattr(accuracy, "METHODS", methods)
        monkeypatch.setattr(suite_report, "METHODS", methods)
        status = accuracy.main(["--csv", str(path), *options])
        return status, [numbers(row) for row in read_csv(path)] if path.exists() else []

    run.path = path
    return run


WINE = ("--data", "wine", "--noise", "clean", "symmetric 40", "--seeds", "2")


# --- the run --------------------------------------------------------------------------------


def test_each_fit_is_a_line_in_tidy_columns(suite):
    status, rows = suite(*WINE)
    assert status == 0
    assert suite.path.read_text().splitlines()[0] == COLUMNS
    assert len(rows) == 2 * 2 * 2
    first = rows[0]
    assert (first["n_rows"], first["n_features"], first["n_classes"]) == (89, 13, 3)
    assert {row["noise_rate"] for row in rows if row["noise"] == "clean"} == {0}
    assert {row["error"] for row in rows} == {""}
    majority = [row for row in rows if row["method"] == "majority"]
    assert_allclose([row["balanced_accuracy"] for row in majority], 1 / 3)  # one class of three


def test_a_broken_run_goes_on_where_it_stopped(suite):
    _, whole = suite(*WINE)
    lines = suite.path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if ",majority,1," not in line]
    suite.path.write_text("".join(kept))
    Majority.fits.clear()
    _, rows = suite(*WINE)
    assert Majority.fits == [1, 1]  # seed 1 of two settings
    without_time = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert all({k: v for k, v in r.items() if k != "seconds"} in without_time for r in whole)
    assert len(rows) == len(whole)
    suite(*WINE)
    assert Majority.fits == [1, 1]


def test_a_line_that_was_cut_off_is_fitted_again(suite):
    suite(*WINE)
    text = suite.path.read_text()
    suite.path.write_text(text.rstrip().rsplit(",", 5)[0] + "\n")  # the end of the last line
    Majority.fits.clear()
    _, rows = suite(*WINE)
    assert len(Majority.fits) == 1
    assert len(rows) == 8


def test_a_failed_fit_is_a_line_with_the_error(suite):
    trouble = ValueError('no "fit",\nnot today')
    status, rows = suite(*WINE, trouble=trouble)
    assert status == 0
    failed = [row for row in rows if row["method"] == "majority"]
    assert {row["error"] for row in failed} == {'ValueError: no "fit", not today'}
    assert all(np.isnan([r[c] for r in failed for c in ("accuracy", "seconds")]))
    assert {row["n_rows"] for row in failed} == {89}
    n_fits = len(Majority.fits)
    suite(*WINE)
    assert len(Majority.fits) == n_fits, "a failed fit is finished"


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), InterruptedFitWarning("half")])
def test_an_interruption_keeps_what_is_finished_and_nothing_else(suite, trouble, capsys):
    status, rows = suite(*WINE, trouble=trouble)
    assert status == 130
    assert [row["method"] for row in rows] == ["neighbors"]
    assert "the same command continues" in capsys.readouterr().out


def test_a_seed_goes_through_all_settings_before_the_next():
    args = accuracy.parse(["--data", "wine", "digits", "--seeds", "3"])
    cells = accuracy.plan(args, Sources())
    seeds = [cell["seed"] for cell in cells]
    assert seeds == sorted(seeds)
    per_seed = [
        {(c["data"], c["noise"], c["method"]) for c in cells if c["seed"] == seed}
        for seed in range(3)
    ]
    assert per_seed[0] == per_seed[1] == per_seed[2]
    n_methods = sum(entry.is_installed() for entry in suite_methods.METHODS.values())
    assert len(cells) == 3 * 2 * 8 * n_methods  # clean, 3 symmetric, 2 pairflip, 2 instance


def test_options_choose_the_fits():
    names = ["--methods", "forest", "L2R", "--noise", "pairflip 20"]
    cells = accuracy.plan(accuracy.parse([*names, "--quick"]), Sources())
    quick = set(accuracy.QUICK_DATA) & set(Sources().names())
    assert {cell["data"] for cell in cells} == quick
    assert {cell["method"] for cell in cells} == {"forest", "L2R"}
    assert {cell["noise"] for cell in cells} == {"pairflip 20"}
    assert {cell["seed"] for cell in cells} == set(range(accuracy.QUICK_SEEDS))


def test_images_have_their_own_seeds_and_no_trees(tmp_path):
    sources = Sources(cifar=tmp_path / "images.npz")
    args = accuracy.parse(["--data", "cifar10n", "--seeds", "3", "--cifar-seeds", "2"])
    cells = accuracy.plan(args, sources)
    assert {cell["noise"] for cell in cells} == set(suite_data.HUMAN)
    assert {cell["seed"] for cell in cells} == {0, 1}
    assert {"forest", "purified boosting"}.isdisjoint(cell["method"] for cell in cells)


def test_what_is_left_out_is_said(suite, capsys):
    absent = suite_methods.Method(lambda seed: None, "reference", needs="no_such_package")
    known = suite_methods.Method(lambda seed: Majority(seed), "reference")
    options = ["--data", "wine", "moons", "--noise", "clean", "--seeds", "1", "--cifar", "no.npz"]
    _, rows = suite(*options, methods={"absent": absent, "majority": known})
    assert [row["method"] for row in rows] == ["majority"]
    printed = capsys.readouterr().out
    for line in (
        "data sets of --tables (not given)",
        "data sets of --cifar (no.npz is no file)",
        "absent (needs no_such_package)",
        "['moons'] of --data",
    ):
        assert line in printed


def test_report_fits_nothing_and_shows_no_folder(suite, tmp_path, capsys):
    results = tmp_path / "results.md"
    results.write_text("# Results\n")
    options = (*WINE, "--tables", "some/where/tables.npz", f"--results={results}")
    assert suite(*options, "--report")[0] == 2
    assert "without --report first" in capsys.readouterr().out
    suite(*options)
    assert results.read_text() == "# Results\n", "only --report writes"
    n_fits = len(Majority.fits)
    assert suite(*options, "--report")[0] == 0
    assert len(Majority.fits) == n_fits
    text = results.read_text()
    command = (
        "python benchmarks/accuracy.py --data wine --noise clean 'symmetric 40' --seeds 2 "
        "--tables tables.npz\n"
    )
    assert command in text
    assert "8 fits, 2 seeds" in text


def test_texts_survive_the_csv(tmp_path):
    path = tmp_path / "fits.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c"], ["1e-3", 'x, "y"', ""], ["nan", "2 x", "7"]])
    first, second = (numbers(row) for row in read_csv(path))
    assert first == {"a": 0.001, "b": 'x, "y"', "c": ""}
    assert np.isnan(second["a"])
    assert (second["b"], second["c"]) == ("2 x", 7.0)


# --- data sets ------------------------------------------------------------------------------


def test_generated_data_sets_are_what_their_names_say():
    sizes = {}
    for name in suite_data.GENERATED:
        problem = load(Sources(), name, "clean", 0)
        sizes[name] = (*problem.X.shape, np.bincount(problem.y_clean))
    n_rows, _, counts = sizes["many_classes"]
    assert len(counts) == 40
    assert counts.max() <= 25
    n_rows, n_columns, counts = sizes["wide"]
    assert n_columns > 1.5 * n_rows
    _, _, counts = sizes["imbalanced"]
    assert len(counts) == 5
    assert counts.max() / counts.min() >= 50
    assert counts.min() >= 10


def test_generated_data_sets_are_the_same_problem_for_all_seeds():
    X, y = Sources().table("imbalanced")
    again, y_again = Sources().table("imbalanced")
    assert np.array_equal(X, again)
    assert np.array_equal(y, y_again)


@pytest.mark.parametrize(
    ("noise", "rate"), [("symmetric 60", 0.6), ("pairflip 40", 0.4), ("instance 20", 0.2055)]
)
def test_noise_is_in_the_training_labels_alone(noise, rate):
    clean, noisy = (load(Sources(), "digits", name, 1) for name in ("clean", noise))
    assert np.array_equal(clean.y, clean.y_clean)
    for part in ("X", "y_clean", "X_test", "y_test"):
        assert np.array_equal(getattr(clean, part), getattr(noisy, part))
    n = len(noisy.y)
    assert abs(noisy.describe()["noise_rate"] - rate) < 4 * (rate * (1 - rate) / n) ** 0.5
    if noise.startswith("pairflip"):
        wrong = noisy.y != noisy.y_clean
        assert len(set(zip(noisy.y_clean[wrong], noisy.y[wrong], strict=True))) == 10


def test_two_classes_have_milder_symmetric_noise():
    two, ten = (Sources().noises(name) for name in ("breast_cancer", "digits"))
    assert [name for name in two if name.startswith("symm")] == ["symmetric 20", "symmetric 35"]
    assert [name for name in ten if name.startswith("symm")] == [
        "symmetric 20",
        "symmetric 40",
        "symmetric 60",
    ]


@pytest.fixture
def own_tables(tmp_path, global_random_seed):
    """A user's file: string labels, a column with a missing value, a class of one row."""
    rng = np.random.default_rng(global_random_seed)
    X = rng.permutation(9000 * 3).reshape(9000, 3).astype(np.float32)
    X[7, 1] = np.nan
    y = np.where(np.arange(9000) % 3 == 0, "yes", "no")
    y[0] = "perhaps"
    np.savez(tmp_path / "own.npz", shop_X=X, shop_y=y)
    return tmp_path / "own.npz"


def test_any_table_will_do(own_tables):
    sources = Sources(tables=own_tables)
    assert "shop" in sources.names()
    X, y = sources.table("shop")
    assert X.shape == (8999, 2)
    assert np.array_equal(np.unique(y), [0, 1])
    problem = load(sources, "shop", "symmetric 20", 0)
    assert len(problem.X) == len(problem.X_test) == suite_data.MAX_ROWS
    assert not set(problem.X[:, 0]) & set(problem.X_test[:, 0]), "rows are in one part only"
    assert abs(problem.y_clean.mean() - y.mean()) < 1e-3, "stratified"


def beside_the_repository(name):
    if not (DATA / name).exists():
        pytest.skip(f"{name} does not belong to the repository and is not beside it")
    return DATA / name


@pytest.mark.data
def test_the_eleven_tables_have_all_kinds_of_noise():
    sources = Sources(tables=beside_the_repository("tables.npz"))
    names = [
        n for n in sources.names() if n not in {**suite_data.BUILT_IN, **suite_data.GENERATED}
    ]
    assert len(names) == 11
    for name in names:
        for noise in sources.noises(name):
            problem = load(sources, name, noise, 0)
            rate = suite_data.nominal_rate(noise, np.nan)
            assert abs(problem.describe()["noise_rate"] - rate) < 0.1


@pytest.mark.data
def test_human_labels_are_as_wrong_as_published():
    pytest.importorskip("PIL", reason="the images are JPEG, which Pillow reads")
    sources = Sources(cifar=beside_the_repository("cifar10n.npz"))
    problem = load(sources, "cifar10n", "human worse", 0)
    assert problem.X.shape == (5000, 32, 32, 3)
    assert problem.X_test.shape == (2000, 32, 32, 3)
    assert problem.describe()["n_features"] == 3072
    assert set(problem.y) == set(problem.y_clean) == set(problem.y_test) == set(range(10))
    # Wei et al. (2022): 40.2 % of all; within four standard deviations.
    assert abs(problem.describe()["noise_rate"] - 0.402) < 4 * (0.402 * 0.598 / 5000) ** 0.5


# --- methods --------------------------------------------------------------------------------


def test_early_stopping_keeps_the_epoch_of_least_noisy_error(blobs, images):
    for X, y in (blobs, images):
        y = np.where(np.arange(len(y)) % 5 == 0, 1 - np.minimum(y, 1), y)
        clf = suite_methods.EarlyStoppedNetwork(random_state=0).fit(X, y)
        _, X_valid, _, y_valid = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
        errors = clf.classifier_.history_[:, "valid_error"]
        assert len(errors) == clf.classifier_.max_epochs_, "all epochs are looked at"
        assert len(clf.classifier_.clean_proba_) == len(y) - len(y_valid), "trained on the rest"
        assert np.mean(clf.predict(X_valid) != y_valid) == min(errors)


def test_every_method_takes_the_seed():
    for name, entry in suite_methods.METHODS.items():
        if entry.is_installed():
            first, again, other = (repr(vars(entry.make(seed))) for seed in (11, 11, 12))
            assert first == again != other, name
