"""Every public estimator with quick settings, for the tests that run over all of them.

The names come from the registry of methods, so that a registered method appears in these tests by
itself. It needs an entry in ``QUICK``. Each entry is fitted on 120 rows in about 0.1 s and still
learns what scikit-learn's checks ask for.
"""

import functools
import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from skorch.history import History
from small_cleaners import DropRows, MajorityLabels

import sknoisy
from sknoisy import mixture, representation
from sknoisy.methods.dmlp import PurificationVariant
from sknoisy.methods.registry import ESTIMATORS

TRAINING = {"max_epochs": 3, "batch_size": 32, "random_state": 0}
NETWORK = {"module_params": {"hidden": (8,), "dropout": 0.1}, "lr": 0.1, **TRAINING}
META = {"meta_batch_size": 32, "n_warmup_epochs": 1, **NETWORK}
CLID_MU = {"n_meta": 64, "n_ensemble": 2, **META}
MLNT = {"n_synthetic": 2, **NETWORK}
SELECTION = {**NETWORK, "n_rounds": 2, "n_folds": 2, "random_state": 1}
PURIFICATION = {"n_components": 256, "n_epochs": 10, "random_state": 0}
ENSEMBLE = {"network_params": {"module_params": {"hidden": (8,)}, "lr": 0.1, "max_epochs": 3}}
ENSEMBLE |= {"random_state": 0}
WIDE = (-1e4, 1e4)  # scikit-learn's checks draw rows from all over the line

# By class: name and parameters of each variant. scikit-learn's checks run on all but those of
# NOT_CHECKED, the contracts on the first variant or on those of IN_CONTRACTS, for four steps.
QUICK = {
    "CDRClassifier": {"": NETWORK},
    "CLIDMUClassifier": {
        "wnet": CLID_MU,
        "vri": {**CLID_MU, "weighting": "vri"},
        "no meta": {**CLID_MU, "weighting": None},
        "fixmatch": {**CLID_MU, "semi": "fixmatch"},
        "dividemix": {**CLID_MU, "semi": "dividemix"},
    },
    "CoTeachingClassifier": {"": NETWORK},
    "ELRClassifier": {"": NETWORK, "plus": {**NETWORK, "plus": True}},
    "L2RClassifier": {"": META},
    "MetaWeightNetClassifier": {"": META},
    "MLCClassifier": {"": META},
    "MSLCClassifier": {"": META},
    "SOPClassifier": {"": NETWORK, "plus": {**NETWORK, "plus": True}},
    "TransitionMLCClassifier": {"": META},
    "FixMatchClassifier": {"": NETWORK},
    "FlexMatchClassifier": {"": NETWORK},
    "FaMUSClassifier": {"": {**META, "n_active_layers": 2, "batch_size": 64, "lr": 0.2}},
    "DivideMixClassifier": {"": {**NETWORK, "n_warmup_epochs": 1}},
    "DMLPClassifier": {"": {**NETWORK, "purifier": sknoisy.LabelPurifier(**PURIFICATION)}},
    "MLNTClassifier": {"": MLNT, "two iterations": {**MLNT, "n_iterations": 2}},
    "MILDClassifier": {
        semi: {**NETWORK, "selector": sknoisy.CleanSampleSelector(**selection), "semi": semi}
        for semi, selection in {
            "mixmatch": {**SELECTION, "n_folds": 0},
            "none": SELECTION,
            "mixup+contrastive": {**SELECTION, "n_folds": 0},
        }.items()
    },
    "ProMixClassifier": {"": {**NETWORK, "n_warmup_epochs": 1}},
    "CleanSampleSelector": {
        "": SELECTION,
        "segments": {
            **SELECTION,
            "n_rounds": 3,
            "metric": "segments",
            "reset": False,
            "stopping": False,
        },
    },
    "LabelAuditor": {"": {"method": "fast", "random_state": 0}},
    "LabelPurifier": {
        "": PURIFICATION,
        "auxiliary": {**PURIFICATION, "correction": "auxiliary", "n_folds": 0},
        "released": {
            **PURIFICATION,
            "variant": PurificationVariant(
                objective="released", label_optimizer="adam", label_parameters="softmax"
            ),
        },
    },
    "NoisyLabelClassifier": {
        "ensemble": ENSEMBLE,
        "clid_mu": {
            "method": "clid_mu",
            "network_params": {"max_epochs": 6, "batch_size": 64},
            "random_state": 0,
        },
    },
    "PurifiedClassifier": {
        # Of the few rows of the checks with weights, the purifier leaves all labels as they are.
        "purifier": {
            "cleaner": sknoisy.LabelPurifier(**{**PURIFICATION, "random_state": 1}),
            "estimator": LogisticRegression(),
        },
        "neighbours": {"cleaner": MajorityLabels(), "estimator": LogisticRegression()},
        "rows": {"cleaner": DropRows(), "estimator": LogisticRegression()},
        "kernel": {
            "cleaner": MajorityLabels(n_neighbors=1),
            "estimator": SVC(kernel="precomputed"),
        },
    },
    "SimCLR": {"": TRAINING},
    "MoCo": {"": TRAINING},
    "SCARF": {"": TRAINING},
    "WeibullMixture": {
        "": {"random_state": 0},
        "direct": {"method": "direct", "random_state": 0},
        "three": {"n_components": 3, "n_init": 2, "random_state": 0},
    },
    "BetaMixture": {
        "wide": {"support": WIDE},
        "three": {"n_components": 3, "support": WIDE, "n_init": 2, "random_state": 0},
        "": {"random_state": 0},
    },
}
IN_CONTRACTS = {
    "ELRClassifier": ("", "plus"),
    "SOPClassifier": ("", "plus"),
    "CLIDMUClassifier": ("wnet", "vri", "no meta", "fixmatch", "dividemix"),
    "BetaMixture": ("",),
}
NOT_CHECKED = {"BetaMixture": ("",)}  # the checks have values beyond its support, (0, 1)

