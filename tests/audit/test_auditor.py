"""audit_labels and LabelAuditor: what is taken, what is refused, what comes out."""

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sknoisy import LabelAuditor, LabelPurifier, audit_labels
from sknoisy.audit import share, sources
from sknoisy.noise import probabilities

COLUMNS = [
    *("index", "given_label", "suggested_label", "score", "probability"),
    *("suggested_probability", "flagged", "reason", "outlier_score", "duplicate_of"),
]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(sources, "_N_TREES", 60)


@pytest.fixture
def noisy(global_random_seed):
    """Three clear classes of 60 rows, 24 wrong labels: X, given, true labels."""
    rng = np.random.default_rng(global_random_seed)
    y = np.arange(180) % 3
    X = rng.normal(size=(180, 4))
    X[:, :3] += 5 * np.eye(3)[y]
    given = y.copy()
    wrong = rng.choice(180, 24, replace=False)
    given[wrong] = (given[wrong] + rng.integers(1, 3, 24)) % 3
    return X, given, y


def fast(X, y, **options):
    options = {"random_state": 0, "method": "fast"} | options
    if options.get("estimator") is not None or options.get("proba") is not None:
        options["method"] = "auto"
    return audit_labels(X, y, **options)


def test_wrong_labels_are_found_and_corrected(noisy):
    X, y, truth = noisy
    audit = fast(X, y)
    found = audit.flagged & (y != truth)
    assert found.sum() >= 22
    assert audit.flagged.sum() <= 28
    np.testing.assert_array_equal(audit.to_dict()["suggested_label"][found], truth[found])
    assert audit.is_clear
    assert audit.noise_rate.low <= 24 / 180 <= audit.noise_rate.high


def test_the_default_judges_by_the_mean_of_forest_and_network(noisy):
    """The score of the mean lies between those of its parts where both prefer one class."""
    X, y, truth = noisy
    audit = audit_labels(X, y, random_state=0)
    forest = audit_labels(X, y, method="fast", random_state=0)
    assert "CLID-MU" in audit.origin
    assert "CLID-MU" not in forest.origin
    assert np.abs(audit.score - forest.score).max() > 0.01
    # The network of the mean is at most certain: p = (p of the forest + 0 ... 1) / 2.
    assert (audit.probability >= forest.probability / 2 - 1e-9).all()
    assert (audit.probability <= forest.probability / 2 + 0.5 + 1e-9).all()
    assert (y != truth)[audit.suspects(20)].mean() >= 0.9


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y,
        lambda y: np.array(["ant", "bee", "cat"])[y],
        lambda y: y == 0,
        lambda y: pd.Series(pd.Categorical.from_codes(y, ["ant", "bee", "cat"])),
        lambda y: pl.Series(y),
        lambda y: [f"class {k}" for k in y],
    ],
)
def test_labels_keep_their_type(noisy, convert):
    X, y, _ = noisy
    labels = convert(y)
    columns = fast(X, labels).to_dict()
    assert list(columns) == COLUMNS
    np.testing.assert_array_equal(columns["given_label"], np.asarray(labels))
    assert {*columns["suggested_label"].tolist()} == {*np.asarray(labels).tolist()}


def test_the_frame_has_the_index_of_the_user(noisy):
    X, y, _ = noisy
    names = [f"photo {i}" for i in range(len(y))]
    frame = fast(pd.DataFrame(X, index=names), y).frame()
    assert frame.index.tolist() == names
    assert frame.columns.tolist() == COLUMNS[1:]
    assert fast(X, pd.Series(y, index=names)).index.tolist() == names


@pytest.mark.parametrize("missing", [None, np.nan])
def test_rows_without_a_label_have_a_suggestion_and_no_flag(noisy, missing):
    X, y, truth = noisy
    gaps = np.zeros(len(y), dtype=bool)
    gaps[:30] = True
    labels = np.where(gaps, missing, y.astype(object if missing is None else float))
    audit = fast(X, labels.tolist())
    columns = audit.to_dict()
    assert not columns["flagged"][gaps].any()
    assert (columns["suggested_label"][gaps] == truth[gaps]).mean() > 0.7  # by chance 0.33
    assert {*columns["reason"][gaps]} == {"No label."}
    assert columns["given_label"][gaps].tolist() == [None] * 30
    assert np.isnan(columns["score"][gaps]).all()
    # They are not trained on: the others are judged as if they were not there.
    assert "30 rows have no label" in audit.summary()


