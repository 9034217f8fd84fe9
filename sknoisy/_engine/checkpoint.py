"""Checkpoints: a fit that was killed goes on where it was.

A fit is the same from its seed on, whatever it does beside training. Its checkpoint therefore
holds its trainings alone, one after the other: of a method of several rounds those of each round.
If ``fit`` is called again, finished trainings are read instead of done, and the one that was
killed goes on at its last complete epoch.
"""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch.callbacks import LRScheduler
from torch import Tensor, nn

from ..exceptions import CheckpointWarning, warn_user
from .batches import TrainingData
from .checkpoint_file import (
    as_bytes,
    check_path,
    digest_of_file,
    from_bytes,
    read_file,
    write_file,
)
from .construction import random_state_of
from .held_state import held_state, hold_state, packed
from .run_description import describe_run, digest_of_training

__all__ = ["Checkpoint", "Training", "open_checkpoint", "saved_to", "training_of"]


class Checkpoint:
    """The file of a fit.

    Parameters
    ----------
    path : Path
        File of the checkpoint.
    run : dict of str
        Description of the fit.
    seed : int or None
        Seed that was drawn for ``random_state=None``.
    trainings : list of Tensor
        What the file holds: the trainings in their order, as bytes.
    digest : bytes or None, default=None
        Digest of the file; None if there is none.
    say : callable or None, default=None
        Called with a message if a training goes on.
    """

    def __init__(
        self,
        path: Path,
        run: dict[str, str],
        seed: int | None,
        trainings: Sequence[Tensor] = (),
        digest: bytes | None = None,
        say: Callable[[str], None] | None = None,
    ):
        self.path, self.run, self.seed, self._say = path, run, seed, say
        self._trainings, self._digest = list(trainings), digest
        self._n_begun, self._is_taken = 0, False

    def begin(self, nets: Sequence[Any], data: TrainingData) -> Training:
        """Begin the next training of the fit; restore its nets if the file holds them."""
        place, self._n_begun = self._n_begun, self._n_begun + 1
        training, of_all = Training(self, place, nets, data), nets[0].max_epochs
        if place >= len(self._trainings):
            return training
        state = from_bytes(self._trainings[place])
        if state["data"] != training.digest or len(state["nets"]) != len(nets):
            raise ValueError(
                f"checkpoint={str(self.path)!r} holds a training on other rows or labels than "
                "those that were chosen now: a step before it, such as a selector of your own, "
                "chose differently. Give it a random_state, and delete the file."
            )
        _restore(nets, data, state)
        training.n_done = state["n_done"]
        is_last = place + 1 == len(self._trainings)
        if state["stopped"] and not any(net.stopped_early() for net in nets):
            warn_user(
                f"checkpoint={str(self.path)!r} holds a training that a callback ended after "
                f"{training.n_done} of {of_all} epochs. It is finished, and does not go on with "
                "other callbacks: delete the file to train anew.",
                CheckpointWarning,
            )
        if not state["finished"]:
            # Later ones began after this one had broken off, so they will be others.
            del self._trainings[place + 1 :]
            self._tell(f"goes on at epoch {training.n_done + 1} of {of_all}")
        elif is_last:
            self._tell("goes on after a training that was finished")
        training.is_finished = state["finished"]
        return training

    def write(self, place: int, training: Tensor, n_done: int) -> None:
        """Replace a training in the file, or add it.

        A file that another fit has written meanwhile stays as it is, and a warning tells once.
        """
        # The place is too high if max_time ended an earlier training in its first epoch.
        if self._is_taken or place > len(self._trainings):
            return
        self._trainings[place : place + 1] = [training]
        content = {"run": self.run, "seed": self.seed, "trainings": self._trainings}
        whole = as_bytes(content).numpy().tobytes()
        try:
            if digest_of_file(self.path) not in (None, self._digest):
                self._leave_to_other_fit()
                return
            self._digest = write_file(self.path, whole)
        except OSError as error:
            warn_user(
                f"checkpoint={str(self.path)!r} could not be written after epoch {n_done}: "
                f"{error.strerror or error}. It needs {len(whole):,} bytes. Training goes on; an "
                "earlier checkpoint stays as it is.",
                CheckpointWarning,
            )

    def _leave_to_other_fit(self) -> None:
        self._is_taken = True
        warn_user(
            f"checkpoint={str(self.path)!r} was written by another fit while this one "
            "trained, and stays as that fit leaves it. This fit trains on without a "
            "checkpoint: pass a path of its own to each fit, also to those of a search.",
            CheckpointWarning,
        )

    def _tell(self, message: str) -> None:
        if self._say is not None:
            self._say(f"{message}, by checkpoint={str(self.path)!r}")