# Public estimators that are not in the registry, by the module that holds them.
OTHERS = {
    "SimCLR": representation,
    "MoCo": representation,
    "SCARF": representation,
    "WeibullMixture": mixture,
    "BetaMixture": mixture,
}


def class_of(name):
    """Return the class of this name."""
    return getattr(OTHERS.get(name, sknoisy), name)


@functools.cache
def quick_estimators(*, checks=False):
    """Return {name of the test case: unfitted estimator} of every public estimator.

    Parameters
    ----------
    checks : bool
        Whether to yield the variants for scikit-learn's checks, else those for the contracts.
    """
    found = {}
    for name in (*ESTIMATORS, *OTHERS):
        variants = QUICK.get(name, {})
        if checks:
            wanted = [v for v in variants if v not in NOT_CHECKED.get(name, ())]
        else:
            wanted = IN_CONTRACTS.get(name, list(variants)[:1])
        for variant in wanted:
            estimator = class_of(name)(**variants[variant])
            if not checks and is_classifier(estimator) and hasattr(estimator, "max_epochs"):
                estimator.set_params(max_epochs=2, batch_size=64)
            found["-".join(filter(None, (name, variant)))] = estimator
    return found


# By (class or name of the test case, contract): why the contract is not the estimator's. The
# contract is the name of the test without "test_".
LEFT_OUT = {
    ("LabelAuditor", "missing_labels"): "Rows without a label get a suggestion.",
    ("LabelAuditor", "labels_that_are_refused"): "Missing labels are not; test_auditor.py.",
    ("LabelAuditor", "bad_clean_masks"): (
        "A class without trusted rows is no error, as nothing is learned from them; "
        "test_auditor.py."
    ),
    ("LabelAuditor", "an_entry_of_a_dict_is_refused_by_name"): (
        "Its dict holds the names of classes, not parameters."
    ),
    ("FixMatchClassifier", "training_loss_falls"): "Pseudo-labels add a term after the warm-up.",
    ("CLIDMUClassifier-fixmatch", "training_loss_falls"): (
        "Pseudo-labels add a term after the warm-up."
    ),
    ("FlexMatchClassifier", "training_loss_falls"): "Pseudo-labels add a term after the warm-up.",
    ("ProMixClassifier", "training_loss_falls"): (
        "The loss after the warm-up is a sum over two heads and several views."
    ),
    ("PurifiedClassifier", "equal_weights_equal_none"): "Logistic regression weighs its penalty.",
    ("PurifiedClassifier", "only_ratios_of_weights_count"): "Logistic regression, again.",
    ("PurifiedClassifier", "weights_that_vanish_beside_the_largest"): (
        "It passes weights on: the classifier that it wraps decides about them."
    ),
    ("PurifiedClassifier", "bad_sample_weights"): (
        "It passes negative weights on: the classifier that it wraps decides about them."
    ),
    ("NoisyLabelClassifier", "pickle_grows_by_a_few_numbers_a_row"): (
        "Its trees have more nodes the more rows there are."
    ),
    ("PurifiedClassifier", "dtype_of_a_table_makes_no_difference"): (
        "It passes the dtype on, and logistic regression computes in float32 where X is."
    ),
}


