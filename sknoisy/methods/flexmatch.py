"""Classifier that learns from few labels by pseudo-labels with a threshold per class."""

from __future__ import annotations

from .._docs import share_docs
from .fixmatch import FixMatchClassifier
from .semi_supervised import FlexMatchNet

__all__ = ["FlexMatchClassifier"]


@share_docs
class FlexMatchClassifier(FixMatchClassifier):
    """Classifier that learns from few labels by pseudo-labels with a threshold per class.

    It is :class:`FixMatchClassifier` with thresholds that follow the progress of the classes
    (FlexMatch): the fewer rows have a confident pseudo-label of a class, compared with the class
    that has most, the lower is the threshold of this class.

    Parameters
    ----------
    threshold : "auto" or float, default="auto"
        Threshold of the class that is learned best, in [0, 1]. A prediction that reaches it counts
        for its class. "auto" stands for 0.95 times the share of right labels, which is estimated
        after three epochs of cross-entropy.
    unlabeled_weight : float, default=1.0
        Weight of the loss of the strong views.
    unlabeled_ratio : int, default=1
        Number of strong views per row with a label in a batch. The papers use 7 for images. An
        epoch is a pass over all rows, in which few labels are repeated.
    {strong_augment}
    {module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    threshold_ : float
        Value of ``threshold`` after "auto" is resolved. Absent if training ended before.
    {net_, history_, n_iter_, batch_size_, n_features_in_}
    {feature_names_in_, image_shape_}

    See Also
    --------
    FixMatchClassifier : The same with one threshold for all classes.

    References
    ----------
    B. Zhang, Y. Wang, W. Hou, H. Wu, J. Wang, M. Okumura and T. Shinozaki. FlexMatch: Boosting
    Semi-Supervised Learning with Curriculum Pseudo Labeling. NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy import FlexMatchClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.0, random_state=0)
    >>> X, y = digits.data[:900], digits.target[:900]
    >>> clf = FlexMatchClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(X, y, unlabeled_mask=np.arange(900) >= 100)
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.8)
    True
    """

    _net_class = FlexMatchNet
