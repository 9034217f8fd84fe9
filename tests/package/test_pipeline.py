"""Steps that drop rows run before a classifier, in fit alone."""

import numpy as np
import pytest
import sklearn.pipeline
from imblearn import FunctionSampler
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from sknoisy import LabelPurifier
from sknoisy.pipeline import Pipeline, make_pipeline


def drop_every_third(X, y):
    keep = np.arange(len(X)) % 3 != 0
    return X[keep], y[keep]


@pytest.mark.parametrize("made_by", ["class", "function"])
def test_a_step_that_drops_rows_gives_the_model_of_the_rest(quick, blobs, made_by):
    X, y = blobs
    steps = [StandardScaler(), FunctionSampler(func=drop_every_third), quick()]
    if made_by == "class":
        model = Pipeline(list(zip(["scale", "drop", "classify"], steps, strict=True)))
    else:
        model = make_pipeline(*steps)
    model.fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    alone = quick().fit(*drop_every_third(scaled, y))
    np.testing.assert_array_equal(model[-1].clean_proba_, alone.clean_proba_)
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(scaled))  # all rows


def test_rows_are_dropped_within_the_folds_of_a_search(quick, blobs):
    X, y = blobs
    fitted = []

    def count(X, y):
        fitted.append(len(X))
        return drop_every_third(X, y)

    model = make_pipeline(FunctionSampler(func=count), quick(max_epochs=1, weighting=None))
    search = GridSearchCV(
        model, {"clidmuclassifier__lr": [0.01, 0.05]}, cv=[(range(81), range(81, 121))]
    )
    search.fit(X, y)
    assert fitted == [81, 81, 121]
    refitted = clone(model).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), refitted.predict_proba(X))


def test_it_is_a_pipeline_of_scikit_learn():
    assert issubclass(Pipeline, sklearn.pipeline.Pipeline)


def purified(X, method="fit", **params):
    steps = [StandardScaler(), LabelPurifier(n_components=32, n_epochs=3, random_state=0)]
    steps += [None, LogisticRegression()] if method == "fit" else []
    names = ["scale", "purify", "nothing", "classify"]
    model = Pipeline(list(zip(names, steps, strict=False)))
    return getattr(model, method)(X, (X[:, 0] > 0).astype(int), **params)


@pytest.mark.parametrize("method", ["fit", "fit_resample"])
@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("purify__clean_mask", r"set_fit_resample_request\(clean_mask=True\)"),
        ("purify__groups", r"set_fit_resample_request\(groups=True\)"),
        ("purify__typo", "does not take 'typo'. Leave it out"),
        ("clean__clean_mask", r"the steps are \['scale', 'purify'"),
        ("scale__typo", "unexpected keyword argument 'typo'"),
    ],
)
def test_an_argument_that_no_step_would_receive_is_refused_by_name(blobs, method, name, cure):
    with pytest.raises(TypeError, match=rf"{name.split('__')[1]}.*{cure}|{cure}"):
        purified(blobs[0], method, **{name: np.ones(121, bool)})


def test_an_argument_of_a_step_that_does_nothing_is_refused(blobs):
    with pytest.raises(TypeError, match="'nothing__typo' was passed, but step 'nothing' does"):
        purified(blobs[0], nothing__typo=1)


def test_the_advice_of_the_refusal_reaches_the_step(blobs):
    X, y = blobs
    mask = np.arange(len(y)) < 60
    with config_context(enable_metadata_routing=True):
        step = LabelPurifier(n_components=32, n_epochs=3, random_state=0)
        step.set_fit_request(clean_mask=True).set_fit_resample_request(clean_mask=True)
        model = make_pipeline(StandardScaler(), step, LogisticRegression())
        model.fit(X, y, clean_mask=mask)
    np.testing.assert_array_equal(model[1].validation_rows_, np.flatnonzero(mask))


def test_arguments_of_other_steps_arrive_without_routing(blobs):
    X, y = blobs
    weights = np.arange(len(y)) % 3 + 1.0
    model = make_pipeline(FunctionSampler(), LogisticRegression())
    model.fit(X, y, logisticregression__sample_weight=weights)
    alone = LogisticRegression().fit(X, y, weights)
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))
    last = make_pipeline(StandardScaler(), LabelPurifier(n_components=32, n_epochs=3))
    last.fit(X, y, labelpurifier__clean_mask=weights == 1)
    np.testing.assert_array_equal(last[1].validation_rows_, np.flatnonzero(weights == 1))
