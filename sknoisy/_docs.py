r"""Texts shared by the docstrings of several estimators, each written once.

A docstring lists the entries to insert in braces, on a line of their own. The decorator replaces
the line by the entries:

>>> import inspect
>>> docs = SharedDocs(
...     "lr : float, default=0.05\n    Learning rate.\n"
...     "batch_size : int, default=100\n    Number of rows per batch."
... )
>>> @docs
... class Example:
...     "An estimator.\n\n    {lr, batch_size}"
>>> print(inspect.getdoc(Example))
An estimator.
<BLANKLINE>
lr : float, default=0.05
    Learning rate.
batch_size : int, default=100
    Number of rows per batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import indent
from typing import TypeVar

__all__ = ["SharedDocs", "share_docs"]

_Documented = TypeVar("_Documented", bound=Callable)


class SharedDocs:
    """Decorator of classes and methods that inserts shared entries into docstrings.

    `text` holds entries of numpydoc sections, with their header lines at the margin; the first
    name in the header is the key of the entry. `base` provides the entries that `text` does not
    define. KeyError is raised if a decorated docstring lists an entry that does not exist.
    """

    def __init__(self, text: str, base: SharedDocs | None = None):
        self.entries: dict[str, str] = {} if base is None else dict(base.entries)
        for entry in re.split(r"\n(?=\S)", text.strip("\n")):
            self.entries[re.split(r"\W", entry, maxsplit=1)[0]] = entry

    def __call__(self, documented: _Documented) -> _Documented:
        """Insert the entries, unless python -OO has removed the docstring."""
        if documented.__doc__ is not None:
            entries = re.compile(r"^( *)\{([\w, ]+)\}$", flags=re.M)
            documented.__doc__ = entries.sub(self._fill, documented.__doc__)
        return documented

    def _fill(self, line: re.Match) -> str:
        margin, names = line.groups()
        return indent("\n".join(self.entries[name] for name in names.split(", ")), margin)


share_docs = SharedDocs("""
y : array-like of shape (n_samples,)
    Noisy labels; :ref:`labels` lists the containers and types.
clean_mask : array-like of bool of shape (n_samples,) or None, default=None
    True where the label is trusted.
unlabeled_mask : array-like of bool of shape (n_samples,) or None, default=None
    True for rows without a label. Their entries in y are not read, so they can be anything.
sample_weight : array-like of shape (n_samples,) or None, default=None
    Non-negative weights of the rows in the training loss; only their ratios count.
meta_batch_size : int, default=100
    Number of rows per meta batch.
module : None, nn.Module class, factory or instance, default=None
    The network, which returns logits. If None, an MLP is used for tables and the small
    :class:`~sknoisy.networks.PreActResNet` for images. An instance is deep-copied.
module_params : dict or None, default=None
    Arguments of the class or factory, or of the default network. ``n_features``,
    ``in_channels`` and ``n_classes`` are filled in if the signature names them; the first
    includes the indicators of missing values.
optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"
    Optimiser of the network. "sgd" uses momentum 0.9.
optimizer_params : dict or None, default=None
    Further arguments of the optimiser. By default, ``weight_decay`` is 5e-4 or, for the
    default MLP, the value that :func:`~sknoisy.networks.mlp_settings` returns.
lr : "auto" or float, default="auto"
    Learning rate of the network, which is also the size of the virtual step. "auto" stands
    for 0.05, or for 0.005 times the root of ``batch_size`` if it is larger than 100, up to 0.2.
max_epochs : "auto" or int, default="auto"
    Number of passes over the training set. "auto" stands for 60, or for as many as train on 12
    million rows if a table has more than 200,000 rows, but at least for 10.
batch_size : "auto" or int, default="auto"
    Number of rows per batch. "auto" stands for 100, or for the 200th part of the rows of a
    table if that is more, up to 2,000.
max_time : float or None, default=None
    Seconds after which training ends, at the next batch. What was learned until then predicts,
    and an :class:`~sknoisy.exceptions.InterruptedFitWarning` tells where training ended. None: no
    limit.
