"""What the demonstrations share: train two classifiers, compare them, draw the suspects."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from sknoisy import CLIDMUClassifier
from sknoisy.callbacks import EpochProgress


def compare(X, y, X_test, y_test, wrong, **params) -> CLIDMUClassifier:
    """Train cross-entropy and CLID-MU on noisy labels and print what they reached.

    Parameters
    ----------
    X, y : arrays
        Training rows with noisy labels.
    X_test, y_test : arrays
        Test rows with clean labels.
    wrong : ndarray of bool of shape (n_samples,)
        Which training labels are wrong; used to judge, not to train.
    **params
        Parameters of both classifiers.

    Returns
    -------
    clf : CLIDMUClassifier
        The one trained by CLID-MU.
    """
    switches: dict[str, dict[str, Any]] = {
        "cross-entropy": {"weighting": None, "n_ensemble": 0},
        "CLID-MU": {},
    }
    lines = []
    for name, switch in switches.items():
        clf = CLIDMUClassifier(**params, **switch, callbacks=[EpochProgress(name)])
        start = time.perf_counter()
        clf.fit(X, y)
        seconds = time.perf_counter() - start
        auc = roc_auc_score(~wrong, clf.clean_proba_)
        lines.append(f"{name:<14}{clf.score(X_test, y_test):>13.3f}{auc:>21.3f}{seconds:>9.1f}")
    print(f"\n{len(y)} training rows, {wrong.mean():.1%} of their labels are wrong.\n")
    print(f"{'':<14}{'test accuracy':>13}{'AUC of clean_proba_':>21}{'seconds':>9}")
    print(*lines, sep="\n")
    return clf


def draw_suspects(clf, X, y, wrong, path: Path, **imshow) -> None:
    """Draw the 20 training images whose labels the classifier believes least.

    Parameters
    ----------
    clf : CLIDMUClassifier
        Fitted on ``X`` and ``y``.
    X, y, wrong : arrays
        As in :func:`compare`.
    path : Path
        Picture to write.
    **imshow
        Arguments of :func:`matplotlib.axes.Axes.imshow`.
    """
    suspects = clf.clean_proba_.argsort()[:20]
    predicted = clf.predict(X[suspects])
    images = X[suspects] if X.ndim > 2 else X[suspects].reshape(20, 8, 8)
    figure = Figure(figsize=(9, 9), layout="constrained")  # without pyplot no screen is needed
    axes = figure.subplots(4, 5)
    for ax, image, given, guess in zip(axes.flat, images, y[suspects], predicted, strict=True):
        ax.imshow(image, **imshow)
        ax.set_title(f"given {given}\npredicted {guess}", fontsize=10)
        ax.axis("off")
    found = f"{wrong[suspects].sum()} of the 20 most suspicious labels are wrong"
    figure.suptitle(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"\n{found}: see {path}")
