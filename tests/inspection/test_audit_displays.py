"""Displays of transition matrices, losses, weights and audits, on fits and arrays; no screen."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from sknoisy import MetaWeightNetClassifier, TransitionMLCClassifier
from sknoisy.exceptions import MixtureWarning
from sknoisy.inspection import (
    LabelIssuesDisplay,
    LossHistogramDisplay,
    SampleWeightDisplay,
    TransitionMatrixDisplay,
)
from sknoisy.mixture import loss_mixture
from sknoisy.noise import pairflip_transition, symmetric

NAMES = np.array(["ant", "bee", "cat"])
QUICK = {"max_epochs": 3, "n_warmup_epochs": 1, "batch_size": 32}


@pytest.fixture(autouse=True)
def no_screen():
    """The Agg backend, and no figure left open."""
    backend = plt.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.fixture
def noisy(blobs, global_random_seed):
    """Rows, noisy string labels and clean ones."""
    X, y = blobs
    return X, symmetric(NAMES[y], 0.3, random_state=global_random_seed).y, NAMES[y]


@pytest.fixture
def proba(noisy):
    """Probabilities of a fitted model."""
    X, given, _ = noisy
    return LogisticRegression().fit(X, given).predict_proba(X)


def heights(bars):
    return np.array([bar.get_height() for bar in bars])


def tick_names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


# --- transition matrix --------------------------------------------------------------------------


def test_the_matrix_of_a_fit_has_true_classes_in_rows(noisy, global_random_seed):
    X, given, _ = noisy
    mask = np.arange(len(given)) % 2 == 0
    clf = TransitionMLCClassifier(**QUICK, random_state=global_random_seed)
    clf.fit(X, given, clean_mask=mask)
    display = TransitionMatrixDisplay.from_estimator(clf)
    shares = clf.transition_ / clf.transition_.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(display.im_.get_array(), shares)
    assert abs(shares - shares.T).max() > 1e-6  # else the transpose would pass, too
    assert tick_names(display.ax_.yaxis) == tick_names(display.ax_.xaxis) == NAMES.tolist()
    assert display.ax_.get_ylabel() == "true label"
    assert display.ax_.get_xlabel() == "given label"


def test_pairs_are_counted_and_shown_in_per_cent(noisy):
    _, given, clean = noisy
    display = TransitionMatrixDisplay.from_predictions(clean, given, classes=["cat", "bee", "ant"])
    share = np.mean(given[clean == "cat"] == "ant")
    assert display.im_.get_array()[0, 2] == pytest.approx(share)
    assert display.text_[0, 2].get_text() == f"{100 * share:.0f}"
    assert display.text_[0, 2].get_position() == (2, 0)
    assert tick_names(display.ax_.yaxis) == ["cat", "bee", "ant"]


def test_numbers_can_be_read_on_dark_and_on_light_cells():
    display = TransitionMatrixDisplay(transition=[[0.95, 0.05], [0, 1]]).plot()
    colors = [text.get_color() for text in display.text_.ravel()]
    assert colors == ["white", "black", "black", "white"]


def test_many_classes_have_no_numbers_and_more_have_no_names():
    some = TransitionMatrixDisplay(transition=pairflip_transition(21, 0.3)).plot()
    assert some.text_ is None
    assert len(some.ax_.get_yticks()) == 21
    many = TransitionMatrixDisplay(transition=pairflip_transition(60, 0.3)).plot()
    assert len(many.ax_.get_yticks()) < 21


def test_names_stay_as_they_are():
    names = ["$5$", "a_{b}"]
    display = TransitionMatrixDisplay(transition=np.eye(2), display_labels=names).plot()
    assert tick_names(display.ax_.xaxis) == names
    assert not any(label.get_parse_math() for label in display.ax_.get_xticklabels())


def test_a_matrix_or_an_estimator_without_one_is_refused(noisy):
    X, given, _ = noisy
    with pytest.raises(NotFittedError):
        TransitionMatrixDisplay.from_estimator(TransitionMLCClassifier())
    with pytest.raises(ValueError, match=r"LogisticRegression has no transition_.*from_pred"):
        TransitionMatrixDisplay.from_estimator(LogisticRegression().fit(X, given))
    with pytest.raises(ValueError, match="2 rows, but there are 3 display_labels"):
        TransitionMatrixDisplay(transition=np.eye(2), display_labels=NAMES)
    with pytest.raises(ValueError, match="Row 0 of the transition matrix sums to 2"):
        TransitionMatrixDisplay(transition=[[1, 1], [0, 1]])


# --- losses -------------------------------------------------------------------------------------


def two_humps(seed):
    rng = np.random.default_rng(seed)
    return np.r_[rng.normal(0.5, 0.1, size=300), rng.normal(3, 0.4, size=100)]


def test_losses_of_a_fit_are_its_cross_entropies(noisy, proba):
    X, given, _ = noisy
    clf = LogisticRegression().fit(X, given)
    display = LossHistogramDisplay.from_estimator(clf, X, given)
    expected = -np.log(proba[np.arange(len(given)), np.searchsorted(NAMES, given)])
    np.testing.assert_allclose(display.losses, expected)
    assert heights(display.bars_).sum() == len(given)
    assert display.lines_ == []
    assert display.ax_.get_xlabel() == "loss of the given label"
    assert display.ax_.get_ylabel() == "rows"


def test_sparse_probabilities_and_those_of_other_orders_give_the_same_losses(noisy, proba):
    _, given, _ = noisy
    losses = LossHistogramDisplay.from_predictions(given, proba).losses
    turned = LossHistogramDisplay.from_predictions(given, proba[:, ::-1], classes=NAMES[::-1])
    of_sparse = LossHistogramDisplay.from_predictions(given, sparse.csr_array(proba))
    np.testing.assert_allclose(turned.losses, losses)
    np.testing.assert_allclose(of_sparse.losses, losses)
    absent = LossHistogramDisplay.from_predictions(["ant", "bee"], [[1, 0], [1, 0]])
    assert absent.losses.tolist() == [0, pytest.approx(15.942, abs=1e-3)]  # float32's epsilon


@pytest.mark.parametrize("kind", ["gaussian", "beta"])
def test_components_are_on_the_scale_of_the_bars_and_add_up(kind, global_random_seed):
    losses = two_humps(global_random_seed)
    fitted = loss_mixture(losses, kind=kind, random_state=0)
    display = LossHistogramDisplay(losses=losses, mixture=fitted, bins=30).plot()
    low, high, whole = display.lines_
    np.testing.assert_allclose(low.get_ydata() + high.get_ydata(), whole.get_ydata())
    width = display.bars_[0].get_width()
    rows = [np.trapezoid(*line.get_data()[::-1]) / width for line in display.lines_]
    assert rows == pytest.approx([300, 100, 400], rel=0.08)
    assert low.get_xdata()[low.get_ydata().argmax()] < 1
    assert high.get_xdata()[high.get_ydata().argmax()] > 2
    share = fitted.mixture.weights_[fitted.lower]
    assert low.get_label() == f"low losses, {share:.0%}"


def test_a_kind_is_fitted_here(global_random_seed):
    losses = two_humps(global_random_seed)
    by_kind = LossHistogramDisplay(losses=losses, mixture="gaussian")
    fitted = loss_mixture(losses, kind="gaussian", random_state=0)
    np.testing.assert_array_equal(by_kind.mixture.clean_proba, fitted.clean_proba)


def test_a_mixture_that_did_not_separate_has_no_curves(global_random_seed):
    losses = np.random.default_rng(global_random_seed).normal(size=100)
    with pytest.warns(MixtureWarning, match="did not separate"):
        display = LossHistogramDisplay(losses=losses, mixture="gaussian").plot()
    assert display.lines_ == []


def test_losses_that_are_none_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        LossHistogramDisplay(losses=[1, np.nan])
    with pytest.raises(ValueError, match="bins=0 must be at least 1"):
        LossHistogramDisplay(losses=[1, 2], bins=0)
    with pytest.raises(TypeError, match=r"a GaussianMixture.*result of loss_mixture"):
        LossHistogramDisplay(losses=[1, 2], mixture=GaussianMixture())


# --- weights ------------------------------------------------------------------------------------


@pytest.fixture
def meta_weight_net(noisy, global_random_seed):
    X, given, _ = noisy
    clf = MetaWeightNetClassifier(**QUICK, random_state=global_random_seed)
    return clf.fit(X, given, clean_mask=np.arange(len(given)) % 4 == 0)


def test_each_training_row_is_a_point(noisy, meta_weight_net):
    X, given, _ = noisy
    display = SampleWeightDisplay.from_estimator(meta_weight_net, X, given)
    losses, weights = np.asarray(display.points_.get_offsets()).T
    proba = meta_weight_net.predict_proba(X)
    expected = -np.log(proba[np.arange(len(given)), np.searchsorted(NAMES, given)])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(weights, meta_weight_net.sample_weight_)
    assert display.ax_.get_xlabel() == "loss of the given label"
    assert display.ax_.get_ylabel() == "sample weight"


def test_the_line_joins_medians_of_tenths_by_loss(global_random_seed):
    losses = np.random.default_rng(global_random_seed).permutation(np.arange(100.0))
    display = SampleWeightDisplay(losses=losses, sample_weight=1 / (1 + losses)).plot()
    x, y = display.line_.get_data()
    np.testing.assert_allclose(x, 4.5 + 10 * np.arange(10))
    assert (np.diff(y) < 0).all()
    assert y[0] == pytest.approx((1 / 5 + 1 / 6) / 2)


def test_weights_without_rows_or_rows_without_weights_are_refused(noisy, meta_weight_net):
    X, given, _ = noisy
    with pytest.raises(ValueError, match=r"X has 10 rows, but fit had 121.*Pass X and y of fit"):
        SampleWeightDisplay.from_estimator(meta_weight_net, X[:10], given[:10])
    with pytest.raises(ValueError, match=r"LogisticRegression has no sample_weight_"):
        SampleWeightDisplay.from_estimator(LogisticRegression().fit(X, given), X, given)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SampleWeightDisplay(losses=[1, 2], sample_weight=[1])


# --- audits -------------------------------------------------------------------------------------


def audit_of(columns):
    """A stub with the columns of an audit."""
    return SimpleNamespace(to_dict=lambda: columns)


@pytest.fixture
def columns(noisy, proba):
    """Columns of an audit, of which others are not drawn."""
    _, given, _ = noisy
    drawn = LabelIssuesDisplay.from_predictions(given, proba).columns
    return {**drawn, "reason": np.full(len(given), ""), "index": 100 + drawn["index"]}


def test_the_score_is_the_normalised_margin(noisy, proba):
    """Below 0.5 exactly where the most probable class is another one."""
    _, given, _ = noisy
    display = LabelIssuesDisplay.from_predictions(given, proba)
    codes, rows = np.searchsorted(NAMES, given), np.arange(len(given))
    others = np.where(np.eye(3, dtype=bool)[codes], -1, proba).max(axis=1)
    np.testing.assert_allclose(display.columns["score"], (proba[rows, codes] - others + 1) / 2)
    suggested = NAMES[proba.argmax(axis=1)]
    np.testing.assert_array_equal(display.columns["flagged"], suggested != given)
    np.testing.assert_array_equal(display.columns["suggested_label"], suggested)
    of_sparse = LabelIssuesDisplay.from_predictions(given, sparse.csr_array(proba))
    np.testing.assert_array_equal(of_sparse.columns["score"], display.columns["score"])


def test_bars_of_suspects_stand_on_those_of_others(columns):
    display = LabelIssuesDisplay.from_estimator(audit_of(columns), bins=10)
    flagged = columns["flagged"]
    edges = np.linspace(0, 1, 11)
    np.testing.assert_array_equal(
        heights(display.bars_[0]), np.histogram(columns["score"][~flagged], edges)[0]
    )
    np.testing.assert_array_equal(
        heights(display.bars_[1]), np.histogram(columns["score"][flagged], edges)[0]
    )
    assert [bar.get_y() for bar in display.bars_[1]] == heights(display.bars_[0]).tolist()
    assert {bar.get_hatch() for bar in display.bars_[1]} == {"///"}
    assert display.threshold_line_.get_xdata() == [0.5, 0.5]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert f"{flagged.sum()} suspects" in labels
    assert display.ax_.get_ylabel() == "rows"


def test_a_fitted_auditor_is_shown_by_its_audit(columns):
    auditor = SimpleNamespace(audit_=audit_of(columns))
    display = LabelIssuesDisplay.from_estimator(auditor)
    np.testing.assert_array_equal(display.columns["score"], columns["score"])


@pytest.mark.parametrize(
    ("flagged", "threshold"),
    [
        ([True, False, False, False], 0.25),  # between the worst row and the next
        ([True, True, False, False], 0.5),
        ([True, True, True, False], 0.75),
        ([False, True, False, False], None),  # as with a threshold for each class
        ([False, False, False, False], None),
    ],
)
def test_the_line_separates_suspects_from_others_where_a_score_does(columns, flagged, threshold):
    few = {name: values[:4] for name, values in columns.items()}
    few |= {"score": np.array([0.2, 0.3, 0.6, 0.9]), "flagged": np.array(flagged)}
    display = LabelIssuesDisplay.from_estimator(audit_of(few))
    assert display.threshold == pytest.approx(threshold)
    assert (display.threshold_line_ is None) == (threshold is None)
    given = LabelIssuesDisplay.from_estimator(audit_of(few), threshold=0.4)
    assert given.threshold_line_.get_xdata() == [0.4, 0.4]


def test_worst_rows_are_drawn_from_the_top_with_their_labels(columns):
    display = LabelIssuesDisplay.from_estimator(audit_of(columns), kind="rows", n_rows=5)
    worst = np.argsort(columns["score"], kind="stable")[:5]
    assert display.ax_.yaxis_inverted()
    assert tick_names(display.ax_.yaxis) == [
        f"{columns['index'][i]}: {columns['given_label'][i]} → {columns['suggested_label'][i]}"
        for i in worst
    ]
    given, suggested = (np.asarray(points.get_offsets()) for points in display.points_)
    np.testing.assert_allclose(given[:, 0], columns["probability"][worst])
    np.testing.assert_allclose(suggested[:, 0], columns["suggested_probability"][worst])
    assert given[:, 1].tolist() == suggested[:, 1].tolist() == list(range(5))


def test_rows_without_a_score_are_left_out_and_long_labels_are_cut(columns):
    few = {name: values[:3].astype(object) for name, values in columns.items()}
    few["score"] = np.array([np.nan, 0.1, 0.7])
    few["flagged"] = np.array([False, True, False])
    few["given_label"][1] = "x" * 30
    display = LabelIssuesDisplay.from_estimator(audit_of(few), kind="rows")
    names = tick_names(display.ax_.yaxis)
    assert len(names) == 2
    assert "x" * 23 + "…" in names[0]
    with pytest.raises(ValueError, match="No row has a score"):
        LabelIssuesDisplay(columns={**few, "score": np.full(3, np.nan)})


def test_what_is_no_audit_is_refused(columns, noisy):
    X, given, _ = noisy
    with pytest.raises(NotFittedError):
        LabelIssuesDisplay.from_estimator(LogisticRegression())
    with pytest.raises(TypeError, match=r"LogisticRegression is no audit.*from_predictions"):
        LabelIssuesDisplay.from_estimator(LogisticRegression().fit(X, given))
    with pytest.raises(ValueError, match=r"lack \['score'\]"):
        LabelIssuesDisplay(columns={k: v for k, v in columns.items() if k != "score"})
    with pytest.raises(ValueError, match="kind='pie' must be one of 'scores', 'rows'"):
        LabelIssuesDisplay(columns=columns).plot(kind="pie")
    with pytest.raises(ValueError, match="n_rows=0"):
        LabelIssuesDisplay(columns=columns).plot(kind="rows", n_rows=0)


# --- drawing ------------------------------------------------------------------------------------

EXAMPLES = [
    TransitionMatrixDisplay(transition=np.eye(2)),
    LossHistogramDisplay(losses=[0.1, 2]),
    SampleWeightDisplay(losses=[0.1, 2], sample_weight=[1, 0]),
    LabelIssuesDisplay(
        columns={
            "index": [0, 1],
            "given_label": ["a", "b"],
            "suggested_label": ["b", "b"],
            "score": [0.2, 0.9],
            "probability": [0.2, 0.9],
            "suggested_probability": [0.8, 0.9],
            "flagged": [True, False],
        }
    ),
]


@pytest.mark.parametrize("display", EXAMPLES, ids=lambda display: type(display).__name__)
def test_it_draws_into_the_axes_that_it_is_given(display):
    figure, (left, right) = plt.subplots(1, 2)
    assert display.plot(right) is display
    assert display.ax_ is right
    assert display.figure_ is figure
    assert right.has_data()
    assert not left.has_data()


@pytest.mark.parametrize("display", EXAMPLES, ids=lambda display: type(display).__name__)
def test_without_matplotlib_the_error_says_what_to_install(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=rf"{type(display).__name__} draws.*sknoisy\[plots\]"):
        display.plot()


def test_arguments_go_to_the_artists():
    matrix = TransitionMatrixDisplay(transition=np.eye(2)).plot(cmap="Greys")
    assert matrix.im_.get_cmap().name == "Greys"
    bars = LossHistogramDisplay(losses=[0.1, 2]).plot(color="red")
    assert bars.bars_[0].get_facecolor() == (1, 0, 0, 1)
    points = SampleWeightDisplay(losses=[0.1, 2], sample_weight=[1, 0]).plot(s=50)
    assert points.points_.get_sizes().tolist() == [50]
