"""MILDClassifier: invalid parameters of the net, and trusted rows without weight."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from small_selectors import GIVEN, X

from sknoisy import CleanSampleSelector, MILDClassifier


class Unasked(BaseEstimator):
    """A selector that must not be reached."""

    def fit_resample(self, X, y):
        raise AssertionError("the selection ran")


@pytest.mark.parametrize(
    ("semi", "values"),
    [
        ("mixmatch", {"n_ramp_epochs": -1}),
        ("mixmatch", {"unlabeled_weight": -5}),
        ("mixmatch", {"corruption_rate": 2}),
        ("mixmatch", {"alpha": -1}),
        ("auto", {"temperature": 0}),
        ("mixup+contrastive", {"projection_dim": 0}),
        ("mixup+contrastive", {"contrastive_weight": "much"}),
    ],
)
def test_values_of_semi_params_are_checked_before_the_selection(semi, values):
    (name,) = values
    with pytest.raises(ValueError, match=f"'{name}' parameter of the semi_params .* must be"):
        MILDClassifier(selector=Unasked(), semi=semi, semi_params=values).fit(X, GIVEN)


def test_parameters_of_the_selector_are_checked():
    selector = CleanSampleSelector(max_epochs=0)
    with pytest.raises(ValueError, match="The 'max_epochs' parameter of CleanSampleSelector"):
        MILDClassifier(selector=selector).fit(X, GIVEN)


def test_a_class_whose_trusted_rows_have_no_weight_is_refused():
    trusted = np.arange(len(GIVEN)) % 5 == 0
    weights = np.where(trusted & (GIVEN == 1), 0.0, 1.0)
    with pytest.raises(ValueError, match="trusted rows of some class have a sample_weight of 0"):
        MILDClassifier(selector=Unasked()).fit(X, GIVEN, clean_mask=trusted, sample_weight=weights)


def test_rows_without_labels_need_a_net_that_uses_them():
    mask = np.arange(len(GIVEN)) % 5 == 0
    with pytest.raises(
        ValueError, match=f"True for {mask.sum()} rows, which cannot be used: semi="
    ):
        MILDClassifier(selector=Unasked(), semi="none").fit(X, GIVEN, unlabeled_mask=mask)
