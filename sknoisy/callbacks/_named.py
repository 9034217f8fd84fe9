"""Callbacks that refer to one another: by name, and in an order that is checked."""

from __future__ import annotations

from typing import Any

__all__ = ["callback_named", "check_recorded_before"]


def callback_named(net, name: str, parameter: str, attribute: str) -> Any:
    """Return a callback of a net by its name.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised. An unnamed callback has the name of its class.
    name, parameter : str
        The name, and the parameter that holds it, for the message.
    attribute : str
        What the callback must have.

    Raises
    ------
    ValueError
        If there is no such callback, or it lacks the attribute.
    """
    found = dict(net.callbacks_).get(name)
    if found is None or not hasattr(found, attribute):
        able = [key for key, callback in net.callbacks_ if hasattr(callback, attribute)]
        what = "is no callback of the net" if found is None else f"has no {attribute}"
        raise ValueError(
            f"{parameter}={name!r} {what}; callbacks with {attribute} are {able}. Pass one of "
            "their names; a callback without a name has that of its class."
        )
    return found


def check_recorded_before(net, key: str, reader: str) -> None:
    """Check that what a callback reads of an epoch was recorded by one that runs before it.

    Parameters
    ----------
    net : skorch.NeuralNet
        At the end of an epoch.
    key : str
        Key of the history.
    reader : str
        Name of the callback that reads it, for the message.

    Raises
    ------
    ValueError
        If the epoch before has the key and this one does not have it yet.
    """
    if len(net.history) > 1 and key in net.history[-2] and key not in net.history[-1]:
        raise ValueError(
            f"{reader} reads {key!r} of the history before it is recorded. Put it behind the "
            f"callback that records {key!r} in the list of callbacks."
        )
