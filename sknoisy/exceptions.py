"""Warnings and errors of sknoisy."""

import sys
import warnings

__all__ = [
    "CollapseWarning",
    "InterruptedFitWarning",
    "MixtureWarning",
    "NonFiniteLossError",
    "SelectionWarning",
]

# Frames of these packages are passed over in the search for the user's line.
_LIBRARIES = {"concurrent", "contextlib", "imblearn", "joblib", "sklearn", "sknoisy", "skorch"}
_LIBRARIES |= {"threading", "torch"}


class CollapseWarning(UserWarning):
    """The network began to predict the same for every row, or lost a class, and was set back.

    Examples
    --------
    To stop a search at the first collapse, make an error of it:

    >>> import warnings
    >>> from sknoisy import CLIDMUClassifier
    >>> from sknoisy.exceptions import CollapseWarning
    >>> from sklearn.datasets import load_iris
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", CollapseWarning)
    ...     clf = CLIDMUClassifier(max_epochs=8, random_state=0).fit(*load_iris(return_X_y=True))
    >>> clf.n_recoveries_
    0
    """


class InterruptedFitWarning(UserWarning):
    """Training was stopped by the user; the estimator is fitted with what was learned so far.

    Examples
    --------
    >>> import warnings
    >>> from skorch.callbacks import Callback
    >>> from sknoisy import CLIDMUClassifier
    >>> from sklearn.datasets import load_iris
    >>> class PressCtrlC(Callback):
    ...     def on_epoch_begin(self, net, **kwargs):
    ...         if len(net.history) == 3:
    ...             raise KeyboardInterrupt
    >>> clf = CLIDMUClassifier(callbacks=[PressCtrlC()], n_warmup_epochs=1, random_state=0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     clf = clf.fit(*load_iris(return_X_y=True))
    >>> caught[-1].category.__name__, clf.n_iter_
    ('InterruptedFitWarning', 2)
    """


class MixtureWarning(UserWarning):
    """A mixture of per-sample losses said nothing; rows were split by the rank of their losses.

    Examples
    --------
    To stop where the losses do not tell right labels from wrong ones, make an error of it:

    >>> import warnings
    >>> from sknoisy.exceptions import MixtureWarning
    >>> from sknoisy.mixture import split_by_loss
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", MixtureWarning)
    ...     try:
    ...         split_by_loss(losses=[1.0] * 20, targets=[0, 1] * 10)
    ...     except MixtureWarning:
    ...         print("no split")
    no split
    """


class NonFiniteLossError(ArithmeticError):
    """The training loss became NaN or infinite.

    Parameters
    ----------
    message : str
        Names epoch, batch and learning rate.
    last_finite_state : dict of str to Tensor or None, default=None
        The state dict of the network at the end of the last epoch before it, or at its start, on
        the CPU.

    Examples
    --------
    >>> from sknoisy import CLIDMUClassifier
    >>> from sknoisy.exceptions import NonFiniteLossError
    >>> from sklearn.datasets import load_iris
    >>> try:
    ...     CLIDMUClassifier(lr=1e30, weighting=None).fit(*load_iris(return_X_y=True))
    ... except NonFiniteLossError as error:
    ...     state = error.last_finite_state
    >>> bool(state["fc.weight"].isfinite().all())
    True
    """

    def __init__(self, message: str, last_finite_state: dict | None = None):
        super().__init__(message)
        self.last_finite_state = last_finite_state


class SelectionWarning(UserWarning):
    """A selection of rows that is doubtful: a round failed, or the labels look like pure noise.

    Examples
    --------
    To stop where the labels are pure noise, make an error of it:

    >>> import warnings
    >>> import numpy as np
    >>> from sknoisy import CleanSampleSelector
    >>> from sknoisy.exceptions import SelectionWarning
    >>> X, y = np.random.default_rng(0).normal(size=(400, 20)), np.arange(400) % 4
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", SelectionWarning)
    ...     try:
    ...         CleanSampleSelector(random_state=0).fit(X, y)
    ...     except SelectionWarning:
    ...         print("doubtful")
    doubtful
    """


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the user's line: the innermost call from outside.

    Parameters
    ----------
    message : str
        Text of the warning.
    category : type of Warning, default=UserWarning
        Its class.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        if frame.f_back is None:  # a thread that nobody outside has entered
            level = 2
            break
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
