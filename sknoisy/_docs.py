r"""Texts that the docstrings of several estimators share, each written once.

A docstring names the entries that it takes, in braces on lines of their own; the decorator fills
them in:

>>> docs = SharedDocs(
...     "lr : float, default=0.05\n    Learning rate.\n"
...     "batch_size : int, default=100\n    Rows per batch."
... )
>>> @docs
... class Example:
...     "An estimator.\n\n    Parameters\n    ----------\n    {lr, batch_size}"
>>> print(Example.__doc__)
An estimator.
<BLANKLINE>

Parameters
----------
    lr : float, default=0.05
        Learning rate.
    batch_size : int, default=100
        Rows per batch.
"""

from __future__ import annotations

import re
from textwrap import indent
from typing import TypeVar

__all__ = ["SharedDocs", "share_docs"]

_Class = TypeVar("_Class", bound=type)


class SharedDocs:
    """Decorator of classes that fills shared entries into their docstrings.

    Parameters
    ----------
    text : str
        Entries of numpydoc sections, header lines at the margin. An entry is called by the first
        name of its header.
    base : SharedDocs or None, default=None
        Gives the entries that `text` lacks.

    Raises
    ------
    KeyError
        On decorating, if a docstring asks for an entry that there is none of.
    """

    def __init__(self, text: str, base: SharedDocs | None = None):
        self.entries: dict[str, str] = {} if base is None else dict(base.entries)
        for entry in re.split(r"\n(?=\S)", text.strip("\n")):
            self.entries[re.split(r"\W", entry, maxsplit=1)[0]] = entry

    def __call__(self, cls: _Class) -> _Class:
        """Fill in; docstrings that python -OO has taken away stay away."""
        if cls.__doc__ is not None:
            cls.__doc__ = re.sub(r"^( *)\{([\w, ]+)\}$", self._fill, cls.__doc__, flags=re.M)
        return cls

    def _fill(self, line: re.Match) -> str:
        margin, names = line.groups()
        return indent("\n".join(self.entries[name] for name in names.split(", ")), margin)


share_docs = SharedDocs("""
meta_batch_size : int, default=100
    Rows per meta batch.
module : None, nn.Module class, factory or instance, default=None
    The network; it returns logits. None: an MLP for tables, the small
    :class:`~sknoisy.networks.PreActResNet` for images. An instance is deep-copied.
module_params : dict or None, default=None
    Arguments of the class or factory, or of the default network. ``n_features``,
    ``in_channels`` and ``n_classes`` are filled in where the signature names them.
optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"
    Optimiser of the network; "sgd" has momentum 0.9.
optimizer_params : dict or None, default=None
    Its further arguments. Unless given, ``weight_decay`` is 5e-4 or, for the default MLP, what
    :func:`~sknoisy.networks.mlp_settings` says.
lr : float, default=0.05
    Learning rate of the network, also the size of the virtual step.
max_epochs : int, default=60
    Passes over the data.
batch_size : int, default=100
    Rows per batch.
augment : {"auto", "flip+crop", "crop"}, None or callable, default="auto"
    Augmentation of training images, on whole batches: ``augment(images, generator)``. "auto":
    "flip+crop" for images, none for tables.
standardize : "auto" or bool, default="auto"
    Shift and scale columns, or the channels of images, to mean 0 and variance 1. "auto": for
    images, and for tables that the default network reads.
device : "auto", str or torch.device, default="auto"
    "auto": a CUDA GPU if there is one, else the CPU.
callbacks : list or None, default=None
    Further skorch callbacks.
random_state : int, RandomState or None, default=None
    Decides all draws; on a CPU, two fits with the same int give the same model bit for bit.
classes_ : ndarray of shape (n_classes,)
    Labels.
clean_proba_ : ndarray of shape (n_samples,)
    Probability that the given label is right: the model's probability of it, 1 for trusted
    rows.
n_iter_ : int
    Epochs that were run.
n_features_in_ : int
    Columns, or pixels times channels.
feature_names_in_ : ndarray of shape (n_features,)
    Column names, if X was a frame of strings.
image_shape_ : tuple or None
    Shape of one image.
gradient : {"forward", "reverse", "famus"} or callable, default="forward"
    Gradient strategy: :class:`~sknoisy.meta.ForwardGradient`,
    :class:`~sknoisy.meta.ReverseGradient`, :class:`~sknoisy.meta.LayerSampledGradient` with
    their defaults, or such a class or instance.
n_warmup_epochs : "auto" or int, default="auto"
    Epochs of plain cross-entropy first. "auto": 5, at most half of ``max_epochs``.
lr_schedule : {"cosine", "constant"} or callable, default="cosine"
    Schedule by epochs; "cosine" ends at a fiftieth of ``lr``. A callable takes the optimiser
    and returns a torch scheduler.
verbose : int, default=0
    1 shows a progress bar, and says what "auto" and missing trusted rows stood for.
meta_rows_ : ndarray of shape (n_meta,)
    Rows of the meta set: the trusted ones, or the pseudo-clean ones of the last epoch.
layer_names_, layer_usage_ : tuple of str, ndarray of shape (n_epochs, n_layers)
    Layers and the share of steps in which each was active, by epochs of the meta update; of a
    gradient that samples layers only.
n_recoveries_ : int
    How often a collapsing network was set back to an earlier epoch, with a
    :class:`~sknoisy.exceptions.CollapseWarning`.
n_skipped_batches_ : int
    Batches of which no row had any weight; the network made no step on them.
net_ : DeviceNet
    The fitted skorch net; its module sees scaled rows.
history_ : skorch.history.History
    Per epoch: ``train_loss``, ``meta_loss``, ``event_lr``, ``dur``, and ``n_pseudo_clean`` if
    there are no trusted rows.
loss : {"cross_entropy", "ldam"}, default="cross_entropy"
    Training loss of a row; "ldam" has a wider margin for rarer given classes
    (:class:`~sknoisy.meta.LDAMLoss`).
class_weight : dict, {"balanced"} or None, default=None
    Weights of the given classes in the training loss, by label; a class that a dict leaves
    out weighs 1. "balanced": each counts the same. They multiply ``sample_weight``.
n_warmup_epochs_, meta_lr_ : int, float
    The values that "auto" stood for.
trusted_weight : "auto" or float, default="auto"
    Weight of a row of ``clean_mask`` in the training loss, against 1 of the others. It stands
    for the mixing of the released label corrector, which takes a seventh of each batch from
    2 % of trusted rows. "auto": 8 for tables, 1 for images.
purified_labels_ : ndarray of shape (n_samples,)
    Most probable class of each row's soft label.
sample_indices_ : ndarray of shape (n_selected,), int64
    The rows that are selected, ascending.
clean_mask_ : ndarray of shape (n_samples,), bool
    True where the row is selected.
""")
