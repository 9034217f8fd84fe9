"""The methods of the library, each named in one place.

:class:`~sknoisy.NoisyLabelClassifier` takes its ``method`` from here, ``sknoisy`` its public
estimators, the documentation its tables, and the common tests what they run on. Nothing heavy is
imported until an estimator is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["ESTIMATORS", "METHODS", "Method", "estimator_class"]


class Method(NamedTuple):
    """A method and where it stands.

    Attributes
    ----------
    estimator : str
        Name of the classifier.
    module : str
        Module of the package that holds it.
    title : str
        Name of the method in texts.
    idea : str
        What it does with wrong labels, in a few words.
    paper : str
        Where it was published.
    """

    estimator: str
    module: str
    title: str
    idea: str
    paper: str


# The key is the name that NoisyLabelClassifier(method=...) takes and that of the page in the docs.
METHODS: dict[str, Method] = {
    "clid_mu": Method(
        "CLIDMUClassifier",
        "methods.clid_mu",
        "CLID-MU",
        "learns row weights by a meta objective that needs no trusted labels",
        "KDD 2025",
    ),
    "dmlp": Method(
        "DMLPClassifier",
        "methods.dmlp",
        "DMLP",
        "purifies labels on frozen features, then trains on them",
        "CVPR 2023",
    ),
    "famus": Method(
        "FaMUSClassifier",
        "methods.famus",
        "FaMUS",
        "learns row weights with two networks and a meta gradient of few layers",
        "CVPR 2021",
    ),
    "l2r": Method(
        "L2RClassifier",
        "methods.l2r",
        "L2R",
        "weights rows by how well their gradients agree with those of the meta set",
        "ICML 2018",
    ),
    "meta_weight_net": Method(
        "MetaWeightNetClassifier",
        "methods.meta_weight_net",
        "Meta-Weight-Net",
        "learns the weight of a row as a function of its loss",
        "NeurIPS 2019",
    ),
    "mild": Method(
        "MILDClassifier",
        "methods.mild",
        "MILD",
        "selects rows by when they are learned and forgotten",
        "IJCAI 2023",
    ),
    "mlc": Method(
        "MLCClassifier",
        "methods.mlc",
        "MLC",
        "learns a network that corrects labels",
        "AAAI 2021",
    ),
    "mlnt": Method(
        "MLNTClassifier",
        "methods.mlnt",
        "MLNT",
        "trains a network that synthetic label noise does not move",
        "CVPR 2019",
    ),
    "mslc": Method(
        "MSLCClassifier",
        "methods.mslc",
        "MSLC",
        "learns to mix given label, last soft label and prediction",
        "AAAI 2021",
    ),
    "transition_mlc": Method(
        "TransitionMLCClassifier",
        "methods.transition_mlc",
        "transition MLC",
        "learns a transition matrix between true and given labels, batch by batch",
        "CVPR 2020",
    ),
}

# Public estimators that are no method of their own.
_OTHERS = {
    "CleanSampleSelector": "methods.mild",
    "LabelPurifier": "methods.dmlp",
    "NoisyLabelClassifier": "methods.auto",
    "PurifiedClassifier": "cleaning",
}

ESTIMATORS: dict[str, str] = {
    **{method.estimator: method.module for method in METHODS.values()},
    **_OTHERS,
}


def estimator_class(name: str) -> Any:
    """Import and return a public estimator by the name of its class."""
    root = __name__.partition(".")[0]
    return getattr(import_module(f"{root}.{ESTIMATORS[name]}"), name)
