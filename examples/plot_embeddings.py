"""
===============================
Embeddings of images as a table
===============================

A network that was trained on other images turns each image into a row of numbers. For everything
that follows these rows are a table, and no network has to be trained on the wrong labels. Here
that table is compared with the table of the pixels.
"""

# %%
# A backbone
# ----------
# The backbone is usually a large pretrained network, for example one of timm::
#
#     backbone = timm.create_model("resnet50", pretrained=True, num_classes=0).eval()
#     X = backbone(images).numpy()  # float32, (n_images, 2048)
#
# Here it is a small one, so that nothing has to be downloaded: three convolutions, trained on
# digits from 0 to 4, whose labels are right. Each digit lies somewhere in an image of 12 x 12
# pixels, twice at random.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sknoisy import NoisyLabelClassifier
from sknoisy.noise import symmetric

rng = np.random.default_rng(0)
digits, labels = load_digits(return_X_y=True)


def place(rows):
    """Images of these digits, each at a random place."""
    images = np.zeros((len(rows), 1, 12, 12), dtype=np.float32)
    corners = rng.integers(5, size=(len(rows), 2))
    for image, digit, (top, left) in zip(images, rows, corners, strict=True):
        image[0, top : top + 8, left : left + 8] = digit.reshape(8, 8) / 16
    return images


def block(n_in, n_out):
    """A convolution that halves the image."""
    convolution = nn.Conv2d(n_in, n_out, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2))


torch.manual_seed(0)
backbone = nn.Sequential(
    block(1, 16), block(16, 32), block(32, 64), nn.AdaptiveMaxPool2d(1), nn.Flatten()
)
others = np.repeat(np.flatnonzero(labels < 5), 2)
NeuralNetClassifier(
    nn.Sequential(backbone, nn.Linear(64, 5)),
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.003,
    max_epochs=8,
    train_split=None,
    verbose=0,
).fit(place(digits[others]), labels[others])

# %%
# Two tables
# ----------
# The digits from 5 to 9 are new to the backbone. Two of five of their labels are wrong. The true
# labels are used to judge, never to train.

images, y_clean = place(digits[labels >= 5]), labels[labels >= 5]
with torch.no_grad():
    embeddings = backbone.eval()(torch.from_numpy(images)).numpy()
train, test = train_test_split(np.arange(len(images)), train_size=320, random_state=0)
y = symmetric(y_clean[train], 0.4, random_state=0).y
wrong = y != y_clean[train]

# %%
# Two models
# ----------
# A linear classifier is the usual one on embeddings. It fits wrong labels as well as right ones.
# The networks of :class:`~sknoisy.NoisyLabelClassifier` train for ten epochs only, to be short.

for name, X in {"pixels": images.reshape(-1, 144), "embeddings": embeddings}.items():
    models = {
        "labels as given": make_pipeline(StandardScaler(), LogisticRegression()),
        "NoisyLabelClassifier": NoisyLabelClassifier(
            network_params={"max_epochs": 10}, random_state=0
        ),
    }
    print(name)
    for title, model in models.items():
        print(f"    {title:22}{model.fit(X[train], y).score(X[test], y_clean[test]):.3f}")

# %%
# The audit
# ---------
# The images whose given labels the last model, on embeddings, believes least.

suspects = model.clean_proba_.argsort()[:15]
fig, axes = plt.subplots(3, 5, figsize=(7.5, 5), layout="constrained")
for ax, row in zip(axes.flat, suspects, strict=True):
    ax.imshow(images[train[row], 0], cmap="gray_r")
    ax.set_title(f"given {y[row]}, likely {model.purified_labels_[row]}", fontsize=9)
    ax.axis("off")
fig.suptitle(f"{wrong[suspects].sum()} of these 15 labels are wrong")
plt.show()
