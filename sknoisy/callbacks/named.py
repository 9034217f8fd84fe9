"""Look-up of callbacks by name, and a check of their order."""

from __future__ import annotations

from typing import Any

__all__ = ["RecordedInTime", "callback_named", "network_of"]


def callback_named(net, name: str, parameter: str, attribute: str) -> Any:
    """Return a callback of a net by its name.

    Parameters
    ----------
    net : skorch.NeuralNet
        An initialised net. An unnamed callback has the name of its class.
    name : str
        Name of the callback.
    parameter : str
        Parameter of the calling callback that holds the name, for the message.
    attribute : str
        Attribute that the callback must have.

    Returns
    -------
    callback : skorch.callbacks.Callback

    Raises
    ------
    ValueError
        If the net has no callback of this name, or the callback lacks the attribute.
    """
    found = dict(net.callbacks_).get(name)
    if found is None or not hasattr(found, attribute):
        able = [key for key, callback in net.callbacks_ if hasattr(callback, attribute)]
        what = "is no callback of the net" if found is None else f"has no {attribute}"
        if not able:
            raise ValueError(
                f"{parameter}={name!r} {what}, and no other callback has {attribute}. Add one to "
                "the net's callbacks; without a name of its own it has that of its class."
            )
        raise ValueError(
            f"{parameter}={name!r} {what}; callbacks with {attribute} are {able}. Pass one of "
            "their names; a callback without a name has that of its class."
        )
    return found


def network_of(net, teacher: str | None) -> Any:
    """Return the network of a teacher that is a callback of this name; None: the net's own."""
    if teacher is None:
        return net.module_
    return callback_named(net, teacher, "teacher", "teacher_").teacher_


class RecordedInTime:
    """Check that a key of the history is recorded before a callback reads it.

    Parameters
    ----------
    key : str
        Key of the history.
    reader : str
        Name of the callback that reads it, for the message.
    """

    def __init__(self, key: str, reader: str):
        self.key, self.reader = key, reader
        self._was_missing = False

    def read(self, net, default: Any = None) -> Any:
        """Return the value of the epoch that ends."""
        self._was_missing = self.key not in net.history[-1]
        return net.history[-1].get(self.key, default)

    def check(self, net, epoch: int = -2) -> None:
        """Check an epoch that has ended: when the next one begins, or training ends (-1).

        Raises
        ------
        ValueError
            If the epoch has the key, but did not when it was read.
        """
        if self._was_missing and self.key in net.history[epoch]:
            raise ValueError(
                f"{self.reader} reads {self.key!r} of the history before it is recorded. Put it "
                f"behind the callback that records {self.key!r} in the list of callbacks."
            )