def test_trusted_rows_are_right(noisy):
    X, y, _ = noisy
    plain = fast(X, y)
    mask = plain.flagged & (np.arange(len(y)) % 2 == 0)
    audit = fast(X, y, clean_mask=mask)
    assert mask.sum() > 5
    assert not audit.flagged[mask].any()
    assert (audit.score[mask] == 1).all()
    np.testing.assert_array_equal(audit.flagged[~mask], plain.flagged[~mask])
    np.testing.assert_array_equal(audit.to_dict()["suggested_label"][mask], y[mask])
    assert audit.noise_rate.value < plain.noise_rate.value
    with pytest.raises(ValueError, match="trusts 1 rows without a label, the first is row 3"):
        fast(
            X,
            [None if i == 3 else label for i, label in enumerate(y)],
            clean_mask=np.arange(180) == 3,
        )


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(3, dtype=bool), r"clean_mask has shape \(3,\), y has shape \(180,\)"),
        (np.ones(180), "clean_mask must be boolean"),
        ([None] * 180, "clean_mask has 180 missing entries"),
    ],
)
def test_a_bad_clean_mask_is_refused(noisy, mask, message):
    X, y, _ = noisy
    with pytest.raises(ValueError, match=message):
        fast(X, y, clean_mask=mask)


def test_classes_of_fewer_than_8_rows_are_not_judged(noisy):
    X, y, _ = noisy
    y[:7] = 9
    audit = fast(X, y)
    assert not audit.flagged[:7].any()
    assert {*audit.to_dict()["reason"][:7]} == {"Fewer than 8 rows of this class: not judged."}
    assert "7 rows were not judged" in audit.summary()
    assert audit.n_unjudged == 7
    y[7] = 9
    assert fast(X, y).n_unjudged == 0


def test_the_threshold_flags_more_or_fewer(noisy):
    X, y, _ = noisy
    by_margin = fast(X, y)
    assert fast(X, y, threshold=7).flagged.sum() == 7
    np.testing.assert_array_equal(
        np.flatnonzero(fast(X, y, threshold=7).flagged), np.sort(by_margin.suspects(7))
    )
    assert (fast(X, y, threshold=0.3).flagged == (by_margin.score < 0.3)).all()
    per_class = fast(X, y, threshold="per_class")
    counts = np.bincount(y[per_class.flagged], minlength=3)
    np.testing.assert_array_equal(counts, np.rint(per_class.classes.n_wrong))


def test_reasons(noisy):
    X, y, _ = noisy
    X[1], X[0, 3] = X[4], 80.0  # row 1 is a copy of row 4, row 0 is far away
    y[1], y[4] = 0, 1
    audit = fast(X, y, class_names={0: "ant", 1: "bee", 2: "cat"})
    columns = audit.to_dict()
    assert "Identical to row 4, which is labelled “bee”." in columns["reason"][1]
    assert columns["duplicate_of"][4] == 1
    assert columns["duplicate_of"][1] is None
    assert "Far from all rows: perhaps none of the classes." in columns["reason"][0]
    worst = audit.suspects(1)[0]
    suggested = ["ant", "bee", "cat"][columns["suggested_label"][worst]]
    assert columns["reason"][worst].startswith(f"The model expects “{suggested}” (")
    unclear = audit.flagged & (audit.score >= 0.4)
    assert all("Unclear between" in reason for reason in columns["reason"][unclear])
    np.testing.assert_array_equal(
        columns["reason"] != "", audit.flagged | audit.is_outlier | (audit.contradicts >= 0)
    )


