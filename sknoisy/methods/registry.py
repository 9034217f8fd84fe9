"""The registry of methods: each is named here once.

The parameter ``method`` of :class:`~sknoisy.NoisyLabelClassifier`, the public estimators of
``sknoisy``, the table of methods in the documentation and the common tests all read it. Heavy
modules are not imported before :func:`estimator_class` is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["ESTIMATORS", "METHODS", "Method", "estimator_class"]


class Method(NamedTuple):
    """A method: name of its classifier, title in the documentation, venue and year, idea."""

    estimator: str
    title: str
    paper: str
    idea: str


# The key is the name in NoisyLabelClassifier(method=...), that of the page in docs/methods, and
# that of the module in sknoisy/methods. The idea, on a line of its own, has no subject.
_TABLE = """
clid_mu, CLIDMUClassifier, CLID-MU, KDD 2025
    learns row weights by a meta objective that needs no trusted labels
dmlp, DMLPClassifier, DMLP, CVPR 2023
    purifies the labels on frozen features, then trains on the purified labels
famus, FaMUSClassifier, FaMUS, CVPR 2021
    learns row weights by a meta gradient through a few layers; two networks choose meta rows for
    each other
l2r, L2RClassifier, L2R, ICML 2018
    weights rows by how well their gradients agree with those of the meta set
meta_weight_net, MetaWeightNetClassifier, Meta-Weight-Net, NeurIPS 2019
    learns the weight of a row as a function of its loss
mild, MILDClassifier, MILD, IJCAI 2023
    selects rows that are easy to memorise and hard to forget
mlc, MLCClassifier, MLC, AAAI 2021
    learns a second network that replaces given labels by soft labels
mlnt, MLNTClassifier, MLNT, CVPR 2019
    moves the network to where steps on synthetic noisy labels hardly change its predictions
mslc, MSLCClassifier, MSLC, AAAI 2021
    learns to mix given label, last soft label and prediction
transition_mlc, TransitionMLCClassifier, transition MLC, CVPR 2020
    chooses a transition matrix from true to given labels in each batch
"""


def _read_table() -> Iterator[tuple[str, Method]]:
    for head, idea in re.findall(r"^(\w.+)\n((?:    .+\n)+)", _TABLE, flags=re.M):
        key, estimator, title, paper = head.split(", ")
        yield key, Method(estimator, title, paper, " ".join(idea.split()))


METHODS: dict[str, Method] = dict(_read_table())

# Public estimators that are not methods.
_OTHERS = {
    "CleanSampleSelector": "methods.mild",
    "LabelPurifier": "methods.dmlp",
    "NoisyLabelClassifier": "methods.auto",
    "PurifiedClassifier": "cleaning",
}

ESTIMATORS: dict[str, str] = {
    **{method.estimator: f"methods.{key}" for key, method in METHODS.items()},
    **_OTHERS,
}


def estimator_class(name: str) -> Any:
    """Return a public estimator by the name of its class; imports its module."""
    root = __name__.partition(".")[0]
    return getattr(import_module(f"{root}.{ESTIMATORS[name]}"), name)
