"""
====================================
Which labels of the digits are wrong
====================================

Of 800 handwritten digits 40 % get a wrong label. :class:`~sknoisy.CLIDMUClassifier` is fitted on
them like any classifier. It predicts the digits of a test set, and estimates for every training
row the probability that its label is right.
"""

# %%
# Digits with wrong labels
# ------------------------
# The data set comes with the noisy labels, the clean ones and the mask of those that differ. The
# clean labels are used to judge, never to train.

import matplotlib.pyplot as plt
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sknoisy import CLIDMUClassifier
from sknoisy.datasets import load_noisy_digits

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

# %%
# Fit
# ---
# ``weighting=None, n_ensemble=0`` turns the method off: the same network is trained by plain
# cross-entropy. To be short, the example trains for 30 epochs; the default is 60.

off = {"weighting": None, "n_ensemble": 0}
cross_entropy = CLIDMUClassifier(**off, max_epochs=30, random_state=0).fit(X, y)
clf = CLIDMUClassifier(max_epochs=30, random_state=0).fit(X, y)
print(f"cross-entropy: {cross_entropy.score(X_test, y_test):.3f}")
print(f"CLID-MU:       {clf.score(X_test, y_test):.3f}")

# %%
# Right and wrong labels
# ----------------------
# ``clean_proba_`` holds the probability of the given label of every training row.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for ax, (name, fitted) in zip(
    axes, {"cross-entropy": cross_entropy, "CLID-MU": clf}.items(), strict=True
):
    belief = fitted.clean_proba_
    ax.hist([belief[~wrong], belief[wrong]], bins=20, range=(0, 1), label=["right", "wrong"])
    ax.set(title=f"{name}, AUC {roc_auc_score(~wrong, belief):.3f}", xlabel="clean_proba_")
axes[0].set_ylabel("training rows")
axes[0].legend(title="given label")
plt.show()

# %%
# The most suspicious digits
# --------------------------
# The ten training rows with the smallest ``clean_proba_``.

suspects = clf.clean_proba_.argsort()[:10]
fig, axes = plt.subplots(2, 5, figsize=(8, 4), layout="constrained")
for ax, row, guess in zip(axes.flat, suspects, clf.predict(X[suspects]), strict=True):
    ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"given {y[row]}, predicted {guess}", fontsize=9)
    ax.axis("off")
plt.show()
