"""Where the class probabilities of the audited rows come from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import clone
from torch.nn.functional import adaptive_avg_pool2d

from .._compat import safe_indexing
from .._engine.construction import seed_undecided
from .._engine.indexing import row_blocks
from .._engine.reduction import is_wide_sparse
from .._engine.scaling import InputScaling, channel_axis
from .._engine.stopping import part_of_fit
from ..cleaning.bookkeeping import align_columns
from ..cleaning.inner_estimator import fit_inner
from ..learners.forest import Forest
from ..learners.part import draw_rows
from ..methods.clid_mu import CLIDMUClassifier
from ..methods.dmlp.frozen_features import ReducedFeatures, are_columns, build_representation
from ..noise.probabilities import Probabilities
from .scaled_rows import ScaledRows, scaled_rows
from .units import draw_unit_folds

__all__ = ["Judgement", "columns_of", "of_classifier", "of_cleaner", "of_fitted", "of_forest"]

_N_TREES = 200
_LEARNED_ROWS = 500_000  # by forest and network, and those predicted at a time
_LEAST_UNITS = 20  # that a part of the rows has to hold
_POOLED = 16  # pixels a side: 1,024 values of images with 4 channels


class Judgement(NamedTuple):
    """Class probabilities of the audited rows.

    Attributes
    ----------
    proba : ndarray or csr_array of shape (n, n_classes)
        Probabilities by which the labels are judged.
    held_out : ndarray or csr_array of shape (n, n_classes)
        Probabilities by models that have not seen the row; the same array if there are no others.
    unseen : ndarray of bool of shape (n,)
        False for rows that no model has left out, so that none can judge them.
    origin : str
        Where the probabilities come from, for the summary.
    """

    proba: Probabilities
    held_out: Probabilities
    unseen: NDArray[np.bool_]
    origin: str


def columns_of(
    X: Any, names: Any = None, *, seed: int, device: str | None = None
) -> NDArray[np.float32] | ScaledRows:
    """Return validated rows as standardised columns without missing values, float32 (n, d).

    Those of more than 32 MiB are computed when they are read.

    Wide sparse rows are reduced, and the pixels of images are columns. Images of more than 1,024
    values are averaged to 16 x 16 pixels or, given a `device`, described by the features of
    :class:`~sknoisy.representation.SimCLR`, which reads no labels and is trained there.
    """
    if is_wide_sparse(X):
        return ReducedFeatures().fit(X).transform(X)
    if not are_columns(X):
        if device is not None:
            encoder = build_representation("simclr", X, 0, 1, seed, device, 0)
            with part_of_fit("the representation"):
                X = encoder.fit_transform(X)
        else:
            X = _pooled(X)
    rows = X.toarray() if issparse(X) else X.reshape(X.shape[0], -1)
    return scaled_rows(rows, InputScaling().fit(rows, names))


def _pooled(images: NDArray) -> NDArray[np.float32]:
    """Return images (n, H, W, C) or (n, C, H, W) averaged to 16 x 16 pixels, (n, C, 16, 16)."""
    if channel_axis(images.shape) == 3:
        images = np.moveaxis(images, 3, 1)
    parts = [
        adaptive_avg_pool2d(torch.from_numpy(images[i : i + 256].astype(np.float32)), _POOLED)
        for i in range(0, len(images), 256)
    ]
    return torch.cat(parts).numpy()


def of_forest(
    X: Any,
    columns: NDArray[np.float32] | ScaledRows,
    codes: NDArray[np.integer],
    n_classes: int,
    units: NDArray[np.integer] | None,
    *,
    network: bool,
    seed: int,
    n_jobs: int | None,
    device: str,
) -> Judgement:
    """Return out-of-bag probabilities by a forest or, with `network`, their mean with CLID-MU's.

    CLID-MU is asked about its own training rows: it resists wrong labels, and the forest, which
    has not seen the row, keeps it honest. Rows without a label, of code -1, are not learned. Of
    more than 500,000 rows with a label, both learn 500,000 random ones, and the probabilities of
    all rows are float32.
    """
    part = _learned_rows(codes, units, seed)
    with part_of_fit("the forest"):
        held_out = _of_forest(columns, codes, n_classes, units, part, seed, n_jobs)
    unseen = np.ones(len(codes), dtype=bool)
    if not network:
        return Judgement(held_out, held_out, unseen, "a random forest, out of bag")
    rows = X if X.ndim == 2 else columns
    clf = CLIDMUClassifier(device=device, random_state=seed)
    labeled = np.flatnonzero(codes >= 0) if part is None else part
    with part_of_fit("CLID-MU"):
        is_all = len(labeled) == len(codes)
        clf.fit(rows if is_all else rows[labeled], codes[labeled])
    proba = np.empty_like(held_out)
    for block in row_blocks(len(codes), _LEARNED_ROWS):
        proba[block] = (clf.predict_proba(rows[block]) + held_out[block]) / 2
    return Judgement(proba, held_out, unseen, "a random forest, out of bag, and CLID-MU")


def _of_forest(
    columns: NDArray[np.float32] | ScaledRows,
    codes: NDArray[np.integer],
    n_classes: int,
    units: NDArray[np.integer] | None,
    part: NDArray[np.intp] | None,
    seed: int,
    n_jobs: int | None,
) -> NDArray[np.floating]:
    """Return out-of-bag probabilities (n, n_classes); the forest learns all rows, or a part."""
    forest = Forest(_N_TREES, 1, seed, n_jobs)
    if part is None:
        return forest.fit_held_out(columns[:], *_targets(codes, n_classes, units), units)
    own = None if units is None else np.unique(units[part], return_inverse=True)[1]
    targets, weights = _targets(codes[part], n_classes, own)
    proba = np.empty((len(codes), n_classes), dtype=np.float32)
    proba[part] = forest.fit_held_out(columns[part], targets, weights, own)
    is_other = np.ones(len(codes), dtype=bool)
    is_other[part] = False
    others = np.flatnonzero(is_other)
    for block in row_blocks(len(others), _LEARNED_ROWS):
        proba[others[block]] = forest.predict_proba(columns[others[block]])
    return proba


def _targets(
    codes: NDArray[np.integer], n_classes: int, units: NDArray[np.integer] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the labels as probabilities (n, n_classes), and the weights of the rows."""
    labeled = codes >= 0
    weights = None if labeled.all() else labeled.astype(np.float64)
    if units is not None:  # drawn alike: else every tree draws a large unit, and none judges it
        weights = labeled / np.maximum(np.bincount(units, labeled), 1)[units]
    targets = np.zeros((len(codes), n_classes), dtype=np.float64)
    targets[labeled, codes[labeled]] = 1
    return targets, weights


