"""
==========================================
The layers that FaMUS sends gradients to
==========================================

:class:`~sknoisy.FaMUSClassifier` computes the meta gradient through a few layers only. Which ones
is drawn anew in every batch by small networks, one for each layer, that learn while the classifier
is trained. :class:`~sknoisy.inspection.LayerUsageDisplay` draws what they chose.
"""

# %%
# Fit
# ---
# 800 digits of which 40 % carry a wrong label; the labels of a tenth of the rows have been
# checked. The default network has two hidden layers only, so this one gets four, which makes eight
# weights and biases below the last layer. ``n_active_layers``, K in the paper, is how many of them
# shall be active. To be short, the example trains for 20 epochs at twice the default learning
# rate.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from sknoisy import FaMUSClassifier
from sknoisy.datasets import load_noisy_digits
from sknoisy.inspection import LayerUsageDisplay

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
checked = ~wrong & (np.random.default_rng(0).random(len(y)) < 0.1 / 0.6)

fitted = {}
for n_active in (4, 1):
    fitted[n_active] = FaMUSClassifier(
        n_active_layers=n_active,
        module_params={"hidden": (128, 128, 128, 128), "dropout": 0.1},
        max_epochs=20,
        lr=0.1,
        random_state=0,
    ).fit(X, y, clean_mask=checked)
    print(f"K = {n_active}: accuracy {fitted[n_active].score(X_test, y_test):.3f}")

# %%
# Which layers were active
# ------------------------
# The bottom row is the first layer of the network. Weight and bias of the last layer, at the top,
# have no gate. Both networks of the classifier have samplers of their own; those of the first one
# are drawn, from the end of the warm-up on.

fig, axes = plt.subplots(2, 1, figsize=(7, 6.4), layout="constrained")
for ax, (n_active, clf) in zip(axes, fitted.items(), strict=True):
    LayerUsageDisplay.from_estimator(clf, ax=ax)
    ax.set_title(f"K = {n_active}")
plt.show()

# %%
# How many were active
# --------------------
# At the start a gate is open in every second step. A term of the meta loss draws the number of
# open gates to K. What a step costs depends on the lowest one, where the backward pass on the meta
# batch ends and the forward-mode pass begins.

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for n_active, clf in fitted.items():
    n_gated = clf.layer_usage_[:, :-2].sum(axis=1)
    epochs = np.arange(len(n_gated)) + clf.n_warmup_epochs_ + 1
    (line,) = ax.plot(epochs, n_gated, label=f"K = {n_active}")
    ax.axhline(n_active, color=line.get_color(), linestyle=":")
ax.set(xlabel="epoch", ylabel="open gates, mean of steps", ylim=(0, 8))
ax.xaxis.get_major_locator().set_params(integer=True)
ax.legend()
plt.show()
