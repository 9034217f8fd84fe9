"""Checkpoints of training, from which an interrupted run resumes.

A file holds :data:`_MAGIC`, the digest of the rest, and the rest, which ``torch.save`` wrote. Only
a file whose digest is right is parsed, as tensors and plain values.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import stat
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from .._engine.batches import TrainingData
from ..exceptions import CheckpointWarning, warn_user

__all__ = ["TrainingCheckpoint", "check_path", "describe_run"]

_MAGIC = b"sknoisy checkpoint 1\n"
_DIGEST_SIZE = 32
_HASH_ROWS = 4096  # rows read at a time
_NOT_COMPARED = {"callbacks", "checkpoint", "device", "random_state", "verbose"}


def check_path(checkpoint: str | os.PathLike) -> Path:
    """Return the path of a file that can be written.

    Raises
    ------
    ValueError
        If its folder does not exist or cannot be written, or if the path is a folder, a symbolic
        link or a special file.
    """
    path = Path(checkpoint)
    name = f"checkpoint={str(path)!r}"
    if not path.parent.is_dir():
        raise ValueError(
            f"{name} cannot be written: there is no folder {str(path.parent)!r}. Make it first."
        )
    if not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"{name} cannot be written: the folder {str(path.parent)!r} is read-only for this "
            "process. Pass a path in another folder."
        )
    if path.is_symlink():
        raise ValueError(
            f"{name} is a symbolic link to {str(os.readlink(path))!r}. Pass the path of the file."
        )
    if path.is_dir():
        raise ValueError(f"{name} is a folder; pass the path of a file in it.")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{name} is a pipe, a socket or a device; pass the path of a file.")
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by another content; if that fails, the file stays as it was."""
    # A new name that nobody can have planted as a link: mode "x" never opens an existing one.
    unfinished = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name without its content
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


