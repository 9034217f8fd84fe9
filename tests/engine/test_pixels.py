"""Images of another unit than those of fit are refused, and all others are taken."""

import itertools

import numpy as np
import pytest
from estimators import over_estimators
from own_networks import given_to
from sklearn.base import is_classifier
from torch import nn

from sknoisy._engine.scaling import InputScaling


@pytest.fixture
def pixels(images):
    """Images (40, 8, 8, 3) of float32 from 0 to 227, whole numbers."""
    return images[0].astype(np.float32)


def blurred(X):
    """Return means of neighbours: fractions of whole numbers."""
    return (X + np.roll(X, 1, axis=2)) / 2 + 0.1


# By unit: functions of pixels.
UNITS = {
    "0 to 255": {"whole": lambda X: X, "blurred": blurred},
    "0 to 1": {"whole": lambda X: X / 255, "blurred": lambda X: blurred(X) / 255},
    "centred": {"whole": lambda X: (X - 110) / 60, "blurred": lambda X: (blurred(X) - 110) / 60},
}


@pytest.mark.parametrize("fitted", UNITS)
@pytest.mark.parametrize("given", UNITS)
def test_floats_of_another_unit_are_refused(pixels, fitted, given):
    """Fractions and centred values are told apart from pixels, not from each other."""
    is_refused = (fitted == "0 to 255") != (given == "0 to 255")
    for made, make in itertools.product(UNITS[fitted].values(), UNITS[given].values()):
        scaling = InputScaling().fit(made(pixels))
        if is_refused:
            with pytest.raises(ValueError, match=r"images of float32 from .* but images of float"):
                scaling.check_unit(make(pixels))
            with pytest.raises(ValueError, match="Convert X"):
                scaling.check_unit(make(pixels[:1]).astype(np.float64))
        else:
            scaling.check_unit(make(pixels))
            scaling.check_unit(make(pixels[:1]).astype(np.float64))


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X[:1] * 0,
        lambda X: X[:1] * 0 + 1,
        lambda X: X // 64,
        lambda X: X / 100,
        lambda X: X / 1000,
        lambda X: X * 2,
    ],
    ids=["black", "nearly black", "dark", "dark means", "very dark means", "bright"],
)
def test_dark_and_bright_batches_are_taken(pixels, change):
    for fitted in (pixels, blurred(pixels)):
        InputScaling().fit(fitted).check_unit(change(fitted))


@pytest.mark.parametrize("factor", [0, 0.001, 0.5, 3, 20])
def test_fractions_may_be_darker_or_brighter(pixels, factor):
    InputScaling().fit(pixels / 255).check_unit(pixels / 255 * factor)


@over_estimators("images_of_another_unit", lambda e: is_classifier(e) and hasattr(e, "module"))
def test_images_of_another_unit(estimator, images):
    X, y = images[0].astype(np.float32), images[1]
    network = nn.Sequential(nn.Flatten(), nn.Linear(8 * 8 * 3, 2))
    clf = given_to(estimator, network).fit(X, y)
    with pytest.raises(ValueError, match=r"from 0 to 0.*from 0 to 2"):
        clf.predict(X / 255)