def _learned_rows(
    codes: NDArray[np.integer], units: NDArray[np.integer] | None, seed: int
) -> NDArray[np.intp] | None:
    """Return the rows that are learned: whole units at random, of every class; None for all.

    Rows of a unit that is learned are judged by the trees that have drawn no row of it. So all
    rows are learned if a unit is so large that a part of the rows would hold few units.
    """
    labeled = np.flatnonzero(codes >= 0)
    if len(labeled) <= _LEARNED_ROWS:
        return None
    if units is not None and np.bincount(units[labeled]).max() > _LEARNED_ROWS / _LEAST_UNITS:
        return None
    of_classes = labeled[np.unique(codes[labeled], return_index=True)[1]]
    part = np.union1d(of_classes, draw_rows(codes >= 0, units, _LEARNED_ROWS, seed))
    return part if units is None else labeled[np.isin(units[labeled], units[part])]


def of_fitted(estimator: Any, n_rows: int, classes: NDArray) -> Judgement:
    """Return ``label_distribution_`` of an estimator that was fitted on the audited rows.

    Raises a ValueError if it was fitted on another number of rows or on other classes.
    """
    proba, name = estimator.label_distribution_, type(estimator).__name__
    if proba.shape[0] != n_rows:
        raise ValueError(
            f"estimator is a {name} that was fitted on {proba.shape[0]} rows, but X has {n_rows}. "
            "Pass one that was fitted on these rows, an unfitted one, or the probabilities that "
            "it predicts, proba=estimator.predict_proba(X)."
        )
    if not np.array_equal(estimator.classes_, classes):
        raise ValueError(
            f"estimator is a {name} that was fitted on the classes "
            f"{estimator.classes_.tolist()}, but y holds {classes.tolist()}. Fit it on these "
            "labels, or pass an unfitted one."
        )
    return Judgement(proba, proba, np.ones(n_rows, dtype=bool), f"the fitted {name}")


def of_cleaner(
    estimator: Any, X: Any, codes: NDArray[np.integer], classes: NDArray, seed: int
) -> Judgement:
    """Return ``label_distribution_`` of a cleaner, which predicts nothing, fitted on all rows.

    Rows without a label are not cleaned: every class is as probable for them.
    """
    name = type(estimator).__name__
    cleaner = seed_undecided(clone(estimator), seed)
    labeled = np.flatnonzero(codes >= 0)
    with part_of_fit("the cleaner"):
        cleaner.fit(safe_indexing(X, labeled), classes[codes[labeled]])
    proba = np.full((len(codes), len(classes)), 1 / len(classes))
    proba[labeled] = of_fitted(cleaner, len(labeled), classes).proba
    return Judgement(proba, proba, np.ones(len(codes), dtype=bool), name)


def of_classifier(
    estimator: Any,
    X: Any,
    codes: NDArray[np.integer],
    classes: NDArray,
    units: NDArray[np.integer] | None,
    *,
    cv: int,
    grouped: bool,
    seed: int,
    n_jobs: int | None,
) -> Judgement:
    """Return cross-validated probabilities by clones of a classifier.

    Rows of the same unit are in one fold. Rows without a label, of code -1, are not learned; their
    probabilities are the mean over all folds, as are those of rows that no fold leaves out.
    """
    fold = draw_unit_folds(codes, cv, np.random.RandomState(seed), units, grouped=grouped)
    labeled = codes >= 0
    if fold.max() < 1:
        raise ValueError(
            "No row can be judged by rows of other groups: a group holds all rows of a class. "
            "Pass groups=None, or smaller groups."
        )
    named = seed_undecided(clone(estimator), seed)
    always = np.flatnonzero(fold < 0)

    def judged(k: int) -> tuple[NDArray[np.intp], NDArray]:
        train, held = np.flatnonzero(labeled & (fold != k)), np.flatnonzero(fold == k)
        asked = np.r_[held, always]
        labels = classes[codes[train]]
        fitted, present = fit_inner(named, safe_indexing(X, train), labels, classes)
        proba = np.asarray(fitted.predict_proba(safe_indexing(X, asked)))
        known = np.asarray(fitted.classes_ if present is None else present)
        return asked, align_columns(proba, known, classes, 0.0, type(estimator).__name__)

    n_folds = int(fold.max()) + 1
    with part_of_fit("the cross-validation"):
        results = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(judged)(k) for k in range(n_folds)
        )
    proba = np.zeros((len(codes), len(classes)))
    for asked, part in results:
        proba[asked] += part
    proba[always] /= n_folds
    origin = f"{type(estimator).__name__}, cross-validated in {n_folds} folds"
    return Judgement(proba, proba, ~labeled | (fold >= 0), origin)
