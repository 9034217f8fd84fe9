"""The registry of methods: each is named here once.

The parameter ``method`` of :class:`~sknoisy.NoisyLabelClassifier`, the public estimators of
``sknoisy``, the table of methods in the documentation and the common tests all read it. Heavy
modules are not imported before :func:`estimator_class` is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["ESTIMATORS", "METHODS", "Method", "estimator_class"]


class Method(NamedTuple):
    """A method, its classifier and its paper.

    Attributes
    ----------
    estimator : str
        Name of the classifier.
    module : str
        Module of the package that holds it.
    title : str
        Name of the method in the documentation.
    idea : str
        Idea of the method in a few words, without a subject.
    paper : str
        Venue and year of the paper.
    """

    estimator: str
    module: str
    title: str
    idea: str
    paper: str


# The key is the name in NoisyLabelClassifier(method=...), and that of the page in docs/methods.
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
        "purifies the labels on frozen features, then trains on the purified labels",
        "CVPR 2023",
    ),
    "famus": Method(
        "FaMUSClassifier",
        "methods.famus",
        "FaMUS",
        "learns row weights by a meta gradient through a few layers; two networks choose meta "
        "rows for each other",
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
        "selects rows that are easy to memorise and hard to forget",
        "IJCAI 2023",
    ),
    "mlc": Method(
        "MLCClassifier",
        "methods.mlc",
        "MLC",
        "learns a second network that replaces given labels by soft labels",
        "AAAI 2021",
    ),
    "mlnt": Method(
        "MLNTClassifier",
        "methods.mlnt",
        "MLNT",
        "moves the network to where steps on synthetic noisy labels hardly change its predictions",
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
        "chooses a transition matrix from true to given labels in each batch",
        "CVPR 2020",
    ),
}

# Public estimators that are not methods.
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
    """Return a public estimator by the name of its class; imports its module."""
    root = __name__.partition(".")[0]
    return getattr(import_module(f"{root}.{ESTIMATORS[name]}"), name)
