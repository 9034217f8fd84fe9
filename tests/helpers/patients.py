"""Patients of several rows each; the labels of whole patients are wrong."""

from typing import NamedTuple

import numpy as np


class Patients(NamedTuple):
    """Rows X (n, d), given labels y, true labels, mask of wrong labels, and patients."""

    X: np.ndarray
    y: np.ndarray
    truth: np.ndarray
    is_wrong: np.ndarray
    patient: np.ndarray


def patients(seed, n_patients=120, n_rows=12, within=0.4):
    """Draw patients who differ more from each other than their rows do; a fifth is mislabelled."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n_patients) % 2)
    centre = rng.normal(size=(n_patients, 8))
    centre[:, :3] += 0.8 * (2 * truth[:, None] - 1)
    is_wrong = rng.permutation(np.arange(n_patients) < n_patients // 5)
    patient = np.repeat(np.arange(n_patients), n_rows)
    X = centre[patient] + within * rng.normal(size=(len(patient), 8))
    truth, is_wrong = truth[patient], is_wrong[patient]
    return Patients(X, np.where(is_wrong, 1 - truth, truth), truth, is_wrong, patient)