class Training:
    """One training of a fit, of one or several nets side by side.

    Attributes
    ----------
    n_done : int
        Number of epochs that are done.
    is_finished : bool
        Whether all epochs are done, or a callback has stopped it early.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None = None,
        place: int = 0,
        nets: Sequence[Any] = (),
        data: TrainingData | None = None,
    ):
        self.checkpoint, self.place, self.nets, self.data = checkpoint, place, nets, data
        self.n_done, self.is_finished, self._is_tried = 0, False, False
        self.digest = "" if data is None else digest_of_training(data)

    def epochs_left(self, max_epochs: int) -> range:
        """Return the epochs to train, from 0."""
        return range(max_epochs if self.is_finished else self.n_done, max_epochs)

    def write(self, n_done: int, *, is_finished: bool, is_stopped: bool = False) -> None:
        """Write the state after so many epochs, if the fit has a checkpoint.

        `is_stopped` tells that a callback has finished the training early.
        """
        if self.checkpoint is None or self.data is None:
            return
        content = as_bytes(
            {
                "data": self.digest,
                "n_done": n_done,
                "finished": is_finished,
                "stopped": is_stopped,
                "nets": [_state_of(net, is_finished) for net in self.nets],
                "draws": _draws(self.nets, self.data),
            }
        )
        if not self._is_tried:
            _check_readable(content)
            self._is_tried = True
        self.checkpoint.write(self.place, content, n_done)


_CHECKPOINT: ContextVar[Checkpoint | None] = ContextVar("sknoisy_checkpoint", default=None)


def open_checkpoint(
    estimator: Any,
    device: torch.device,
    given: dict[str, Any],
    say: Callable[[str], None] | None = None,
) -> tuple[Checkpoint | None, np.random.RandomState]:
    """Return the checkpoint of a fit, if it has one, and its source of random draws.

    With ``random_state=None``, the seed is that of the file. `given` is what ``fit`` received, as
    in :func:`~sknoisy._engine.run_description.describe_run`.

    ValueError is raised if the file cannot be written, is no checkpoint, or belongs to another
    fit.
    """
    if getattr(estimator, "checkpoint", None) is None:  # as of a selector, whose rounds are saved
        return None, random_state_of(estimator.random_state)  # to the checkpoint of an outer fit
    path = check_path(estimator.checkpoint)
    digest = digest_of_file(path)
    found, random_state, seed = read_file(path), estimator.random_state, None
    if random_state is None:
        seed = None if found is None else found["seed"]
        if seed is None:
            seed = int(random_state_of(None).randint(np.iinfo(np.int32).max))
        random_state = seed
    rng = random_state_of(random_state)
    run = describe_run(estimator, device, rng, given)
    if found is None:
        return Checkpoint(path, run, seed, say=say), rng
    _check_same_run(path, found["run"], run)
    return Checkpoint(path, run, seed, found["trainings"], digest, say), rng


def _check_same_run(path: Path, written: dict[str, str], run: dict[str, str]) -> None:
    keys = [key for key in {**written, **run} if written.get(key) != run.get(key)]
    if keys:
        raise ValueError(
            f"checkpoint={str(path)!r} was written by another run: "
            + ", ".join(f"{key}={written.get(key)}, now {run.get(key)}" for key in keys)
            + ". Fit with the same parameters and data, pass another path, or delete the file."
        )


@contextmanager
def saved_to(checkpoint: Checkpoint | None) -> Iterator[None]:
    """Write the trainings within the context to a checkpoint; None: to that of an outer fit."""
    if checkpoint is None:
        yield
        return
    token = _CHECKPOINT.set(checkpoint)
    try:
        yield
    finally:
        _CHECKPOINT.reset(token)


@contextmanager
def training_of(nets: Sequence[Any], data: TrainingData) -> Iterator[Training]:
    """Begin a training of initialised nets, and restore them if the checkpoint holds them."""
    checkpoint = _CHECKPOINT.get()
    if checkpoint is None:
        yield Training()
        return
    training = checkpoint.begin(nets, data)
    token = _CHECKPOINT.set(None)  # callbacks may train nets of their own
    try:
        yield training
    finally:
        _CHECKPOINT.reset(token)


# --- the state of a training --------------------------------------------------------------------


def _state_of(net: Any, is_finished: bool) -> dict[str, Any]:
    """Return what the next epoch of a net depends on, and what its fitted attributes read."""
    callbacks, others = {}, []
    for name, callback in net.callbacks_:
        state = _state_of_callback(callback, net)
        if state is None:
            others.append(name)
        else:
            callbacks[name] = state
    return {
        "history": json.dumps(list(net.history), default=float),
        "modules": {name: module.state_dict() for name, module in _modules(net).items()},
        "optimizer": None if is_finished else net.optimizer_.state_dict(),
        "own": held_state(net, *net.held_names),
        "callbacks": callbacks,
        "without_state": others,
    }


def _restore(nets: Sequence[Any], data: TrainingData, state: dict[str, Any]) -> None:
    """Restore nets, callbacks and, last, the random draws, which the others may have advanced."""
    for net, own in zip(nets, state["nets"], strict=True):
        net.history.clear()
        net.history.extend(json.loads(own["history"]))
        for name, callback in net.callbacks_:
            if name in own["callbacks"]:
                _restore_callback(callback, own["callbacks"][name], net, data)
            elif name in own["without_state"]:
                _warn_of_lost_state(name, callback)
    for net, own in zip(nets, state["nets"], strict=True):
        for name, module in _modules(net).items():
            module.load_state_dict(own["modules"][name])
        if own["optimizer"] is not None:
            net.optimizer_.load_state_dict(own["optimizer"])
        hold_state(net, own["own"], net.device)
    _restore_draws(nets, data, state["draws"])


def _modules(net: Any) -> dict[str, nn.Module]:
    """Return the network, the criterion, and further heads."""
    fitted = {name: value for name, value in vars(net).items() if name.endswith("_")}
    return {name: value for name, value in fitted.items() if isinstance(value, nn.Module)}


def _state_of_callback(callback: Any, net: Any) -> dict[str, Any] | None:
    """Return the state of a callback; None if it has one that it does not give."""
    if hasattr(callback, "load_state_dict"):
        return callback.state_dict(net)
    if isinstance(callback, LRScheduler):
        return {"scheduler": callback.lr_scheduler_.state_dict()}
    # Not get_params, by which skorch takes all attributes for parameters.
    own = vars(callback).keys() - inspect.signature(type(callback).__init__).parameters.keys()
    root = type(callback).__module__.partition(".")[0]
    if root == "skorch":  # such as the counts of EarlyStopping
        return {
            name: value for name in sorted(own) for value in _packed_if_possible(callback, name)
        }
    return None if own and root != "sknoisy" else {}


def _packed_if_possible(callback: Any, name: str) -> list[Any]:
    try:
        return [packed(getattr(callback, name))] if name.endswith("_") else []
    except TypeError:
        return []


def _restore_callback(callback: Any, state: dict[str, Any], net: Any, data: TrainingData) -> None:
    if hasattr(callback, "load_state_dict"):
        callback.load_state_dict(state, net, data)
    elif isinstance(callback, LRScheduler):
        callback.lr_scheduler_.load_state_dict(state["scheduler"])
    else:
        hold_state(callback, state, net.device)


def _warn_of_lost_state(name: str, callback: Any) -> None:
    warn_user(
        f"The callback {name!r} begins anew, as the checkpoint does not hold the state of "
        f"{type(callback).__name__}. If it has to go on, give the class the methods "
        "state_dict(net) and load_state_dict(state, net, data), see the user guide.",
        CheckpointWarning,
    )


def _draws(nets: Sequence[Any], data: TrainingData) -> dict[str, Any]:
    """Return the states of all generators, those of the process too: a module may use any."""
    cuda = data.device.type == "cuda"
    return {
        "orders": [packed(net.order) for net in nets],
        "augmentation": packed(data.generator),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(data.device) if cuda else None,
        "python": json.dumps(random.getstate()),
        "numpy": json.dumps(
            check_random_state(None).get_state(legacy=True), default=np.ndarray.tolist
        ),
    }


def _restore_draws(nets: Sequence[Any], data: TrainingData, draws: dict[str, Any]) -> None:
    for net, order in zip(nets, draws["orders"], strict=True):
        hold_state(net, {"order": order})
    hold_state(data, {"generator": draws["augmentation"]})
    torch.set_rng_state(draws["torch"])
    if draws["cuda"] is not None:
        torch.cuda.set_rng_state(draws["cuda"], data.device)
    version, numbers, gauss = json.loads(draws["python"])
    random.setstate((version, tuple(numbers), gauss))
    check_random_state(None).set_state(json.loads(draws["numpy"]))


def _check_readable(content: Tensor) -> None:
    """Raise TypeError, after the first epoch, if the state could not be read again."""
    try:
        from_bytes(content)
    except Exception as error:  # torch and pickle raise a dozen kinds
        raise TypeError(
            "The state of the training holds more than tensors and plain values, so a checkpoint "
            f"could not be read: {' '.join(f'{error}'.split()):.200}. Look at the optimiser, "
            "lr_schedule and callbacks, or pass checkpoint=None."
        ) from error
