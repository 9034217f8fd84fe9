"""The variants of DMLP: the library's own, the published one and the released one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Integral, Real

from ..._compat import Interval, StrOptions, validate_parameter_constraints

__all__ = ["PurificationVariant", "variant_named"]

_CONSTRAINTS: dict = {
    "objective": [StrOptions({"paper", "released"})],
    "label_parameters": [StrOptions({"raw", "softmax"})],
    "label_optimizer": [StrOptions({"sgd", "adam"})],
    "label_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    "classifier_lr": [Interval(Real, 0, None, closed="neither")],
    "entropy_sign": [StrOptions({"auto"}), Interval(Integral, -1, 1, closed="both")],
    "ridge": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    "correction_period": [Interval(Integral, 1, None, closed="left")],
    "correction_momentum": [Interval(Real, 0, 1, closed="both")],
}


@dataclass(frozen=True, kw_only=True)
class PurificationVariant:
    r"""Options in which the paper, its released code and this library differ.

    :class:`~sknoisy.LabelPurifier` takes an instance as `variant`. The defaults are those of
    ``variant="default"``. Equation numbers are those of the paper [1]_.

    Parameters
    ----------
    objective : {"paper", "released"}, default="paper"
        Meta objective of the labels (Eq. 6) and loss of the linear classifier (Eq. 8), as
        published or as in the released code.
    label_parameters : {"raw", "softmax"}, default="raw"
        φ in Eq. 4. "raw" learns the labels themselves, "softmax" learns their logits.
    label_optimizer : {"sgd", "adam"}, default="sgd"
        Optimiser of the labels (Eq. 7).
    label_lr : "auto" or float, default="auto"
        Learning rate of the labels, :math:`\eta_I` in Eq. 7. "auto" is 0.01 with "adam". With
        "sgd" it is nine tenths of the longest step that cannot increase the squared error on the
        validation rows.
    classifier_lr : float, default=0.006
        Learning rate of the linear classifier.
    entropy_sign : {"auto", -1, 0, 1}, default="auto"
        Sign of the entropy in the loss of the linear classifier; 1 makes its predictions sharper.
        "auto" is 1 for the objective "paper" (Eq. 8) and -1 for "released".
    ridge : "auto" or float, default="auto"
        :math:`\lambda` in Eq. 4. "auto" chooses the value with the smallest leave-one-out error
        in each round.
    correction_period : int, default=5
        Epochs of a round, T in Eq. 9. New labels are written back at the end of each round.
    correction_momentum : float, default=1.0
        Share of the new labels in a write-back, :math:`\eta_E` in Eq. 9.

    Raises
    ------
    ValueError
        If a value is not allowed.

    References
    ----------
    .. [1] Y. Tu et al. Learning from Noisy Labels with Decoupled Meta Label Purifier. CVPR 2023.

    Examples
    --------
    >>> from sknoisy import LabelPurifier
    >>> from sknoisy.methods.dmlp import PurificationVariant
    >>> variant = PurificationVariant(correction_period=10, correction_momentum=0.5)
    >>> purifier = LabelPurifier(variant=variant)
    >>> purifier.variant.correction_period
    10
    """

    objective: str = "paper"
    label_parameters: str = "raw"
    label_optimizer: str = "sgd"
    label_lr: float | str = "auto"
    classifier_lr: float = 0.006
    entropy_sign: int | str = "auto"
    ridge: float | str = "auto"
    correction_period: int = 5
    correction_momentum: float = 1.0

    def __post_init__(self):
        validate_parameter_constraints(_CONSTRAINTS, asdict(self), type(self).__name__)

    @property
    def classifier_entropy_sign(self) -> int:
        """``entropy_sign``, with the value that "auto" stands for."""
        if self.entropy_sign == "auto":
            return 1 if self.objective == "paper" else -1
        return int(self.entropy_sign)


_PRESETS = {
    "default": PurificationVariant(),
    "paper": PurificationVariant(
        label_parameters="softmax", label_lr=0.01, ridge=1.0, correction_period=100
    ),
    "released": PurificationVariant(
        objective="released", label_optimizer="adam", ridge=0.0, correction_period=20
    ),
}


def variant_named(variant: str | PurificationVariant) -> PurificationVariant:
    """Return the variant of this name; an instance is returned as it is."""
    return _PRESETS[variant] if isinstance(variant, str) else variant
