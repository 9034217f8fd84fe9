"""A small MLNTClassifier, a problem for it, and its ramp."""

from skorch.callbacks import Callback
from small_family import noisy_blobs

from sknoisy import MLNTClassifier
from sknoisy.methods.mlnt import LabelTransfer

X, Y, TRUSTED = noisy_blobs()


def small(**parameters):
    """A classifier that is fitted in a tenth of a second."""
    settings = {"max_epochs": 3, "batch_size": 32, "n_synthetic": 3}
    settings["transfer"] = LabelTransfer(n_pretrain_epochs=1)
    if "module" not in parameters:
        settings["module_params"] = {"hidden": (8,), "dropout": 0.2}
    return MLNTClassifier(**{"random_state": 0, **settings, **parameters})


def fit(clean_mask=None, sample_weight=None, y=Y, **parameters):
    """A small classifier that is fitted on the problem."""
    return small(**parameters).fit(X, y, clean_mask=clean_mask, sample_weight=sample_weight)


def proba(*args, **parameters):
    """Its probabilities on the training rows."""
    return fit(*args, **parameters).predict_proba(X)


class Ramp(Callback):
    """Set the ramp of the meta step, so that trainings of other lengths have the same one."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_train_begin(self, net, **kwargs):
        dict(net.callbacks_)["meta"].n_ramp_epochs = self.n_epochs
