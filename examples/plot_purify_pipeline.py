"""
==========================================
Purify labels within the folds of a search
==========================================

A scaler, a :class:`~sknoisy.LabelPurifier` and a random forest make one model, and one grid search
chooses the parameters of both. The labels are purified anew in each training fold. The second half
shows what cross-validation claims if they are purified once, before the split.
"""

# %%
# One model
# ---------
# Digits of which 40 % carry the name of the next digit. ``make_pipeline`` of
# :mod:`sknoisy.pipeline` takes steps that change labels, and the search reaches the parameters of
# each step by its name. The clean labels are used to judge, never to train. 400 rows, two folds,
# few epochs and small forests keep the example short.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.preprocessing import StandardScaler

from sknoisy import LabelPurifier
from sknoisy.noise import pairflip
from sknoisy.pipeline import make_pipeline

X, y_clean = load_digits(return_X_y=True)
X, X_test, y_clean, y_test = train_test_split(X, y_clean, train_size=400, random_state=0)
y = pairflip(y_clean, 0.4, random_state=0).y

purifier = LabelPurifier(n_components=128, random_state=0)
forest = RandomForestClassifier(n_estimators=30, random_state=0)
model = make_pipeline(StandardScaler(), purifier, forest)
grid = {"labelpurifier__n_epochs": [5, 20], "randomforestclassifier__min_samples_leaf": [1, 10]}
search = GridSearchCV(model, grid, cv=2).fit(X, y)
print(f"chosen: {search.best_params_}")
print(f"pipeline:     {search.score(X_test, y_test):.3f} on clean test labels")
print(f"forest alone: {forest.fit(X, y).score(X_test, y_test):.3f}")

# %%
# What purifying before the split claims
# --------------------------------------
# Two classes, of which more and more labels are decided by a coin, until none of them means
# anything. Three accuracies are measured by cross-validation: what is claimed if labels are
# purified before the split and predictions are compared with them; that of the pipeline on the
# labels as given; and, which is possible only here, that of the same pipeline on clean labels. The
# purifier runs as published, ``n_folds=0``: by default it judges itself on held-out labels, and
# leaves most coins as they are.

X, y_clean = load_breast_cancer(return_X_y=True)
purifier.set_params(n_epochs=20, n_folds=0)
model = make_pipeline(StandardScaler(), purifier, forest)
shares = np.linspace(0, 1, 5)
curves = {
    "claimed: purified before the split, on purified labels": [],
    "within the folds, on given labels": [],
    "within the folds, on clean labels": [],
}
rng = np.random.default_rng(0)
coin, order = rng.integers(2, size=len(y_clean)), rng.random(len(y_clean))
for share in shares:
    y = np.where(order < share, coin, y_clean)
    _, purified = purifier.fit_resample(X, y)
    predicted = cross_val_predict(model, X, y, cv=2)
    accuracies = (
        cross_val_score(forest, X, purified, cv=2).mean(),
        np.mean(predicted == y),
        np.mean(predicted == y_clean),
    )
    for curve, accuracy in zip(curves.values(), accuracies, strict=True):
        curve.append(accuracy)
print("coins  claimed  on given labels  on clean labels")
for row in zip(shares, *curves.values(), strict=True):
    print("{:5.1f}{:9.3f}{:17.3f}{:17.3f}".format(*row))

fig, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
for (name, curve), style in zip(curves.items(), ["C3-o", "C0--s", "C0-s"], strict=True):
    ax.plot(shares, curve, style, label=name)
ax.axhline(0.5, color="0.6", linewidth=0.8)
ax.set(xlabel="share of labels decided by a coin", ylabel="cross-validated accuracy")
fig.legend(loc="outside upper left")
plt.show()

# %%
# Where every label is a coin, no model can be right more than half of the time. The purifier makes
# labels that follow the features, and a forest predicts those well: a claim about the purifier's
# opinion, not about the truth. Within the folds, nothing is claimed that is not there. On given
# labels the accuracy is too low as long as some of them are right, since correct predictions of
# wrong labels count as errors; :func:`~sknoisy.metrics.clid_scorer` and ``trusted_accuracy`` are
# made for that.
