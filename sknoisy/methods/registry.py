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
    """A method: name of its classifier, title in the documentation, venue and year, idea."""

    estimator: str
    title: str
    paper: str
    idea: str


# The key is the name in NoisyLabelClassifier(method=...), that of the page in docs/methods, and
# that of the module in sknoisy/methods. An idea has no subject: the method is.
# fmt: off
METHODS: dict[str, Method] = {
    "cdr": Method(
        "CDRClassifier", "CDR", "ICLR 2021",
        "trains the weights that matter most for the loss, and shrinks the others",
    ),
    "clid_mu": Method(
        "CLIDMUClassifier", "CLID-MU", "KDD 2025",
        "learns row weights by a meta objective that needs no trusted labels",
    ),
    "co_teaching": Method(
        "CoTeachingClassifier", "Co-teaching", "NeurIPS 2018",
        "trains two networks, each on the rows of small loss that the other one chooses",
    ),
    "divide_mix": Method(
        "DivideMixClassifier", "DivideMix", "ICLR 2020",
        "divides the rows by their losses and learns those with wrong labels without their "
        "labels; two networks divide for each other",
    ),
    "dmlp": Method(
        "DMLPClassifier", "DMLP", "CVPR 2023",
        "purifies the labels on frozen features, then trains on the purified labels",
    ),
    "elr": Method(
        "ELRClassifier", "ELR", "NeurIPS 2020",
        "holds the network to its own earlier predictions of each row",
    ),
    "famus": Method(
        "FaMUSClassifier", "FaMUS", "CVPR 2021",
        "learns row weights by a meta gradient through a few layers; two networks choose meta "
        "rows for each other"
    ),
    "fixmatch": Method(
        "FixMatchClassifier", "FixMatch", "NeurIPS 2020",
        "learns confident predictions of weak views as the labels of strong views",
    ),
    "flexmatch": Method(
        "FlexMatchClassifier", "FlexMatch", "NeurIPS 2021",
        "does as FixMatch, with a threshold of confidence for each class",
    ),
    "l2r": Method(
        "L2RClassifier", "L2R", "ICML 2018",
        "weights rows by how well their gradients agree with those of the meta set",
    ),
    "meta_weight_net": Method(
        "MetaWeightNetClassifier", "Meta-Weight-Net", "NeurIPS 2019",
        "learns the weight of a row as a function of its loss",
    ),
    "mild": Method(
        "MILDClassifier", "MILD", "IJCAI 2023",
        "selects rows that are easy to memorise and hard to forget",
    ),
    "mlc": Method(
        "MLCClassifier", "MLC", "AAAI 2021",
        "learns a second network that replaces given labels by soft labels",
    ),
    "mlnt": Method(
        "MLNTClassifier", "MLNT", "CVPR 2019",
        "moves the network to where steps on synthetic noisy labels hardly change its "
        "predictions"
    ),
    "mslc": Method(
        "MSLCClassifier", "MSLC", "AAAI 2021",
        "learns to mix given label, last soft label and prediction",
    ),
    "pro_mix": Method(
        "ProMixClassifier", "ProMix", "IJCAI 2023",
        "selects rows by small losses and matched confidence, and guesses labels where two "
        "networks agree",
    ),
    "sop": Method(
        "SOPClassifier", "SOP", "ICML 2022",
        "learns a sparse correction of each row, which takes up the wrong labels",
    ),
    "transition_mlc": Method(
        "TransitionMLCClassifier", "transition MLC", "CVPR 2020",
        "chooses a transition matrix from true to given labels in each batch",
    ),
}
# fmt: on

# Public estimators that are not methods.
_OTHERS = {
    "CleanSampleSelector": "methods.mild",
    "LabelAuditor": "audit",
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
