"""
================================
The meta update in stock skorch
================================

The meta update is a skorch callback, so that a ``skorch.NeuralNetClassifier`` that you have
already gets it by two arguments: the callback, :class:`~sknoisy.callbacks.MetaUpdate`, and the
criterion through which it weighs the rows of a batch,
:class:`~sknoisy.callbacks.PerSampleCrossEntropy`.
"""

# %%
# Data
# ----
# Digits of which 40 % carry the label of the next digit. skorch wants float32 and scaled columns.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split

from sknoisy.callbacks import MetaUpdate, PerSampleCrossEntropy
from sknoisy.datasets import load_noisy_digits
from sknoisy.meta import WNet
from sknoisy.networks import MLP

digits = load_noisy_digits(noise="pairflip", rate=0.4, random_state=0)
X, X_test, y, _, _, y_test = train_test_split(
    (digits.data / 8 - 1).astype(np.float32),
    digits.target,
    digits.target_clean,
    train_size=800,
    stratify=digits.target_clean,
    random_state=0,
)

# %%
# Two nets
# --------
# They differ in the callback alone. The exponent 0.5 of the weighting network keeps a part of each
# given class's share of a batch. 30 epochs on 800 rows keep the example short. The clean test set
# stands in for a validation set, to draw the accuracy of every epoch.


def train(callbacks):
    """A fitted stock skorch net."""
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        MLP(64, 10, dropout=0.15, input_dropout=0.15),
        criterion=PerSampleCrossEntropy,
        optimizer__momentum=0.9,
        optimizer__weight_decay=5e-4,
        lr=0.05,
        max_epochs=30,
        batch_size=100,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(X_test, y_test)),
        callbacks=callbacks,
        verbose=0,
    )
    return net.fit(X, y)


meta_update = MetaUpdate(WNet(exponent=0.5), n_warmup_epochs=5, random_state=0)
nets = {"cross-entropy": train([]), "with MetaUpdate": train([meta_update])}

# %%
# Accuracy of every epoch
# -----------------------
# The grey line is the end of the warm-up, five epochs of plain training in both. After it the
# callback turns the network away from the wrong labels.

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, net in nets.items():
    ax.plot(net.history[:, "epoch"], net.history[:, "valid_acc"], label=name)
ax.axvline(5, color="0.8", zorder=0)
ax.set(xlabel="epoch", ylabel="accuracy on clean test labels")
ax.legend()
plt.show()

# %%
# What the weighting network learned
# ----------------------------------
# The weight of a row as a function of its loss, before it is normalised over the batch.

losses = torch.linspace(0, 6, 100)
with torch.no_grad():
    weights = meta_update.meta_model_.weigh(losses)
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(losses, weights)
ax.set(xlabel="cross-entropy of the row", ylabel="weight", ylim=(0, None))
plt.show()
