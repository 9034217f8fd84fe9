"""Reader of the label files of CIFAR-N, which hold labels of the CIFAR images by people."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import _safe_pickle

# Keys in the files, and their names here.
_NAMES = {
    "clean_label": "clean",
    "aggre_label": "aggre",
    "worse_label": "worse",
    "random_label1": "random1",
    "random_label2": "random2",
    "random_label3": "random3",
    "noisy_label": "human",
    "noise_label": "human",  # in the .npy file of CIFAR-100N
}


def load_cifar_n(path: str | os.PathLike[str]) -> dict[str, NDArray[np.int64]]:
    """Read a label file of CIFAR-N.

    Parameters
    ----------
    path : str or path-like
        ``CIFAR-10_human.pt`` or ``CIFAR-100_human.pt`` as published, or a ``.npy`` file of the
        same dict. The labels of the ``.pt`` files follow the python version of CIFAR; those of
        the published ``_ordered.npy`` files follow TensorFlow's order instead.

    Returns
    -------
    labels : dict of str to ndarray of shape (n_samples,), int64
        "clean" and, for CIFAR-10N, "aggre" (majority of three people), "random1", "random2",
        "random3" (one person each) and "worse" (a wrong label if any of the three was wrong);
        for CIFAR-100N, "human".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    pickle.UnpicklingError
        If the file is damaged or holds anything but arrays of numbers; no code of it is run.
    ValueError
        If it lacks the clean labels, has two arrays of the same labels, or its arrays are no class
        ids or differ in length.

    References
    ----------
    Wei et al., "Learning with noisy labels revisited: a study using real-world human
    annotations", ICLR 2022.

    Examples
    --------
    >>> import os, tempfile
    >>> import torch
    >>> from sknoisy.datasets import load_cifar_n
    >>> path = os.path.join(tempfile.mkdtemp(), "CIFAR-100_human.pt")
    >>> torch.save({"clean_label": torch.arange(3).numpy(),
    ...             "noisy_label": torch.zeros(3, dtype=int).numpy()}, path)
    >>> labels = load_cifar_n(path)
    >>> labels["clean"], labels["human"]
    (array([0, 1, 2]), array([0, 0, 0]))
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"There is no label file {os.fspath(path)}. The authors of CIFAR-N publish "
            "CIFAR-10_human.pt and CIFAR-100_human.pt at http://www.noisylabels.com."
        )
    content = _safe_pickle.load(path)
    if not isinstance(content, dict) or "clean_label" not in content:
        raise ValueError(
            f"{os.fspath(path)} holds no 'clean_label', so nothing shows which image a label "
            "belongs to. If you know it, use sknoisy.noise.human(y_clean, y_noisy)."
        )
    if {"noisy_label", "noise_label"} <= content.keys():
        raise ValueError(
            f"{os.fspath(path)} holds both 'noisy_label' and 'noise_label', two names of the same "
            "labels: remove one of them."
        )
    labels = {
        name: _class_ids(content[key], f"{key!r} in {os.fspath(path)}")
        for key, name in _NAMES.items()
        if key in content
    }
    if len({len(values) for values in labels.values()}) > 1:
        raise ValueError(f"The arrays in {os.fspath(path)} differ in length.")
    return labels


def _class_ids(values, name: str) -> NDArray[np.int64]:
    """Return class ids as int64; raise a ValueError if they are none."""
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has shape {values.shape} and dtype {values.dtype}; it should be a list of "
            "class ids."
        )
    wrong = (values < 0) | (values > np.iinfo(np.int64).max)
    if wrong.any():
        raise ValueError(
            f"{name} holds {values[wrong][0]}, which is no class id: these are integers from 0 on."
        )
    return values.astype(np.int64)
