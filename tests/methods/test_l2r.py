"""L2RClassifier: weights by products of gradients, bound on the gradient, weight decay."""

import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from small_family import noisy_blobs, small
from torch import nn

X, Y, TRUSTED = noisy_blobs()


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero, where each class is equally probable."""

    def reset_parameters(self):
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def test_rows_whose_gradient_opposes_the_meta_set_have_no_weight():
    """In the only batch, all rows and all trusted rows meet at a softmax model of zeros."""
    clf = small(
        "L2R",
        module=ZeroLinear(6, 3),
        max_epochs=1,
        n_warmup_epochs=0,
        batch_size=len(Y),
        meta_batch_size=int(TRUSTED.sum()),
        standardize=False,
    ).fit(X, Y, clean_mask=TRUSTED)
    errors = 1 / 3 - np.eye(3)[Y]
    gradients = errors[:, :, None] * np.column_stack([X, np.ones(len(X))])[:, None]
    products = np.tensordot(gradients, gradients[TRUSTED].mean(axis=0))
    opposed = products < 0
    assert 10 < opposed.sum() < len(Y) / 2
    assert_array_equal(clf.sample_weight_ == 0, opposed)
    assert_allclose(clf.sample_weight_, products.clip(min=0) / products.max(), atol=1e-5)


def test_mislabelled_rows_weigh_less():
    wrong = noisy_blobs(rate=0.0)[1] != Y
    weight = small("L2R", max_epochs=8).fit(X, Y, clean_mask=TRUSTED).sample_weight_
    # Half of the smallest difference of five seeds, 0.29.
    assert weight[~wrong].mean() > weight[wrong].mean() + 0.14


class Norms(Callback):
    """Record the norm of the gradient of each batch, as the optimiser receives it."""

    def __init__(self):
        self.norms = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        gradient = torch.cat([parameter.grad.ravel() for _, parameter in named_parameters])
        self.norms.append(gradient.norm().item())


def test_max_grad_norm_bounds_the_gradient_of_each_batch():
    def fit(bound):
        watch = Norms()
        clf = small("L2R", max_grad_norm=bound, callbacks=[watch]).fit(X, Y, clean_mask=TRUSTED)
        return clf.predict_proba(X), max(watch.norms)

    unbounded, largest = fit(None)
    assert largest > 1
    clipped, norm = fit(0.1)
    assert_allclose(norm, 0.1, rtol=1e-4)
    assert not np.array_equal(clipped, unbounded)
    assert_array_equal(fit(1.01 * largest)[0], unbounded)


def test_weight_decay_of_images_is_the_usual_one():
    images = np.random.default_rng(0).normal(size=(40, 8, 8, 1))
    of_images = small("L2R", max_epochs=1, n_warmup_epochs=0, module_params={"depth": "small"})
    of_images.fit(images, Y[:40], clean_mask=np.ones(40, bool))
    assert of_images.net_.optimizer_.param_groups[0]["weight_decay"] == 5e-4