class TrainingCheckpoint(Callback):
    """Write the state of training after each epoch, and resume from the last written state.

    Place it after all callbacks that change the state. The file is replaced atomically. If it
    cannot be written, as on a full disk, training goes on with a CheckpointWarning.

    Parameters
    ----------
    path : Path
        File of the checkpoint.
    run : dict of str
        Description of the run, from :func:`describe_run`.

    Raises
    ------
    ValueError
        If the file exists and is not a checkpoint, or was written by another run.
    """

    def __init__(self, path: Path, run: dict[str, str]):
        self.path, self.run = path, run
        self._state = self._read()

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Restore the state that was read, if any."""
        state, self._state = self._state, None
        if state is not None:
            _restore(net, X, state)

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Write the state."""
        self._write(net, dataset_train, len(net.history) >= net.max_epochs)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Mark the run as finished if a callback has stopped it early."""
        if net.stopped_early():
            self._write(net, X, True)

    def _write(self, net, data: TrainingData, finished: bool) -> None:
        buffer = io.BytesIO()
        torch.save({"run": self.run, "finished": finished, **_state(net, data)}, buffer)
        content = buffer.getvalue()
        try:
            write_atomically(self.path, _MAGIC + _checksum(content) + content)
        except OSError as error:
            warn_user(
                f"checkpoint={str(self.path)!r} could not be written after epoch "
                f"{len(net.history)}: {error.strerror or error}. It needs {len(content):,} bytes. "
                "Training goes on; an earlier checkpoint stays as it is.",
                CheckpointWarning,
            )

    def _read(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        name = f"checkpoint={str(self.path)!r}"
        try:
            state = _parse(self.path)
            written: dict[str, str] = state["run"]
        except Exception as error:  # torch and pickle raise a dozen kinds
            trouble = " ".join(f"{error}".split())
            raise ValueError(
                f"{name} is not a checkpoint of a training: {trouble:.200}. Pass another path, or "
                "delete the file."
            ) from error
        keys = [key for key in {**written, **self.run} if written.get(key) != self.run.get(key)]
        if keys:
            raise ValueError(
                f"{name} was written by another run: "
                + ", ".join(f"{k}={written.get(k)}, now {self.run.get(k)}" for k in keys)
                + ". Fit with the same parameters and data, pass another path, or delete the file."
            )
        return state


def _parse(path: Path) -> dict[str, Any]:
    """Return the state in a file; any other file than a whole checkpoint raises an error."""
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("it does not begin as one")
        checksum, content = file.read(_DIGEST_SIZE), file.read()
    if checksum != _checksum(content):
        raise ValueError("it is damaged")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def _state(net, data: TrainingData) -> dict[str, Any]:
    """Return everything that the next epoch depends on."""
    assert data.generator is not None
    scheduler, cuda = _scheduler(net), data.device.type == "cuda"
    return {
        "history": json.dumps(list(net.history), default=float),
        "module": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "order": net.order.get_state(),
        "augmentation": data.generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(data.device) if cuda else None,
    }


def _restore(net, data: TrainingData, state: dict[str, Any]) -> None:
    """Restore what :func:`_state` returned."""
    assert data.generator is not None
    net.history.extend(json.loads(state["history"]))
    net.module_.load_state_dict(state["module"])
    net.optimizer_.load_state_dict(state["optimizer"])
    if state["scheduler"] is not None:
        _scheduler(net).load_state_dict(state["scheduler"])
    net.order.set_state(state["order"])
    data.generator.set_state(state["augmentation"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], data.device)
    net.epochs_left = 0 if state["finished"] else net.max_epochs - len(net.history)


def _scheduler(net) -> Any:
    """Return the torch scheduler of ``lr_schedule``, or None."""
    callback = dict(net.callbacks_).get("lr_schedule")
    return None if callback is None else callback.lr_scheduler_


def describe_run(estimator, X, device: torch.device, seed: int) -> dict[str, str]:
    """Describe what must be equal for a run to resume: parameters, kind of device, and data.

    Parameters
    ----------
    estimator : estimator
        Its parameters are described, except ``callbacks`` and those that do not affect the
        result.
    X : ndarray or CSR matrix
        Training rows.
    device : torch.device
        Only its type is described.
    seed : int
        Described unless ``random_state`` is None: such a run resumes with the seed it began with.

    Returns
    -------
    run : dict of str
        Descriptions by name.
    """
    params = estimator.get_params(deep=False).items()
    return {
        "method": type(estimator).__name__,
        **{name: _describe(value) for name, value in params if name not in _NOT_COMPARED},
        "seed": "None" if estimator.random_state is None else str(seed),
        "device": device.type,
        "data": _digest_rows(X),
    }


def _describe(value: Any) -> str:
    """Return a text that is the same in every process, so without memory addresses."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, nn.Module):
        return f"{type(value).__name__} {_digest(str(value), *value.state_dict().values())}"
    if isinstance(value, (Tensor, np.ndarray)):
        return _digest(value)
    if isinstance(value, dict):
        return str({key: _describe(value[key]) for key in sorted(value, key=str)})
    if isinstance(value, (list, tuple)):
        return str([_describe(entry) for entry in value])
    if isinstance(value, partial):
        return f"partial of {_describe([value.func, value.args, value.keywords])}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value).__repr__ is object.__repr__:
        return f"{_describe(type(value))} of {_describe(vars(value))}"
    return repr(value)


def _digest_rows(X) -> str:
    if scipy.sparse.issparse(X):
        return _digest(str(X.shape), X.data, X.indices, X.indptr)
    blocks = (X[start : start + _HASH_ROWS] for start in range(0, len(X), _HASH_ROWS))
    return _digest(str(X.shape), *blocks)


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().flatten().view(torch.uint8).numpy()
        if isinstance(part, np.ndarray):
            digest.update(str(part.dtype).encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(str(part).encode())
    return digest.hexdigest()
