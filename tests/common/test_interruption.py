"""Ctrl-C in ``fit``: the whole fit ends, usable or not fitted, and one warning tells which."""

import inspect
import signal
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from estimators import assert_same, is_mixture, over_estimators, quick_estimators
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback
from torch._C import _len_torch_function_stack

from sknoisy import LabelPurifier, NoisyLabelClassifier, PurifiedClassifier
from sknoisy._engine.net import DeviceNet
from sknoisy.exceptions import InterruptedFitWarning
from sknoisy.methods.dmlp.purification_run import PurificationRun
from sknoisy.pipeline import make_pipeline as resampling_pipeline
from sknoisy.representation import SimCLR

MOMENTS = (0.05, 0.3, 0.5, 0.7, 0.95)
WORK = (
    (DeviceNet, "run_single_epoch"),
    (DeviceNet, "train_step"),
    (PurificationRun, "advance"),
    (RandomForestClassifier, "fit"),
    (LogisticRegression, "fit"),
)


class Calls:
    """Counts the calls of the library's functions, and presses Ctrl-C at one of them."""

    def __init__(self, at=None):
        self.at, self.n, self.pressed = at, 0, False

    def __call__(self, frame, event, argument):
        name = frame.f_globals.get("__name__", "")
        is_generator = frame.f_code.co_flags & inspect.CO_GENERATOR  # may swallow it at its end
        if event == "call" and name.startswith("sknoisy.") and not is_generator:
            self.n += 1
            if self.n == self.at:
                self.pressed = True
                raise KeyboardInterrupt

    def fit(self, estimator, X, y):
        """Return the InterruptedFitWarnings of a fit, and whether it raised KeyboardInterrupt."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            before = sys.gettrace()
            sys.settrace(self)
            try:
                estimator.fit(X, y)
                raised = False
            except KeyboardInterrupt:
                raised = True
            finally:
                sys.settrace(before)
        return [w for w in caught if w.category is InterruptedFitWarning], raised


def is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


@pytest.fixture
def work(monkeypatch):
    """The names of the pieces of work that begin after ``work.press`` is called."""

    class Work(list):
        calls = None

    begun = Work()

    def record(owner, name):
        original = getattr(owner, name)

        def recorded(*args, **kwargs):
            if begun.calls.pressed:
                begun.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    for owner, name in WORK:
        record(owner, name)
    return begun


@pytest.fixture(autouse=True)
def no_mode_is_left():
    """A mode of torch that stays active after a fit slows and records all that follows."""
    yield
    assert _len_torch_function_stack() == 0


@pytest.mark.usefixtures("small_forests")
@over_estimators("interruption")
def test_ctrl_c_at_any_moment_ends_the_whole_fit(estimator, data, work):
    X, y = data(estimator)
    work.calls = Calls()
    fitted = clone(estimator)
    work.calls.fit(fitted, X, y)
    n_calls = work.calls.n
    for moment in MOMENTS:
        work.calls = Calls(at=1 + int(moment * n_calls))
        told, raised = work.calls.fit(fitted, X, y)
        assert work.calls.pressed
        assert work == []
        assert is_fitted(fitted) is not raised
        if is_mixture(fitted):
            continue
        (warning,) = told
        assert warning.filename == __file__
        assert str(warning.message).startswith("fit was interrupted")
        assert ("is not fitted" in str(warning.message)) is raised
        for name in () if raised else ("predict_proba", "transform"):
            if hasattr(fitted, name):
                assert np.isfinite(getattr(fitted, name)(X)).all()


# --- where it was interrupted -------------------------------------------------------------------


class Press(Callback):
    """Press Ctrl-C, by a real signal, at events of an epoch (from 1) of a training (from 1)."""

    n_trainings = 0

    def __init__(self, epoch=2, training=1, event="on_epoch_begin"):
        self.epoch, self.training, self.event = epoch, training, event

    def _press(self, event, net):
        at = len(net.history), Press.n_trainings
        if event in self.event and at == (self.epoch, self.training):
            signal.raise_signal(signal.SIGINT)

    def on_train_begin(self, net, **kwargs):
        Press.n_trainings += 1

    def on_epoch_begin(self, net, **kwargs):
        self._press("on_epoch_begin", net)

    def on_batch_end(self, net, **kwargs):
        self._press("on_batch_end", net)

    def on_train_end(self, net, **kwargs):
        self._press("on_train_end", net)


@pytest.fixture(autouse=True)
def count_trainings(monkeypatch):
    monkeypatch.setattr(Press, "n_trainings", 0)


def quick_one(name, **parameters):
    return clone(quick_estimators()[name]).set_params(**parameters)


def ensemble_with(callbacks):
    settings = {"module_params": {"hidden": (8,)}, "max_epochs": 3, "batch_size": 64}
    return NoisyLabelClassifier(
        network_params={**settings, "callbacks": callbacks}, random_state=0
    )


INSIDE = {
    "a network": (
        lambda press: quick_one("MSLCClassifier", callbacks=[press], max_epochs=4),
        Press(3),
        "after 2 of 4 epochs; the estimator is fitted with what was learned so far.",
    ),
    "two networks": (
        lambda press: quick_one("FaMUSClassifier", callbacks=[press]),
        Press(2, training=2, event="on_batch_end"),
        "after 1 of 2 epochs; the estimator is fitted with what was learned so far.",
    ),
    "the ensemble": (
        lambda press: ensemble_with([press]),
        Press(3),
        "in the ensemble, the second look, fold 1, after 2 of 3 epochs; the estimator is fitted "
        "with what was learned so far.",
    ),
    "a method of choice": (
        lambda press: ensemble_with([press]).set_params(method="clid_mu"),
        Press(2),
        "after 1 of 3 epochs; the estimator is fitted with what was learned so far.",
    ),
    "the selection of MILD": (
        lambda press: quick_one(
            "MILDClassifier-mixmatch",
            selector=quick_one("CleanSampleSelector", callbacks=[press], stopping=False),
        ),
        Press(2, training=2),
        "in the selection, round 2 of 2, after 1 of 3 epochs; MILDClassifier is not fitted.",
    ),
    "a representation": (
        lambda press: LabelPurifier(representation=SimCLR(max_epochs=3, callbacks=[press])),
        Press(3),
        "in the representation, after 2 of 3 epochs; LabelPurifier is not fitted.",
    ),
    "a cleaner": (
        lambda press: PurifiedClassifier(
            quick_one("CleanSampleSelector", callbacks=[press]), LogisticRegression()
        ),
        Press(2),
        "in the cleaner, round 1 of 2, after 1 of 3 epochs; PurifiedClassifier is not fitted.",
    ),
    "a cleaned classifier": (
        lambda press: PurifiedClassifier(
            LabelPurifier(n_components=32, n_epochs=5),
            quick_one("MSLCClassifier", callbacks=[press], max_epochs=4),
        ),
        Press(2),
        "in the classifier, after 1 of 4 epochs; the estimator is fitted with what was learned "
        "so far.",
    ),
}


@pytest.mark.usefixtures("small_forests")
@pytest.mark.parametrize(("make", "press", "message"), INSIDE.values(), ids=INSIDE)
def test_the_warning_names_the_part_that_was_interrupted(blobs, make, press, message):
    estimator = make(press)
    is_usable = "is not fitted" not in message
    ending = nullcontext() if is_usable else pytest.raises(KeyboardInterrupt)
    with pytest.warns(InterruptedFitWarning) as caught, ending:
        estimator.fit(*blobs)
    (told,) = [w for w in caught if w.category is InterruptedFitWarning]
    assert str(told.message) == f"fit was interrupted {message}"
    assert told.filename == __file__
    assert is_fitted(estimator) is is_usable
    assert Press.n_trainings <= max(press.training, 2)  # two networks begin together


@pytest.mark.usefixtures("small_forests")
def test_a_second_look_that_is_cut_short_leaves_the_first(blobs):
    whole = ensemble_with([]).fit(*blobs)
    with pytest.warns(InterruptedFitWarning):
        clf = ensemble_with([Press(1)]).fit(*blobs)
    tried, all_tried = ([c.name for c in e.choice_.candidates] for e in (clf, whole))
    assert set(all_tried) - set(tried) == {"network", "boosting"}
    assert np.isclose(sum(c.share for c in clf.choice_.candidates), 1)
    assert clf.score(*blobs) > 0.9


@pytest.mark.parametrize("n", [0, 1])
def test_ctrl_c_in_the_first_round_of_a_purifier_changes_no_label(monkeypatch, n):
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=120)
    X = rng.normal(size=(120, 5))
    X[:, 0] += 6 * truth
    y = np.where(rng.random(120) < 0.15, 1 - truth, truth)
    advance = PurificationRun.advance
    rounds = []

    def press(self, state, plan):
        rounds.append(plan)
        if len(rounds) > n:
            raise KeyboardInterrupt
        return advance(self, state, plan)

    monkeypatch.setattr(PurificationRun, "advance", press)
    purifier = LabelPurifier(random_state=0, n_components=128, n_epochs=10)
    message = "in round 1 of 2; the labels are those of epoch 0"
    with pytest.warns(InterruptedFitWarning, match=message):
        purifier.fit(X, y)
    assert len(rounds) == n + 1
    np.testing.assert_array_equal(purifier.purified_labels_, y)


# --- once more, and in the loops of others ------------------------------------------------------


def test_a_second_ctrl_c_is_raised(blobs):
    clf = quick_one("MSLCClassifier", callbacks=[Press(2, event="on_epoch_begin, on_train_end")])
    with (
        pytest.warns(InterruptedFitWarning, match="after 1 of 2 epochs; MSLCClassifier is not"),
        pytest.raises(KeyboardInterrupt),
    ):
        clf.fit(*blobs)
    assert not is_fitted(clf)


def test_an_interrupted_fit_does_not_stop_the_next_one(blobs):
    X, y = blobs
    clf = quick_one("MSLCClassifier", callbacks=[Press(2)])
    with pytest.warns(InterruptedFitWarning):
        clf.fit(X, y)
    clf.fit(X, y)  # the second training
    assert_same(clf, X, quick_one("MSLCClassifier").fit(X, y), X)


LOOPS = {
    "search": lambda clf, X, y: GridSearchCV(clf, {"lr": [0.1, 0.2]}, cv=2).fit(X, y),
    "folds": lambda clf, X, y: cross_val_score(clf, X, y, cv=2),
    "ensemble": lambda clf, X, y: BaggingClassifier(clf, n_estimators=2).fit(X, y),
    "search inside": lambda clf, X, y: PurifiedClassifier(
        LabelPurifier(n_components=32, n_epochs=5), GridSearchCV(clf, {"lr": [0.1, 0.2]}, cv=2)
    ).fit(X, y),
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_ctrl_c_ends_a_loop_over_fits(blobs, loop):
    """It would go on with the next fit otherwise."""
    clf = quick_one("MSLCClassifier", callbacks=[Press(2)])
    with (
        pytest.warns(InterruptedFitWarning, match="is not fitted"),
        pytest.raises(KeyboardInterrupt),
    ):
        loop(clf, *blobs)
    assert Press.n_trainings == 1


def test_ctrl_c_in_an_earlier_step_ends_a_pipeline(blobs):
    """The later steps would be fitted otherwise."""
    steps = quick_one("CleanSampleSelector", callbacks=[Press(2)]), quick_one("MSLCClassifier")
    model = resampling_pipeline(*steps)
    with (
        pytest.warns(InterruptedFitWarning, match="CleanSampleSelector is not fitted"),
        pytest.raises(KeyboardInterrupt),
    ):
        model.fit(*blobs)
    assert not is_fitted(model)


@pytest.mark.parametrize("make", [make_pipeline, resampling_pipeline])
def test_an_interrupted_classifier_at_the_end_of_a_pipeline_is_usable(blobs, make):
    model = make(StandardScaler(), quick_one("MSLCClassifier", callbacks=[Press(2)]))
    with pytest.warns(InterruptedFitWarning, match="fitted with what was learned"):
        model.fit(*blobs)
    assert np.isfinite(model.predict_proba(blobs[0])).all()