augment : {"auto", "flip+crop", "crop", "strong", "strong-noflip", "autoaugment"}, None or \
        callable, default="auto"
    Augmentation of training images.

    - "flip+crop" and "crop" shift the images at random; the first also mirrors them.
    - "strong" changes colours and geometry by RandAugment and fills a square (Cutout), then
      follows "flip+crop". "strong-noflip" is the same with "crop", for digits and letters.
    - "autoaugment" is AutoAugment's policy for CIFAR-10 and Cutout, then "flip+crop".
    - "auto" stands for "flip+crop" if the rows are images, and for None if X is a table.

    A callable is applied to whole batches, as ``augment(images, generator)``, and returns images
    of the same shape.
strong_augment : {"auto", "randaugment", "promix", "autoaugment"}, None or callable, default="auto"
    Augmentation of the strong views; ``augment`` is applied after it.

    - "randaugment" makes two random operations, each with probability 1/2, and fills a square
      (Cutout), "promix" three of random strength and a square of random size. "autoaugment" is
      AutoAugment's policy for CIFAR-10 and Cutout. They are made for images.
    - "auto" stands for the one of the paper, and for the replacement of random columns by values
      of other rows if X is a table.
    - None: strong views are like weak ones.

    A callable is applied to whole batches, as ``strong_augment(X, generator)``, and returns rows
    of the same shape.
standardize : "auto" or bool, default="auto"
    Whether to shift and scale columns, or the channels of images, to mean 0 and variance 1.
    "auto" does so for images, and for tables if the default network is used. A wide sparse X,
    such as that of text, is not standardised but reduced (:ref:`text`).
device : "auto", str or torch.device, default="auto"
    Device to train on. "auto" selects a CUDA GPU, else an Apple GPU, else the CPU.
precision : {"auto", "float32", "bfloat16"}, default="auto"
    Precision of the network's passes. With "bfloat16", torch's autocast is on in them; weights,
    running statistics, losses and meta models stay in float32. "auto" stands for "bfloat16" if
    rows are no table and the device is a CUDA GPU that supports it, else for "float32": most CPUs
    are slower in bfloat16.
pretrained : fitted representation, nn.Module, dict or None, default=None
    Start of the network. A fitted representation, such as
    :class:`~sknoisy.representation.SimCLR`, gives its encoder and its scaling of X. A module that
    returns features (n, d) is an encoder, too. Each network gets a copy with a new last layer;
    frozen parameters stay frozen. A dict is a state dict for the network, in which the last layer
    may be missing. In cross-validation, wrap a representation in
    :class:`sklearn.frozen.FrozenEstimator`, because a copy of it is not fitted.
weight_average : float or None, default=None
    Decay of a moving average of the weights over the steps, which predicts instead of the network
    (:class:`~sknoisy.callbacks.TeacherAverage`). It should be below 1 minus ten over the number
    of steps. None: no average.
n_ensemble : int, default=0
    Number of epochs, those of lowest CLID after the warm-up, whose logits are averaged for
    prediction (:class:`~sknoisy.callbacks.CheckpointEnsemble`). If 0, the last epoch is used.
warm_start : bool, default=False
    If True, another ``fit`` of a fitted classifier begins at the weights of ``net_`` and keeps the
    scaling of X; all else begins anew, ``max_epochs`` of further training included. The columns
    and classes must be those of the first ``fit``. See :ref:`warm_start`.
checkpoint : path-like or None, default=None
    File for the state of training, written after each epoch. If ``fit`` was killed, call it again
    with the same arguments, in any process: it goes on there, and on a CPU it ends bit for bit
    like an unbroken fit. A finished fit is not trained further. See :ref:`long_fits`.
callbacks : list or None, default=None
    Additional skorch callbacks.
random_state : int, RandomState or None, default=None
    Controls all random draws. On a CPU, two fits with the same int give the same model bit
    for bit.
classes_ : ndarray of shape (n_classes,)
    Class labels.
label_distribution_ : ndarray of float64 of shape (n_samples, n_classes)
    Probability of each class for each training row, in the order of ``classes_``; one-hot for
    trusted rows. :ref:`label_distribution` describes how each estimator makes it.
