"""Warnings and errors of sknoisy."""

import sys
import warnings
from collections.abc import Iterator
from types import FrameType

__all__ = [
    "CheckpointWarning",
    "CollapseWarning",
    "ConstantColumnWarning",
    "InterruptedFitWarning",
    "LabelWarning",
    "MixtureWarning",
    "NonFiniteLossError",
    "PrecisionWarning",
    "SelectionWarning",
    "ShrunkenClassWarning",
]

# The search for the user's line skips the frames of these packages.
_LIBRARIES = {"concurrent", "contextlib", "imblearn", "joblib", "sklearn", "sknoisy", "skorch"}
_LIBRARIES |= {"threading", "torch"}


class CheckpointWarning(UserWarning):
    """Warning issued when a checkpoint cannot be written, as on a full disk.

    Training goes on, and an earlier checkpoint stays as it is. The warning is also issued when a
    fit goes on with a callback whose state the checkpoint does not hold.

    Examples
    --------
    Turn the warning into an error to stop at the first checkpoint that cannot be written:

    >>> import tempfile
    >>> import warnings
    >>> from sknoisy.exceptions import CheckpointWarning
    >>> from sknoisy.representation import SCARF
    >>> with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
    ...     warnings.simplefilter("error", CheckpointWarning)
    ...     scarf = SCARF(max_epochs=1, checkpoint=f"{folder}/run.pt")
    ...     scarf = scarf.fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    """


class CollapseWarning(UserWarning):
    """Warning issued when a collapsing network is set back to an earlier epoch.

    A network collapses when its predictions become nearly constant, or when it hardly predicts a
    class any more.

    Examples
    --------
    Turn the warning into an error to stop a search at the first collapse:

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


class ConstantColumnWarning(UserWarning):
    """Warning issued when a column of X is taken for constant although it may not be.

    The column has no value in the training rows, or its values differ by less than float64
    resolves beside their size.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from sknoisy import CLIDMUClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> X = np.column_stack([X, np.full(len(X), np.nan)])
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     clf = CLIDMUClassifier(max_epochs=2, random_state=0).fit(X, y)
    >>> print(str(caught[0].message).partition(":")[0])
    X has no value in column 4
    """


class InterruptedFitWarning(UserWarning):
    """Warning issued when the user interrupts ``fit``, or when ``max_time`` ends it.

    It names the part that was interrupted, and says whether the estimator is fitted with what was
    learned so far, or is not fitted. In the latter case a KeyboardInterrupt follows.

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


class LabelWarning(UserWarning):
    """Warning issued when labels may not be meant as ``fit`` takes them.

    This is the case if -1 is the only negative label, which may mark unlabelled rows, unless y
    holds exactly -1 and 1; if a label is an empty string or the word "nan" or "None"; or if the
    names of two classes differ only in case or surrounding blanks.

    Examples
    --------
    Turn the warning into an error to stop at such labels:

    >>> import warnings
    >>> from sknoisy import CLIDMUClassifier
    >>> from sknoisy.exceptions import LabelWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", LabelWarning)
    ...     try:
    ...         CLIDMUClassifier().fit([[0.0], [1.0], [2.0]], ["cat", "Cat", "dog"])
    ...     except LabelWarning:
    ...         print("stopped")
    stopped
    """


class MixtureWarning(UserWarning):
    """Warning issued when a loss mixture does not separate the rows.

    The rows are then split by the rank of their losses.

    Examples
    --------
    Turn the warning into an error to stop if the losses do not separate right labels from wrong
    ones:

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
    """Error raised when the training loss becomes NaN or infinite.

    Parameters
    ----------
    message : str
        Message with the epoch, the batch and the learning rate.
    last_finite_state : dict of str to Tensor or None, default=None
        State dict of the network at the end of the last complete epoch or, if there is none, at
        the start of training. The tensors are on the CPU.

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


class PrecisionWarning(UserWarning):
    """Warning issued when an exported classifier takes rows in a type that loses their digits.

    Examples
    --------
    >>> import tempfile
    >>> import warnings
    >>> from sklearn.datasets import load_iris
    >>> from sknoisy import CLIDMUClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = CLIDMUClassifier(max_epochs=2, random_state=0).fit(X + 1e6, y)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     with tempfile.TemporaryDirectory() as folder:
    ...         clf.export_onnx(f"{folder}/iris.onnx")
    ...         clf.export_onnx(f"{folder}/iris.onnx", dtype="float64")
    >>> [warning.category.__name__ for warning in caught]
    ['PrecisionWarning']
    """


class SelectionWarning(UserWarning):
    """Warning issued when a selection of rows is doubtful.

    This is the case if a round of the selection failed, or if the labels look like pure noise.

    Examples
    --------
    Turn the warning into an error to stop if the labels are pure noise:

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


class ShrunkenClassWarning(UserWarning):
    """Warning issued when cleaning takes more than half of the rows of a class.

    Most labels of the class may be wrong, or the class is too rare to be learned.

    Examples
    --------
    Turn the warning into an error to stop if a class shrinks:

    >>> import warnings
    >>> import numpy as np
    >>> from sknoisy import LabelPurifier
    >>> from sknoisy.exceptions import ShrunkenClassWarning
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(size=(300, 2)), rng.normal(8, 1, size=(30, 2))]
    >>> y = np.r_[np.arange(300) % 5 == 0, np.ones(30)]  # a fifth of the first 300 are wrong
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ShrunkenClassWarning)
    ...     try:
    ...         LabelPurifier(n_components=64, random_state=0).fit(X, y)
    ...     except ShrunkenClassWarning:
    ...         print("a class has shrunk")
    a class has shrunk
    """


def calls_of_the_user() -> Iterator[tuple[str, str]]:
    """Yield module and function of each call from here to the user's line, this one left out."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in _LIBRARIES:
            return
        yield module, frame.f_code.co_name
        frame = frame.f_back


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the user's line.

    This is the innermost line outside this library and the libraries that it is built on.

    Parameters
    ----------
    message : str
        Text of the warning.
    category : type of Warning, default=UserWarning
        Class of the warning.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        if frame.f_back is None:  # no frame is the user's, as in a thread
            level = 2
            break
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
