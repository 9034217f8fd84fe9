"""
========================================
The digits that a selection has rejected
========================================

:class:`~sknoisy.MILDClassifier` trains a network in rounds, watches epoch by epoch which given
labels it predicts, and drops the rows whose labels are hard to memorise and easy to forget. Then a
fresh network learns from the rest. This example looks at what was dropped, and at the scores by
which it was.
"""

# %%
# Fit
# ---
# 800 digits of which 40 % carry a wrong label. The clean labels are used to judge, never to train.
# To be short, the selection does not compare itself with no selection on folds, ``n_folds=0``, and
# the trainings have fewer epochs than by default.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from sknoisy import CleanSampleSelector, MILDClassifier
from sknoisy.datasets import load_noisy_digits
from sknoisy.inspection import LearningDynamicsDisplay

digits = load_noisy_digits(noise="symmetric", rate=0.4, random_state=0)
X, X_test, y, _, wrong, _, _, y_test = train_test_split(
    digits.data,
    digits.target,
    digits.noise_mask,
    digits.target_clean,
    train_size=800,
    stratify=digits.target_clean,
    random_state=0,
)
selector = CleanSampleSelector(max_epochs=25, n_folds=0)
clf = MILDClassifier(selector=selector, max_epochs=30, random_state=0).fit(X, y)
kept = clf.clean_mask_
print(f"accuracy on clean test labels: {clf.score(X_test, y_test):.3f}")
print(f"wrong labels: {wrong.mean():.1%} of all rows, {wrong[kept].mean():.1%} of those kept")
print(f"right labels: {(~wrong & ~kept).sum()} of {(~wrong).sum()} were rejected")

# %%
# The rounds
# ----------
# ``rounds_`` of the selector is a table, one line for each round.

rounds = pd.DataFrame(clf.selector_.rounds_, index=range(1, clf.selector_.n_iter_ + 1))
print(rounds[["n_rows", "n_kept", "threshold"]].round(1).to_string())
print("The end:", clf.selector_.stop_reason_)

# %%
# Rejected digits
# ---------------
# Ten rejected rows drawn at random, each with its given label and the one that the network
# predicts; red where the given label is wrong, as only the clean labels tell. The network has seen
# these pictures without their labels.


def show(rows, title):
    fig, axes = plt.subplots(2, 5, figsize=(8, 4.2), layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for ax, row, guess in zip(axes.flat, rows, clf.predict(X[rows]), strict=False):
        ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
        color = "C3" if wrong[row] else "black"
        ax.set_title(f"given {y[row]}, predicted {guess}", fontsize=9, color=color)
    fig.suptitle(title)
    plt.show()


rejected = np.flatnonzero(~kept)
show(np.random.default_rng(0).choice(rejected, 10, replace=False), "Rejected")

# %%
# Rejected although right
# -----------------------
# A right label of an unusual digit is hard to memorise, too. Here are those of which the network
# is least convinced. A selection loses such rows; where they matter, trust some of them by
# ``clean_mask``.

lost = rejected[~wrong[rejected]]
show(lost[clf.clean_proba_[lost].argsort()[:10]], "Rejected although right")

# %%
# Scores and thresholds
# ---------------------
# The score of a row is the number of epochs in which its given label was not predicted, minus that
# in which it was. In the first round a second hump stands at the right end: rows whose labels
# are hardly ever predicted. Rows above the threshold, the scale of the second component, are
# dropped, and a new network is trained. In the last round the hump is gone. Both components
# describe rows that are learned, the threshold is negative, and the rounds end.

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, index, title in zip(axes, (0, -1), ("First round", "Last round"), strict=True):
    LearningDynamicsDisplay.from_estimator(clf, round_index=index, ax=ax)
    ax.set_title(title)
plt.show()