purified_labels_ : ndarray of shape (n_samples,)
    Most probable label of each training row, by ``label_distribution_``.
clean_proba_ : ndarray of float64 of shape (n_samples,)
    Probability that the given label of each training row is right, by ``label_distribution_``.
n_iter_ : int
    Number of epochs run.
ensemble_epochs_ : list of int
    Epochs (from 1) of ``net_`` whose logits are averaged, the best first.
batch_size_, max_epochs_, lr_, precision_ : int, int, float, str
    Values of ``batch_size``, ``max_epochs``, ``lr`` and ``precision`` after "auto" is resolved.
n_ranks_ : int
    Number of processes that trained together, 1 without ``torch.distributed``
    (:ref:`several_processes`).
n_features_in_ : int
    Number of columns, or of the values of an image or another row.
feature_names_in_ : ndarray of shape (n_features,)
    Column names. Defined only if X is a frame whose column names are strings.
image_shape_ : tuple or None
    Shape of one image, or of one row of another array of more than two dimensions; None for
    tables.
gradient : {"forward", "reverse", "famus"} or callable, default="forward"
    Gradient strategy. The names stand for :class:`~sknoisy.meta.ForwardGradient`,
    :class:`~sknoisy.meta.ReverseGradient` and :class:`~sknoisy.meta.LayerSampledGradient`
    with their defaults. A class or an instance of a strategy can be passed, too.
n_warmup_epochs : "auto" or int, default="auto"
    Number of epochs of plain cross-entropy before the meta updates start. "auto" stands for
    5, at most half of ``max_epochs``.
lr_schedule : {"cosine", "constant"} or callable, default="cosine"
    Schedule of the learning rate over the epochs. "cosine" ends at a fiftieth of ``lr``. A
    callable receives the optimiser and returns a torch scheduler.
verbose : int, default=0
    If 1, show a progress bar, and print the values that "auto" stands for, the rows that replace
    missing trusted rows, and about how long training takes if that is more than a minute.
meta_rows_ : ndarray of shape (n_meta,)
    Indices of the rows in the meta set: the trusted rows or, if there are none, the
    pseudo-clean rows of the last epoch.
layer_names_, layer_usage_ : tuple of str, ndarray of shape (n_epochs, n_layers)
    Names of the layers, and the share of steps in which each layer was active, for each epoch
    with meta updates. Defined only if the gradient strategy samples layers.
n_recoveries_ : int
    Number of times that a collapsing network was set back to an earlier epoch. Each time, a
    :class:`~sknoisy.exceptions.CollapseWarning` is issued.
n_skipped_batches_ : int
    Number of batches in which no row had any weight. The network makes no step on them.
net_ : DeviceNet
    The fitted skorch net. Its module expects scaled rows.
history_ : skorch.history.History
    Training history. Each epoch has ``train_loss``, ``meta_loss``, ``event_lr`` and ``dur``,
    and ``n_pseudo_clean`` if there are no trusted rows.
loss : {"cross_entropy", "ldam"}, default="cross_entropy"
    Training loss of each row. "ldam" has wider margins for rarer given classes
    (:class:`~sknoisy.meta.LDAMLoss`).
class_weight : dict, {"balanced"} or None, default=None
    Weights of the given classes in the training loss, by label. Classes that are missing from
    a dict have weight 1. "balanced" gives each class the same total weight. The class weights
    multiply ``sample_weight``.
n_warmup_epochs_, meta_lr_ : int, float
    Values of ``n_warmup_epochs`` and ``meta_lr`` after "auto" is resolved.
trusted_weight : "auto" or float, default="auto"
    Weight of the rows in ``clean_mask`` in the training loss, relative to 1 for other rows.
    It replaces the mixing of the released label corrector, which fills a seventh of each
    batch with trusted rows, although they are 2 % of the data. "auto" stands for 8 if X is a
    table, and for 1 if the rows are images.
sample_indices_ : ndarray of shape (n_selected,), int64
    Indices of the selected rows, in ascending order.
clean_mask_ : ndarray of shape (n_samples,), bool
    True for the selected rows.
""")
