"""CIFAR-10 and CIFAR-100 from local files, with the human labels of CIFAR-N."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from ..noise import CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_SUPERCLASSES, human
from . import _safe_pickle
from ._cifar_n import load_cifar_n

_DESCR = """\
{name}, python version: {n_train} training and {n_test} test images of 32 x 32 RGB pixels in
{n_classes} classes. Training labels: {labels}.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
Human labels: Wei et al., "Learning with noisy labels revisited", ICLR 2022 (CC BY-NC 4.0).
"""


def load_cifar10(
    folder: str | os.PathLike[str],
    *,
    noise: Literal["aggre", "worse", "random1", "random2", "random3"] | None = None,
    noise_file: str | os.PathLike[str] | None = None,
) -> Bunch:
    """Read CIFAR-10 from the files of its python version, with clean or human labels.

    Parameters
    ----------
    folder : str or path-like
        Folder with ``data_batch_1`` to ``data_batch_5`` and ``test_batch``, or the one that
        holds ``cifar-10-batches-py``. Nothing is downloaded.
    noise : {"aggre", "worse", "random1", "random2", "random3"}, default=None
        Labels of CIFAR-10N to return as `target`; about 9, 40, 17, 18 and 18 % of them are
        wrong. None: the clean labels, to which `sknoisy.noise` can add other noise.
    noise_file : str or path-like, default=None
        Label file of CIFAR-10N; None: ``CIFAR-10_human.pt`` in `folder` or beside the batches.

    Returns
    -------
    cifar : Bunch
        - data : ndarray of shape (50000, 32, 32, 3), uint8
        - target : ndarray of shape (50000,), int64, the labels chosen by `noise`
        - target_clean : ndarray of shape (50000,), int64
        - noise_mask : ndarray of shape (50000,), bool, True where the two differ
        - transition : ndarray of shape (10, 10), float64, frequencies of `target` by clean class
        - data_test, target_test : the 10000 test images and their clean labels
        - target_names : ndarray of shape (10,), names of the classes
        - DESCR : str

    Raises
    ------
    FileNotFoundError
        If a batch or the label file is missing.
    pickle.UnpicklingError
        If a file is damaged or holds anything but arrays, lists and strings; no code of it is
        run.
    ValueError
        If `noise` is unknown, a batch is not of the right form, or the clean labels in the label
        file are not those of the images.

    See Also
    --------
    load_cifar_n : Reads the labels only.
    sknoisy.noise : Synthetic noise for the clean labels.

    Examples
    --------
    >>> from sknoisy.datasets import load_cifar10
    >>> cifar = load_cifar10("data/cifar-10-batches-py", noise="worse")  # doctest: +SKIP
    >>> cifar.noise_mask.mean().round(3)  # doctest: +SKIP
    0.402
    """
    batches = _locate(folder, "cifar-10-batches-py", "data_batch_1")
    parts = [_read_batch(batches / f"data_batch_{i}", ["labels"], (10,)) for i in range(1, 6)]
    data = np.concatenate([images for images, _ in parts])
    clean = np.concatenate([labels["labels"] for _, labels in parts])
    data_test, test = _read_batch(batches / "test_batch", ["labels"], (10,))
    default_file = "CIFAR-10_human.pt"
    target = _target(clean, noise, noise_file, [Path(folder), batches], default_file)
    return _bunch(
        "CIFAR-10", data, clean, target, data_test, test["labels"], CIFAR10_CLASSES, noise
    )


def load_cifar100(
    folder: str | os.PathLike[str],
    *,
    noise: Literal["human"] | None = None,
    noise_file: str | os.PathLike[str] | None = None,
) -> Bunch:
    """Read CIFAR-100 from the files of its python version, with clean or human labels.

    Parameters
    ----------
    folder : str or path-like
        Folder with ``train`` and ``test``, or the one that holds ``cifar-100-python``. Nothing
        is downloaded.
    noise : {"human"}, default=None
        "human": return the labels of CIFAR-100N, about 40 % of them wrong, as `target`. None:
        return the clean labels.
    noise_file : str or path-like, default=None
        Label file of CIFAR-100N; None: ``CIFAR-100_human.pt`` in `folder` or beside ``train``.

    Returns
    -------
    cifar : Bunch
        The fields of :func:`load_cifar10`, with 100 classes, and

        - target_coarse, target_coarse_test : ndarray of int64, superclass of every image
        - coarse_names : ndarray of shape (20,), names of the superclasses

    Raises
    ------
    FileNotFoundError, pickle.UnpicklingError, ValueError
        As in :func:`load_cifar10`.

    See Also
    --------
    sknoisy.noise.CIFAR100_SUPERCLASSES : Fine ids of each superclass.

    Examples
    --------
    >>> from sknoisy.datasets import load_cifar100
    >>> cifar = load_cifar100("data/cifar-100-python", noise="human")  # doctest: +SKIP
    >>> cifar.noise_mask.mean().round(3)  # doctest: +SKIP
    0.402
    """
    keys, sizes = ["fine_labels", "coarse_labels"], (100, 20)
    batches = _locate(folder, "cifar-100-python", "train")
    data, train = _read_batch(batches / "train", keys, sizes)
    data_test, test = _read_batch(batches / "test", keys, sizes)
    clean = train["fine_labels"]
    default_file = "CIFAR-100_human.pt"
    target = _target(clean, noise, noise_file, [Path(folder), batches], default_file)
    bunch = _bunch(
        "CIFAR-100", data, clean, target, data_test, test["fine_labels"], CIFAR100_CLASSES, noise
    )
    bunch.target_coarse = train["coarse_labels"]
    bunch.target_coarse_test = test["coarse_labels"]
    bunch.coarse_names = np.array(list(CIFAR100_SUPERCLASSES))
    return bunch


def _locate(folder: str | os.PathLike[str], subfolder: str, first_file: str) -> Path:
    """Return the folder that holds the batches: the given one or its usual subfolder."""
    for candidate in (Path(folder), Path(folder) / subfolder):
        if (candidate / first_file).is_file():
            return candidate
    raise FileNotFoundError(
        f"There is no file {first_file} in {os.fspath(folder)} or its subfolder {subfolder}. "
        "Unpack the python version from https://www.cs.toronto.edu/~kriz/cifar.html there."
    )


def _read_batch(
    path: Path, keys: Sequence[str], n_classes: Sequence[int]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.int64]]]:
    """Return the images of a file as (n, 32, 32, 3), and its labels by key."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: the data set is incomplete.")
    content = _safe_pickle.load(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a batch of CIFAR: it holds a {type(content).__name__}.")
    # The keys were strings in Python 2; files of later versions may have bytes.
    content = {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in content.items()}
    if missing := {"data", *keys} - content.keys():
        raise ValueError(f"{path} is not a batch of CIFAR: it lacks {sorted(missing)}.")
    pixels = np.asarray(content["data"])
    if pixels.ndim != 2 or pixels.shape[1] != 3072 or pixels.dtype != np.uint8:
        raise ValueError(
            f"The images in {path} have shape {pixels.shape} and dtype {pixels.dtype} instead of "
            "(n, 3072) and uint8."
        )
    labels = {}
    for key, c in zip(keys, n_classes, strict=True):
        values = np.asarray(content[key])
        is_column = values.shape == (len(pixels),) and values.dtype.kind in "iu"
        if not is_column or ((values < 0) | (values >= c)).any():
            raise ValueError(f"{key!r} in {path} are not {len(pixels)} class ids below {c}.")
        labels[key] = values.astype(np.int64)
    # Stored channel by channel.
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


def _target(
    clean: NDArray[np.int64],
    noise: str | None,
    noise_file: str | os.PathLike[str] | None,
    folders: Sequence[Path],
    default_file: str,
) -> NDArray[np.int64]:
    """Return the labels chosen by `noise`; raise unless they belong to the images."""
    if noise is None:
        if noise_file is not None:
            raise ValueError(f"noise_file={noise_file!r} needs noise=, the name of its labels.")
        return clean
    if noise_file is None:
        paths = [folder / default_file for folder in folders]
        noise_file = next((path for path in paths if path.is_file()), paths[0])
    labels = load_cifar_n(noise_file)
    if noise == "clean" or noise not in labels:
        raise ValueError(
            f"noise={noise!r} must be None or one of {sorted(labels.keys() - {'clean'})}, the "
            f"labels in {os.fspath(noise_file)}."
        )
    if not np.array_equal(labels["clean"], clean):
        raise ValueError(
            f"The clean labels in {os.fspath(noise_file)} are not those of the images. It belongs "
            "to another data set, or it follows another order, as the published _ordered.npy "
            f"files do; {default_file} follows this one."
        )
    return labels[noise]


def _bunch(
    name: str,
    data: NDArray[np.uint8],
    clean: NDArray[np.int64],
    target: NDArray[np.int64],
    data_test: NDArray[np.uint8],
    target_test: NDArray[np.int64],
    target_names: Sequence[str],
    noise: str | None,
) -> Bunch:
    noisy = human(clean, target, classes=range(len(target_names)))
    labels = "clean" if noise is None else f"{noise!r} of CIFAR-N, {noisy.mask.mean():.1%} wrong"
    fields: dict[str, Any] = {
        "data": data,
        "target": noisy.y,
        "target_clean": clean,
        "noise_mask": noisy.mask,
        "transition": noisy.transition,
        "data_test": data_test,
        "target_test": target_test,
        "target_names": np.array(target_names),
        "DESCR": _DESCR.format(
            name=name,
            n_train=len(data),
            n_test=len(data_test),
            n_classes=len(target_names),
            labels=labels,
        ),
    }
    return Bunch(**fields)
