"""
================================
Wrong labels and rare classes
================================

In a long tail a few classes have most of the rows. With wrong labels as well, a rare class may
hold more rows of other classes than of its own, and a network that trusts what is frequent or what
is easy gives it up. :class:`~sknoisy.MetaWeightNetClassifier` learns the weights of the rows from
a few that somebody has checked, the same number for each class. On top of it, ``class_weight`` and
``loss="ldam"`` give rare classes more say in the training loss.
"""

# %%
# A long tail with wrong labels
# -----------------------------
# Of the zeros every training row is kept, of the nines a twentieth, and of the labels that remain
# 20 % are replaced by another class. The tail is made before the noise, so that it is the true
# classes that shrink. Five rows of each true class are checked: their labels are right, and
# ``clean_mask`` says so.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split

from sknoisy import CLIDMUClassifier, MetaWeightNetClassifier
from sknoisy.datasets import make_long_tailed
from sknoisy.noise import symmetric


def draw(seed):
    """Training rows, their true and given labels, the mask of the checked ones, and test rows."""
    X, X_test, y, y_test = train_test_split(
        *load_digits(return_X_y=True), train_size=0.7, random_state=seed
    )
    X, y, _ = make_long_tailed(X, y, imbalance_factor=20, random_state=seed)
    checked = np.zeros(len(y), dtype=bool)
    checked[[row for digit in range(10) for row in np.flatnonzero(y == digit)[:5]]] = True
    given = np.where(checked, y, symmetric(y, 0.2, random_state=seed).y)
    return X, y, given, checked, X_test, y_test


X, y, given, checked, _, _ = draw(0)
print(f"{len(y)} rows, {np.mean(given != y):.1%} of the labels wrong")
fig, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
right = np.bincount(y[given == y], minlength=10)
ax.bar(range(10), right, label="right label")
wrong = np.bincount(given[given != y], minlength=10)
ax.bar(range(10), wrong, bottom=right, label="wrong label")
ax.set(xlabel="given label", ylabel="training rows", xticks=range(10))
ax.legend()
plt.show()

# %%
# Three classifiers
# -----------------
# The first is the same network trained by cross-entropy, on the same labels: the checked rows are
# among its training rows, too. The mean of two draws stands for each, after 25 epochs: the example
# is to be short.

methods = {
    "cross-entropy": lambda seed: CLIDMUClassifier(
        weighting=None, n_ensemble=0, max_epochs=25, random_state=seed
    ),
    "Meta-Weight-Net": lambda seed: MetaWeightNetClassifier(max_epochs=25, random_state=seed),
    "balanced, LDAM": lambda seed: MetaWeightNetClassifier(
        class_weight="balanced", loss="ldam", max_epochs=25, random_state=seed
    ),
}
recalls = {name: [] for name in methods}
for seed in range(2):
    X, y, given, checked, X_test, y_test = draw(seed)
    for name, make in methods.items():
        clf = make(seed).fit(X, given, clean_mask=checked)
        recalls[name].append(recall_score(y_test, clf.predict(X_test), average=None))

# %%
# Recall of each class
# --------------------
# Where there are many rows, all three do alike. They part in the tail, most of all at the rarest
# class. The accuracy on a test set with the same tail would hardly show it.

fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
print(f"{'':<16}mean recall   rarest four")
for name, values in recalls.items():
    recall = np.mean(values, axis=0)
    print(f"{name:<16}{recall.mean():>11.3f}{recall[-4:].mean():>14.3f}")
    ax.plot(recall, marker="o", label=name)
ax.set(xlabel="class, from frequent to rare", ylabel="recall", xticks=range(10), ylim=(0, 1.02))
ax.legend(loc="lower left")
plt.show()
