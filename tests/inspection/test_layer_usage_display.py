"""The display of layer usage, on fits and on given shares; no screen."""

import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.exceptions import NotFittedError

from sknoisy import FaMUSClassifier, MetaWeightNetClassifier
from sknoisy.inspection import LayerUsageDisplay

QUICK = {"max_epochs": 5, "n_warmup_epochs": 2, "batch_size": 32, "meta_batch_size": 32}
NAMES = ("low", "middle", "high")
USAGE = [[0.25, 0.5, 1.0], [0.0, 0.75, 1.0]]  # two epochs


@pytest.fixture(autouse=True)
def no_screen():
    """The Agg backend, and no figure left open."""
    backend = plt.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.fixture
def fitted(blobs, global_random_seed):
    """A FaMUSClassifier after three epochs of the meta update."""
    X, y = blobs
    clf = FaMUSClassifier(**QUICK, random_state=global_random_seed)
    return clf.fit(X, y, clean_mask=np.arange(len(y)) < 30)


def tick_labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_of_a_fit_it_shows_each_layer_and_each_epoch_of_the_meta_update(fitted):
    display = LayerUsageDisplay.from_estimator(fitted)
    picture = display.im_.get_array()
    np.testing.assert_array_equal(picture, fitted.layer_usage_.T)
    assert picture.shape == (6, 3)  # weight and bias of three linear layers; epochs 3, 4, 5
    assert tick_labels(display.ax_) == list(fitted.layer_names_)
    assert display.ax_.get_xlim() == (2.5, 5.5)
    # The classifier's weight and bias have no gate; the sampled ones were drawn.
    assert picture[-2:].min() == 1
    assert picture[:-2].min() < 1


def test_another_method_that_samples_layers_is_shown_too(blobs, global_random_seed):
    X, y = blobs
    clf = MetaWeightNetClassifier(gradient="famus", **QUICK, random_state=global_random_seed)
    display = LayerUsageDisplay.from_estimator(clf.fit(X, y, clean_mask=np.arange(len(y)) < 30))
    np.testing.assert_array_equal(display.layer_usage, clf.layer_usage_)


def test_the_first_layer_stands_at_the_bottom():
    display = LayerUsageDisplay.from_usage(NAMES, USAGE)
    display.figure_.canvas.draw()
    heights = [label.get_window_extent().y0 for label in display.ax_.get_yticklabels()]
    assert heights == sorted(heights)
    assert tick_labels(display.ax_) == list(NAMES)
    # The value of the array stands where its label stands: "low" of the first epoch is 0.25.
    low = display.ax_.transData.transform((1, 0))
    event = type("Event", (), {"x": low[0], "y": low[1]})()
    assert display.im_.get_cursor_data(event) == 0.25


def test_colours_span_0_to_1_whatever_the_shares_are():
    display = LayerUsageDisplay.from_usage(NAMES, [[0.4, 0.5, 0.6]])
    assert display.im_.get_clim() == (0, 1)


def test_it_draws_into_the_axes_that_it_is_given():
    figure, (left, right) = plt.subplots(1, 2)
    display = LayerUsageDisplay.from_usage(NAMES, USAGE, ax=right)
    assert display.ax_ is right
    assert display.figure_ is figure
    assert not left.images


def test_arguments_of_the_image_pass_through_and_first_epoch_shifts():
    display = LayerUsageDisplay.from_usage(NAMES, USAGE, first_epoch=11, cmap="magma")
    assert display.im_.get_cmap().name == "magma"
    assert display.ax_.get_xlim() == (10.5, 12.5)


def test_plot_draws_again_what_was_drawn_before():
    display = LayerUsageDisplay(layer_names=NAMES, layer_usage=USAGE)
    assert not hasattr(display, "ax_")
    assert display.plot() is display
    first = display.ax_
    _, ax = plt.subplots()
    np.testing.assert_array_equal(display.plot(ax).im_.get_array(), first.images[0].get_array())
    assert display.ax_ is ax


def test_an_estimator_that_samples_no_layers_is_refused(blobs, global_random_seed):
    X, y = blobs
    clf = MetaWeightNetClassifier(**QUICK, random_state=global_random_seed)
    with pytest.raises(NotFittedError):
        LayerUsageDisplay.from_estimator(clf)
    clf.fit(X, y, clean_mask=np.arange(len(y)) < 30)
    with pytest.raises(ValueError, match=r"MetaWeightNetClassifier has no layer_usage_.*famus"):
        LayerUsageDisplay.from_estimator(clf)


@pytest.mark.parametrize(
    ("names", "usage", "message"),
    [
        (NAMES[:2], USAGE, "3 columns, but there are 2 layer_names"),
        (NAMES, np.empty((0, 3)), "0 sample"),
        (NAMES, [[0, 0.5, 1.5]], "shares in .0, 1., got values from 0 to 1.5"),
        (NAMES, [[0, np.nan, 1]], "NaN"),
    ],
)
def test_shares_that_are_none_are_refused(names, usage, message):
    with pytest.raises(ValueError, match=message):
        LayerUsageDisplay.from_usage(names, usage)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    display = LayerUsageDisplay(layer_names=NAMES, layer_usage=USAGE)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"sknoisy\[plots\]"):
        display.plot()