@functools.cache
def _image_classifiers():
    return {
        f"{name}-images": clone(estimator).set_params(module_params=None)
        for name, estimator in quick_estimators().items()
        if name.startswith("CLIDMUClassifier")
    }


def over_estimators(contract, concerns=lambda estimator: True, *, images=False):
    """Parametrise a test by ``estimator``, unfitted, over the estimators that it concerns.

    Parameters
    ----------
    contract : str
        Name of the contract in ``LEFT_OUT``.
    concerns : callable
        Returns for an estimator whether the contract is about it.
    images : bool
        Whether to parametrise by ``kind`` as well and add CLID-MU on images, where augmentation
        draws. The fixture ``data`` returns X and y of a kind.
    """
    cases = [
        pytest.param(estimator, *["table"] * images, id=name)
        for name, estimator in quick_estimators().items()
        if concerns(estimator)
        and not {(type(estimator).__name__, contract), (name, contract)} & LEFT_OUT.keys()
    ]
    if images:
        cases += [pytest.param(e, "images", id=name) for name, e in _image_classifiers().items()]
    return pytest.mark.parametrize("estimator, kind" if images else "estimator", cases)


def takes(*names):
    """Return a condition: ``fit`` has all of these parameters."""
    return lambda estimator: {*names} <= inspect.signature(estimator.fit).parameters.keys()


def has(*names):
    """Return a condition: the estimator has all of these methods or parameters."""
    return lambda estimator: all(hasattr(estimator, name) for name in names)


def is_mixture(estimator):
    """Whether the estimator is a mixture of one column of values."""
    return type(estimator).__module__.startswith("sknoisy.mixture")


def rows_for(estimator, X):
    """Return a table of the form that the estimator takes: mixtures take a column in (0, 1)."""
    return 1 / (1 + np.exp(-X[:, :1])) if is_mixture(estimator) else X


def fit(estimator, X, y, **params):
    """Return a fitted clone."""
    return clone(estimator).fit(X, y, **params)


_references = {}


def reference(estimator, X, y):
    """Return the fit on these arrays that all tests share: read it, do not fit it again."""
    key = id(estimator), X.tobytes(), y.tobytes()
    if key not in _references:
        _references[key] = fit(estimator, X, y)
    return _references[key]


def outputs(estimator, X):
    """Return by name all that a fitted estimator gives: predictions of X and fitted arrays."""
    methods = ("predict", "predict_proba", "features", "transform", "score_samples")
    found = {name: getattr(estimator, name)(X) for name in methods if hasattr(estimator, name)}
    for name, value in vars(estimator).items():
        if name.endswith("_") and isinstance(value, np.ndarray) and name != "feature_names_in_":
            found[name] = value
    if hasattr(estimator, "audit_"):
        columns = estimator.audit_.to_dict()
        found |= {name: columns[name] for name in ("score", "probability", "outlier_score")}
    if isinstance(getattr(estimator, "history_", None), History):
        found["train_loss"] = np.array(estimator.history_[:, "train_loss"])
    return found


def assert_same(first, X_first, second, X_second, atol=0, without=()):
    """Check that two fitted estimators give the same: all that ``outputs`` returns."""
    expected, found = outputs(first, X_first), outputs(second, X_second)
    assert expected
    assert expected.keys() == found.keys()
    for name in expected.keys() - {*without}:
        if atol and expected[name].dtype.kind == "f":
            assert_allclose(found[name], expected[name], atol=atol, err_msg=name)
        else:
            assert_array_equal(found[name], expected[name], err_msg=name)
