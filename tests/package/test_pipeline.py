"""Steps that drop rows run before a classifier, in fit alone."""

import numpy as np
import pytest
import sklearn.pipeline
from imblearn import FunctionSampler
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

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