def test_given_probabilities_need_no_rows(noisy, global_random_seed):
    _, y, truth = noisy
    proba = (
        np.random.default_rng(global_random_seed).dirichlet([1, 1, 1], size=180)
        + 2 * np.eye(3)[truth]
    )
    proba /= 3
    audit = audit_labels(None, y, proba=proba)
    np.testing.assert_array_equal(audit.suggested_codes, proba.argmax(axis=1))
    rows = np.arange(180)
    others = np.where(np.eye(3)[y] == 1, 0, proba).max(axis=1)
    np.testing.assert_allclose(audit.score, (proba[rows, y] - others + 1) / 2)
    assert "no rows of numbers" in audit.summary()
    assert np.isnan(audit.outlier_score).all()


@pytest.mark.parametrize("is_sparse", [False, True], ids=["float32", "sparse"])
def test_probabilities_of_many_rows_and_classes_are_never_copied(
    is_sparse, monkeypatch, global_random_seed
):
    monkeypatch.setattr(probabilities, "_PIECE_ENTRIES", 2**17)  # 1 MiB in float64
    monkeypatch.setattr(share, "_MAX_ENTRIES", 2**17)
    rng = np.random.default_rng(global_random_seed)
    n_rows, n_classes = 40_000, 200
    true = rng.integers(n_classes, size=n_rows)
    rows, tops = np.arange(n_rows), (true[:, None] + rng.integers(n_classes, size=5)) % n_classes
    y = np.where(rng.random(n_rows) < 0.2, tops[:, 0], true).astype(float)
    y[:10] = np.nan
    proba = np.zeros((n_rows, n_classes), dtype=np.float32)
    proba[rows[:, None], tops] = 0.05
    proba[rows, true] += 1 - proba.sum(axis=1)
    expected = proba.argmax(axis=1)
    given = sparse.csr_array(proba) if is_sparse else proba
    tracemalloc.start()
    audit = audit_labels(None, y, proba=given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < proba.nbytes  # half of it; a copy in float32 would exceed it
    np.testing.assert_array_equal(audit.suggested_codes, expected)
    np.testing.assert_array_equal(audit.flagged, (y != true) & (rows >= 10))


def test_an_in_sample_model_is_suspected(noisy):
    X, y, _ = noisy
    proba = np.eye(3)[y] * 0.9 + 1 / 30
    with pytest.warns(UserWarning, match=r"proba predicts 100.0% of the given labels"):
        audit_labels(X, y, proba=proba)
    with pytest.warns(UserWarning, match=r"only 0.0% .* order of the sorted labels, \[0, 1, 2\]"):
        audit_labels(X, y, proba=proba[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proba": np.ones((180, 2)) / 2}, r"shape \(180, 2\).*\(180, 3\)"),
        ({"proba": np.ones((180, 3))}, "Row 0 of proba sums to 3"),
        ({"proba": np.full((180, 3), np.nan)}, "proba holds nan in row 0"),
        (
            {"proba": np.ones((180, 3)) / 3, "method": "fast"},
            'proba and method="fast" are sources',
        ),
        ({"estimator": LogisticRegression(), "method": "fast"}, 'estimator and method="fast"'),
        ({"checks": ("outlier",)}, 'pass "label", and "outlier" and "duplicate" if wanted'),
        ({"checks": ("label", "typo")}, r"checks=\('label', 'typo'\)"),
        ({"class_names": ["a", "b"]}, "class_names holds 2 names, but y has 3 classes"),
        ({"class_names": {7: "a"}}, "class_names holds 7, which is no label of y"),
    ],
)
def test_errors_name_the_value_and_the_cure(noisy, options, message):
    X, y, _ = noisy
    with pytest.raises(ValueError, match=message):
        audit_labels(X, y, **options)


def test_a_classifier_without_probabilities_is_refused(noisy):
    X, y, _ = noisy
    with pytest.raises(TypeError, match=r"no predict_proba.*CalibratedClassifierCV"):
        audit_labels(X, y, estimator=LinearSVC())


def test_identifiers_and_one_class_are_refused(noisy):
    X, _, _ = noisy
    with pytest.raises(ValueError, match=r"180 different values in 180 labels, .*identifiers"):
        fast(X, [f"id {i}" for i in range(180)])
    with pytest.raises(ValueError, match="one class"):
        fast(X, np.zeros(180, dtype=int))
    with pytest.raises(ValueError, match="y holds no label"):
        fast(X, [None] * 180)


def test_the_same_seed_gives_the_same_frame(noisy):
    X, y, _ = noisy
    first, second = (fast(X, y, random_state=3).frame() for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    other = fast(X, y, random_state=4).frame()
    assert (first["score"] != other["score"]).any()


def test_texts_are_judged_by_a_pipeline(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    words = np.array([["sun", "rain", "snow"], ["goal", "match", "ball"]])
    truth = np.arange(120) % 2
    texts = [" ".join(rng.choice(words[k], 6)) for k in truth]
    y = np.where(np.arange(120) < 10, 1 - truth, truth)
    audit = fast(texts, y, estimator=make_pipeline(TfidfVectorizer(), LogisticRegression(C=10)))
    assert audit.flagged[:10].all()
    assert audit.flagged.sum() == 10
    assert "cross-validated in 5 folds" in audit.summary()


def test_images_are_columns_or_pooled(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    for size in (8, 24):  # 192 values are columns, 1,728 are not
        y = np.arange(80) % 2
        X = rng.integers(0, 100, size=(80, size, size, 3)).astype(np.uint8)
        X[y == 1, : size // 2] += 80
        given = np.where(np.arange(80) < 6, 1 - y, y)
        audit = fast(X, given)
        assert audit.flagged[:6].all()
        assert audit.flagged.sum() <= 8


def test_an_auditor_keeps_the_names_of_columns(noisy):
    X, y, _ = noisy
    auditor = LabelAuditor(method="fast", random_state=0).fit(
        pd.DataFrame(X, columns=[*"abcd"]), y
    )
    assert auditor.feature_names_in_.tolist() == [*"abcd"]
    assert auditor.n_features_in_ == 4
    assert auditor.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(auditor.audit_.score, fast(X, y).score)


def test_a_cleaner_is_fitted(noisy):
    X, y, _ = noisy
    purifier = LabelPurifier(n_components=64, n_epochs=10, random_state=0, representation=PCA(3))
    audit = fast(X, y, estimator=purifier)
    expected = purifier.fit(X, y).label_distribution_
    np.testing.assert_allclose(audit.probability, expected[np.arange(180), y])
    np.testing.assert_array_equal(fast(X, y, estimator=purifier).score, audit.score)


def test_several_annotators(noisy, global_random_seed):
    """Two who are mostly right, one who guesses; a tenth of the labels is missing."""
    X, _, truth = noisy
    rng = np.random.default_rng(global_random_seed)
    labels = np.stack([truth, truth, rng.integers(3, size=180)], axis=1)
    for annotator in (0, 1):
        wrong = rng.random(180) < 0.2
        labels[wrong, annotator] = rng.integers(3, size=wrong.sum())
    said = np.array(["ant", "bee", "cat"], dtype=object)[labels]
    said[rng.random(said.shape) < 0.1] = None
    frame = pd.DataFrame(said, columns=["Ann", "Bob", "Eve"])
    audit = fast(X, frame)
    votes = audit.to_dict()["given_label"]
    names = np.array(["ant", "bee", "cat"])[truth]
    suggested = audit.to_dict()["suggested_label"]
    assert (suggested == names).mean() > (votes == names).mean() + 0.05
    assert audit.annotators.annotator_quality.argmin() == 2
    assert audit.annotator_names == ("Ann", "Bob", "Eve")
    assert (votes != names)[audit.flagged].mean() > 0.8
    with pytest.raises(ValueError, match="one-hot labels"):
        fast(X, np.eye(3)[truth])
    with pytest.raises(ValueError, match="labels of 170 rows, but X has 180"):
        fast(X, frame[:170])
