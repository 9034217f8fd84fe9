"""Warnings and errors of sknoisy."""

__all__ = ["CollapseWarning", "InterruptedFitWarning", "NonFiniteLossError"]


class CollapseWarning(UserWarning):
    """The network began to predict the same for every row, or lost a class, and was set back."""


class InterruptedFitWarning(UserWarning):
    """Training was stopped by the user; the estimator is fitted with what was learned so far."""


class NonFiniteLossError(ArithmeticError):
    """The training loss became NaN or infinite.

    The message names epoch, batch and learning rate. ``last_finite_state`` is the state dict of
    the network at the end of the last epoch before it, or at its start, on the CPU.
    """

    def __init__(self, message: str, last_finite_state: dict | None = None):
        super().__init__(message)
        self.last_finite_state = last_finite_state
