"""Interruption of a fit by Ctrl-C or ``max_time``: one stop that all parts of the fit see.

The outermost ``fit`` of the library opens it (:func:`interruptible`). The fits, rounds, folds
and members inside it begin as named parts (:func:`part_of_fit`), which refuse to begin once the
stop is set. A KeyboardInterrupt is caught where training or rounds may be cut short
(:func:`cut_short`), and nowhere else.

``max_time`` raises OutOfTime at a batch, which ends the training. Other than after Ctrl-C, later
parts begin, and train on one batch each, so that the estimator is fitted in any case.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import torch

from .._compat import restored_torch_modes
from ..exceptions import InterruptedFitWarning, calls_of_the_user, warn_user

__all__ = [
    "OutOfTime",
    "Stop",
    "Stopped",
    "current_stop",
    "cut_short",
    "interruptible",
    "is_part_of_fit",
    "part_of_fit",
]

# Modules of scikit-learn and imbalanced-learn that only pass a call on. Others may go on with the
# next fit: searches, cross-validations, ensembles.
_PASS_ON = ("base", "utils")


class Stopped(KeyboardInterrupt):
    """Raised where a part of a fit would begin although the fit was interrupted."""


class OutOfTime(KeyboardInterrupt):
    """Raised at a batch after ``max_time`` seconds."""


class Stop:
    """The interruption of an outermost fit.

    Parameters
    ----------
    is_repeated : bool, default=False
        Whether a loop of another library called the fit. It would go on with the next fit, so that
        no interruption is caught.

    Attributes
    ----------
    is_set : bool
        Whether an interruption by the user was caught.
    is_out_of_time : bool
        Whether a training was ended by ``max_time``.
    where : str or None
        The first part that was interrupted, to follow "fit was interrupted".
    result : str
        What the fit returns if it was interrupted, for the warning.
    """

    def __init__(self, is_repeated: bool = False):
        self.is_repeated, self.is_set, self.is_out_of_time = is_repeated, False, False
        self._deadline = math.inf
        self.where: str | None = None
        self.result = "the estimator is fitted with what was learned so far"
        self._parts: list[str] = []

    def check(self) -> None:
        """Raise Stopped if the fit was interrupted."""
        if self.is_set:
            raise Stopped

    def check_time(self) -> None:
        """Raise OutOfTime after the deadline."""
        if time.monotonic() >= self._deadline:
            raise OutOfTime

    @contextmanager
    def limited(self, seconds: float | None) -> Iterator[None]:
        """Set the deadline within the context, unless an earlier one is set; None: no limit."""
        earlier = self._deadline
        if seconds is not None:
            self._deadline = min(earlier, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._deadline = earlier

    def begin(self, name: str) -> None:
        """Enter a part."""
        self.check()
        self._parts.append(name)

    @property
    def has_parts(self) -> bool:
        """Whether a part has begun and not ended."""
        return bool(self._parts)

    def end(self) -> None:
        """Leave the innermost part."""
        self._parts.pop()

    def note(self, done: str = "") -> None:
        """Record the innermost part that is interrupted, and how much of it was done."""
        if self.where is None:
            inside = ", ".join(self._parts)
            self.where = ", ".join(filter(None, [inside and f"in {inside}", done]))

    def catch(self, error: KeyboardInterrupt, done: str = "") -> None:
        """Set the stop; raise the error if it must not be caught, as that of a second Ctrl-C."""
        self.note(done)
        if isinstance(error, OutOfTime):
            self.is_out_of_time = True
            return
        if not isinstance(error, Stopped) and (self.is_set or self.is_repeated):
            raise error
        self.is_set = True


_STOP: ContextVar[Stop | None] = ContextVar("sknoisy_stop", default=None)


def current_stop() -> Stop:
    """Return the stop of the outermost fit; a new one outside any fit."""
    return _STOP.get() or Stop()


def is_part_of_fit() -> bool:
    """Return whether this runs inside a named part of a fit."""
    return current_stop().has_parts


@contextmanager
def part_of_fit(name: str) -> Iterator[Stop]:
    """Name a part of the fit for the warning; raise Stopped if the fit was interrupted."""
    stop = current_stop()
    stop.begin(name)
    try:
        yield stop
    except KeyboardInterrupt:
        stop.note()
        raise
    finally:
        stop.end()


@contextmanager
def cut_short() -> Iterator[Stop]:
    """End the block, not more, at an interruption; what it did before must be usable."""
    stop = current_stop()
    try:
        yield stop
    except KeyboardInterrupt as error:
        stop.catch(error)


def interruptible(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Open a stop around the outermost ``fit``, and warn at its end if it was interrupted.

    The decorated method belongs to an estimator with a method ``_forget``, which is called if the
    interruption left nothing usable; the KeyboardInterrupt then goes on.
    """

    @functools.wraps(fit)
    def wrapped(self, *args, **kwargs):
        if _STOP.get() is not None:
            return _fit_part(fit, self, *args, **kwargs)
        stop = Stop(_is_called_by_a_loop())
        context = copy_context()  # ends with the fit, whatever happens
        context.run(_STOP.set, stop)
        try:
            # An interruption on the way out of torch.no_grad leaves gradients off.
            with restored_torch_modes(), torch.set_grad_enabled(torch.is_grad_enabled()):
                fitted = context.run(_fit_part, fit, self, *args, **kwargs)
        except KeyboardInterrupt:
            stop.note()
            _warn(stop, f"{type(self).__name__} is not fitted")
            raise
        if stop.is_set or stop.is_out_of_time:
            _warn(stop, stop.result)
        return fitted

    return wrapped


def _fit_part(fit: Callable[..., Any], estimator: Any, *args, **kwargs) -> Any:
    """Call a fit; if nothing usable is learned, leave the estimator not fitted."""
    stop = current_stop()
    try:
        stop.check()
        with stop.limited(getattr(estimator, "max_time", None)):
            return fit(estimator, *args, **kwargs)
    except KeyboardInterrupt:
        estimator._forget()
        raise


def _warn(stop: Stop, result: str) -> None:
    where = f" {stop.where}" if stop.where else ""
    cause = "ended by max_time" if stop.is_out_of_time and not stop.is_set else "interrupted"
    warn_user(f"fit was {cause}{where}; {result}.", InterruptedFitWarning)


def _is_called_by_a_loop() -> bool:
    """Return whether code that may fit further estimators stands between the user and this fit."""
    for module, function in calls_of_the_user():
        library, _, rest = module.partition(".")
        # A pipeline calls its last step in its public methods, earlier steps in private functions.
        is_last_step = rest == "pipeline" and function.startswith("fit")
        is_other = library in ("sklearn", "imblearn") and not rest.startswith(_PASS_ON)
        if is_other and not is_last_step:
            return True
    return False
