"""Classifier for noisy labels by noise-tolerant training (MLNT)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from ..._compat import Interval, StrOptions
from ..._docs import share_docs
from .training import NoiseTolerantTraining

__all__ = ["MLNTClassifier"]


@share_docs
class MLNTClassifier(NoiseTolerantTraining):
    """Classifier for noisy labels by noise-tolerant training (MLNT).

    Before every step, the network is moved to where a step on wrong labels would not change its
    predictions: each batch gets several sets of synthetic labels, taken over from near neighbours,
    and after a step on any of them the network should agree with its teacher, its own moving
    average. In further iterations the network that was found is the mentor of a new one: it says
    which labels are left out, and its predictions are a part of the target.

    No trusted rows are needed. Those that are passed as ``clean_mask`` choose the epoch.

    Parameters
    ----------
    n_synthetic : int, default=10
        Sets of synthetic labels of a batch, M. 0: plain cross-entropy.
    transfer_share : float, default=0.5
        Share of the rows of a batch that draw a neighbour's label, in [0, 1].
    n_neighbors : int, default=10
        Neighbours to draw from, at most all other rows of the batch.
    inner_lr : "auto" or float, default="auto"
        Step size on the synthetic labels. "auto": a fifth of ``lr``. ``lr`` is published.
    meta_lr : "auto" or float, default="auto"
        Step size of the meta step, after the ramp; it follows the schedule of ``lr``. "auto": at
        most 30 ``lr``, or 3 ``lr`` in a joint step, which has the optimiser's momentum, and less
        the less the teacher contradicts the labels. Its largest probability minus that of the
        given label, in the mean over (at most 1,000) training rows before each epoch, is divided
        by 0.075. A float: the same in all epochs, as published.
    meta_step : {"separate", "joint"}, default="separate"
        "separate": a step of plain gradient descent on the meta loss before the actual step.
        "joint": one step of the optimiser along the sum of both gradients, that of the meta loss
        times ``meta_lr / lr``; the released code is this with ``meta_lr=lr``.
    first_order : bool, default=True
        Take the inner gradients for constants. False: the exact meta gradient.
    batched : "auto" or bool, default="auto"
        Compute all label sets at once, or one after another: the same up to rounding. "auto": see
        :class:`~sknoisy.methods.mlnt.ToleranceGradient`.
    n_warmup_epochs : int, default=0
        Epochs of plain cross-entropy first.
    n_ramp_epochs : "auto" or float, default="auto"
        Over so many epochs the step size of the meta step grows from 0. "auto": a sixth of
        ``max_epochs``, as published.
    n_pretrain_epochs : "auto" or int, default="auto"
        Epochs of plain cross-entropy of the network whose features say which rows are
        neighbours. "auto": a third of ``max_epochs``. 0: the rows themselves say it.
    teacher_decay : "auto" or float, default="auto"
        Share of its past that the teacher keeps at each step, in [0, 1]. "auto": it averages over
        about a hundredth of the steps, at least 2 and at most 1,000 of them.
    n_iterations : int, default=1
        Trainings; from the second on, the network chosen in the one before is the mentor. The
        paper has 3.
    mentor_threshold : "auto" or float, default="auto"
        Rows take part in the cross-entropy if the mentor's probability of their label is larger;
        0.3 is published. "auto": if the mentor predicts their label. Trusted rows do always, and
        each class keeps its most probable rows.
    blend : float, default=0.5
        Share of the teacher in the target at the end of an iteration, from 0 at its beginning;
        the rest is the mentor's.
    predict_with : {"auto", "teacher", "student"}, default="auto"
        "auto": the teacher or, where trusted rows choose the epoch, the better one.
    epoch_selection : {"auto", "last", "agreement", "clid", "trusted"}, default="auto"
        "last": the last epoch. "agreement": student and teacher predict the same class most often.
        "clid": the lowest cross-layer information divergence; neither takes an epoch of the ramp,
        when a network that predicts one class scores well. "trusted": the highest accuracy on
        trusted rows, at most a tenth of each class, which are kept out of training for it.
        "auto": "trusted" if some trusted rows can be spared, else "last".
    {module, module_params, optimizer, optimizer_params}
    lr : float, default=0.05
        Learning rate of the network.
    {lr_schedule}
    max_epochs : int, default=60
        Passes over the data, in each iteration.
    {batch_size, augment, standardize, device}
    callbacks : list or None, default=None
        Further skorch callbacks, of each iteration.
    verbose : int, default=0
        1 shows a progress bar, and says what "auto" stood for and what the mentor left out.
    {random_state}

    Attributes
    ----------
    {classes_, clean_proba_}
    best_epoch_ : int
        Epoch of the last iteration whose network predicts.
    predicts_with_ : str
        "student" or "teacher".
    kept_rows_ : ndarray of bool of shape (n_samples,)
        Rows whose label the last mentor believed; there is none with one iteration.
    validation_rows_ : ndarray of shape (n_validation,)
        Trusted rows that chose the epoch; there are none without.
    inner_lr_, meta_lr_, teacher_decay_, n_ramp_epochs_ : float
        The values that "auto" stood for; of ``meta_lr``, which changes, the largest.
    n_pretrain_epochs_ : int
        The values that "auto" stood for.
    net_ : DeviceNet
        The fitted skorch net of the last iteration; its module is the student, and sees scaled
        rows.
    history_ : skorch.history.History
        Of the last iteration, per epoch: ``train_loss``, ``meta_loss``, ``meta_lr`` before ramp
        and schedule if it is "auto", ``event_lr``, ``dur``, and what chose the epoch.
    n_iterations_ : int
        Iterations that were run to their end.
    n_iter_ : int
        Epochs that were run in the last iteration.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    sknoisy.callbacks.TeacherAverage : The teacher, on any skorch net.

    References
    ----------
    J. Li, Y. Wong, Q. Zhao and M. Kankanhalli. Learning to Learn from Noisy Labeled Data. CVPR
    2019.

    Examples
    --------
    >>> from sknoisy import MLNTClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = MLNTClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **NoiseTolerantTraining._parameter_constraints,
        "n_synthetic": [Interval(Integral, 0, None, closed="left")],
        "transfer_share": [Interval(Real, 0, 1, closed="both")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "inner_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "meta_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "meta_step": [StrOptions({"separate", "joint"})],
        "first_order": ["boolean"],
        "batched": [StrOptions({"auto"}), "boolean"],
        "n_warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "n_ramp_epochs": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_pretrain_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "teacher_decay": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "n_iterations": [Interval(Integral, 1, None, closed="left")],
        "mentor_threshold": [StrOptions({"auto"}), Interval(Real, None, None, closed="neither")],
        "blend": [Interval(Real, 0, 1, closed="both")],
        "predict_with": [StrOptions({"auto", "teacher", "student"})],
        "epoch_selection": [StrOptions({"auto", "last", "agreement", "clid", "trusted"})],
    }

    def __init__(
        self,
        *,
        n_synthetic: int = 10,
        transfer_share: float = 0.5,
        n_neighbors: int = 10,
        inner_lr: str | float = "auto",
        meta_lr: str | float = "auto",
        meta_step: str = "separate",
        first_order: bool = True,
        batched: str | bool = "auto",
        n_warmup_epochs: int = 0,
        n_ramp_epochs: str | float = "auto",
        n_pretrain_epochs: str | int = "auto",
        teacher_decay: str | float = "auto",
        n_iterations: int = 1,
        mentor_threshold: str | float = "auto",
        blend: float = 0.5,
        predict_with: str = "auto",
        epoch_selection: str = "auto",
        module=None,
        module_params: dict[str, Any] | None = None,
        optimizer="sgd",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 0.05,
        lr_schedule="cosine",
        max_epochs: int = 60,
        batch_size: int = 100,
        augment="auto",
        standardize: str | bool = "auto",
        device="auto",
        callbacks: list | None = None,
        verbose: int = 0,
        random_state=None,
    ):
        super().__init__(
            module=module,
            module_params=module_params,
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            lr=lr,
            lr_schedule=lr_schedule,
            max_epochs=max_epochs,
            batch_size=batch_size,
            augment=augment,
            standardize=standardize,
            device=device,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.n_synthetic = n_synthetic
        self.transfer_share = transfer_share
        self.n_neighbors = n_neighbors
        self.inner_lr = inner_lr
        self.meta_lr = meta_lr
        self.meta_step = meta_step
        self.first_order = first_order
        self.batched = batched
        self.n_warmup_epochs = n_warmup_epochs
        self.n_ramp_epochs = n_ramp_epochs
        self.n_pretrain_epochs = n_pretrain_epochs
        self.teacher_decay = teacher_decay
        self.n_iterations = n_iterations
        self.mentor_threshold = mentor_threshold
        self.blend = blend
        self.predict_with = predict_with
        self.epoch_selection = epoch_selection
