"""Rows without a label: every estimator that can learn from them takes ``unlabeled_mask``."""

import inspect

import numpy as np
import pandas as pd
import pytest
from estimators import assert_same, fit, outputs, over_estimators, reference, takes
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import cross_validate

SEMI_SUPERVISED = {
    "CLIDMUClassifier",
    "DivideMixClassifier",
    "FixMatchClassifier",
    "FlexMatchClassifier",
    "MILDClassifier",
    "ProMixClassifier",
}


def uses_rows_without_labels(estimator):
    """Return whether fit takes the mask, and the framework that would use it is on."""
    return takes("unlabeled_mask")(estimator) and getattr(estimator, "semi", "") is not None


over_semi_supervised = over_estimators("unlabeled_rows", uses_rows_without_labels)


def without_labels(y, share=0.4):
    """Return the mask of the rows that lose their label; each class keeps some."""
    return np.random.default_rng(5).random(len(y)) < share


@over_estimators("who_takes_unlabeled_rows", lambda estimator: True)
def test_everything_that_can_use_rows_without_labels_takes_them(estimator):
    taken = "unlabeled_mask" in inspect.signature(getattr(estimator, "fit", len)).parameters
    assert taken == (type(estimator).__name__ in SEMI_SUPERVISED)


@over_semi_supervised
def test_labels_of_unlabeled_rows_are_not_read(estimator, blobs):
    X, y = blobs
    mask = without_labels(y)
    first = fit(estimator, X, y, unlabeled_mask=mask)
    for others in (np.where(mask, (y + 1) % 3, y), np.where(mask, 99, y)):
        assert_same(first, X, fit(estimator, X, others, unlabeled_mask=mask), X)
    missing = fit(estimator, X, np.where(mask, np.nan, y), unlabeled_mask=mask)
    assert_array_equal(missing.predict_proba(X), first.predict_proba(X))
    assert_array_equal(first.classes_, [0, 1, 2])


@over_semi_supervised
def test_unlabeled_rows_get_labels_but_no_verdict_on_a_given_one(estimator, blobs):
    X, y = blobs
    mask = without_labels(y)
    fitted = fit(estimator, X, y, unlabeled_mask=mask)
    assert_array_equal(np.isnan(fitted.clean_proba_), mask)
    assert_array_equal(
        fitted.purified_labels_[mask], fitted.label_distribution_[mask].argmax(axis=1)
    )


@over_semi_supervised
def test_unlabeled_rows_are_learned_from(estimator, blobs):
    X, y = blobs
    mask = without_labels(y)
    elsewhere = X.copy()
    elsewhere[mask] = np.random.default_rng(0).normal(size=(mask.sum(), X.shape[1]))
    first = fit(estimator, X, y, unlabeled_mask=mask)
    second = fit(estimator, elsewhere, y, unlabeled_mask=mask)
    rows = np.flatnonzero(~mask)
    assert np.abs(first.predict_proba(X[rows]) - second.predict_proba(X[rows])).max() > 1e-4


@over_semi_supervised
def test_a_mask_that_is_true_nowhere_is_no_mask(estimator, blobs):
    X, y = blobs
    fitted = fit(estimator, X, y, unlabeled_mask=np.zeros(len(y), bool))
    assert_same(reference(estimator, X, y), X, fitted, X)


@over_semi_supervised
def test_masks_come_in_the_containers_of_y(estimator, blobs):
    X, y = blobs
    mask = without_labels(y)
    fitted = fit(estimator, X, y, unlabeled_mask=pd.Series(mask, index=np.arange(len(y))[::-1]))
    assert_same(fit(estimator, X, y, unlabeled_mask=mask), X, fitted, X)


@over_semi_supervised
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda mask: np.ones_like(mask), "unlabeled_mask is True for all 121 rows: leave rows"),
        (lambda mask: mask[:-1], r"unlabeled_mask has shape \(120,\), y has shape \(121,\)"),
        (lambda mask: mask.astype(int), r"pass numpy.asarray\(unlabeled_mask\).astype\(bool\)"),
        (lambda mask: mask.nonzero()[0], "unlabeled_mask must be boolean, True where the row has"),
        (lambda mask: [None, *mask.tolist()[1:]], "unlabeled_mask has 1 missing entries"),
    ],
)
def test_bad_masks_are_refused_by_name(estimator, blobs, spoil, message):
    X, y = blobs
    with pytest.raises(ValueError, match=message):
        fit(estimator, X, y, unlabeled_mask=spoil(without_labels(y)))


@over_semi_supervised
def test_a_row_without_a_label_has_none_to_trust(estimator, blobs):
    X, y = blobs
    mask = np.arange(len(y)) == 7
    with pytest.raises(ValueError, match=r"1 rows are in clean_mask and .*, the first is row 7:"):
        fit(estimator, X, y, unlabeled_mask=mask, clean_mask=np.ones(len(y), bool))


@over_semi_supervised
def test_one_class_among_the_labels_that_are_left_is_an_error(estimator, blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="can't be fitted on one class"):
        fit(estimator, X, y, unlabeled_mask=y != 1)


@over_semi_supervised
def test_weights_that_leave_no_label_are_an_error(estimator, blobs):
    X, y = blobs
    mask = without_labels(y)
    with pytest.raises(ValueError, match=f"0 for all {np.sum(~mask)} rows that have a label"):
        fit(estimator, X, y, unlabeled_mask=mask, sample_weight=mask.astype(float))


@over_semi_supervised
def test_cross_validation_divides_the_mask_with_the_rows(estimator, blobs):
    X, y = blobs
    mask = without_labels(y)
    with config_context(enable_metadata_routing=True):
        routed = clone(estimator).set_fit_request(unlabeled_mask=True)
        result = cross_validate(
            routed, X, y, cv=2, params={"unlabeled_mask": mask}, return_estimator=True,
            return_indices=True,
        )  # fmt: skip
    for fitted, rows in zip(result["estimator"], result["indices"]["train"], strict=True):
        assert_array_equal(np.isnan(fitted.clean_proba_), mask[rows])


def test_masks_of_unlabeled_rows_count_the_estimators(request):
    """Nothing above ran on fewer estimators than there are."""
    cases = [case for case in request.session.items if "bad_masks" in case.name]
    names = {case.callspec.params["estimator"].__class__.__name__ for case in cases}
    assert names == SEMI_SUPERVISED


@over_semi_supervised
def test_outputs_are_finite_where_they_are_defined(estimator, blobs):
    X, y = blobs
    fitted = fit(estimator, X, y, unlabeled_mask=without_labels(y, 0.9))
    for name, value in outputs(fitted, X).items():
        if value.dtype.kind == "f" and name != "clean_proba_":
            assert np.isfinite(value).all(), name
