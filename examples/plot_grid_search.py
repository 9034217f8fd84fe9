"""
==========================================
Grid search when the labels may be wrong
==========================================

Cross-validation on noisy labels rewards models that predict the noise. Two scorers avoid that:
:func:`~sknoisy.metrics.clid_scorer` reads no labels at all, and ``trusted_accuracy`` reads those
that somebody has checked. This example takes the first, on labels that are words.
"""

# %%
# Data
# ----
# 800 digits of which 40 % carry the name of the next digit, as a data frame.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, train_test_split

from sknoisy import CLIDMUClassifier
from sknoisy.datasets import load_noisy_digits
from sknoisy.metrics import clid_scorer

digits = load_noisy_digits(noise="pairflip", rate=0.4, random_state=0)
names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
frame = pd.DataFrame(digits.data, columns=digits.feature_names)
truth = pd.Series(names[digits.target_clean])
X, X_test, y, _ = train_test_split(
    frame, names[digits.target], train_size=800, stratify=digits.target_clean, random_state=0
)

# %%
# Search
# ------
# One search records both scores for each candidate, and a third one that is known only here: the
# accuracy on the clean labels of the held-out rows. ``refit`` names the score that chooses. Two
# folds, four candidates and 18 epochs keep the example short.


def clean_accuracy(estimator, X, y=None):
    """Accuracy on the clean labels of these rows."""
    return np.mean(estimator.predict(X) == truth.loc[X.index])


search = GridSearchCV(
    CLIDMUClassifier(max_epochs=18, random_state=0),
    {"lr": [0.01, 0.03, 0.1, 0.2]},
    scoring={"clid": clid_scorer, "noisy": "accuracy", "clean": clean_accuracy},
    refit="clid",
    cv=2,
).fit(X, y)
print(f"chosen: {search.best_params_}")
print(f"accuracy on clean test labels: {clean_accuracy(search, X_test):.3f}")

# %%
# Which score follows the truth
# -----------------------------
# Each point is a candidate, with its learning rate; the circle marks the one that the score would
# choose. Here both choose well, but the accuracy on noisy labels looks far worse than the models
# are.

clean = search.cv_results_["mean_test_clean"]
rates = search.cv_results_["param_lr"]
fig, axes = plt.subplots(1, 2, figsize=(8, 4.4), sharey=True, layout="constrained")
for ax, (score, label) in zip(
    axes, {"clid": "minus relative CLID", "noisy": "accuracy on noisy labels"}.items(), strict=True
):
    values = search.cv_results_[f"mean_test_{score}"]
    best = values.argmax()
    for rate in np.unique(rates):
        ax.scatter(values[rates == rate], clean[rates == rate], s=70, label=f"lr = {rate}")
    ax.scatter(values[best], clean[best], s=300, facecolors="none", edgecolors="C3", linewidths=2)
    ax.margins(0.15)
    ax.grid(alpha=0.4)
    ax.set_xlabel(label)
axes[0].set_ylabel("accuracy on clean labels")
axes[0].legend()
plt.show()
