"""Pipelines of imbalanced-learn, whose steps may change y or drop rows.

scikit-learn's own pipeline passes y on unchanged. These pipelines also accept steps with
``fit_resample``, which run in ``fit`` and are skipped in ``predict``. They subclass scikit-learn's
pipeline, so that grid search, cross-validation and metadata routing work as usual, and rows are
dropped within each training fold only.

Such steps receive further arguments, such as ``clean_mask``, by metadata routing only. Without it,
imbalanced-learn drops them in silence; here they are refused.

Examples
--------
>>> from imblearn.under_sampling import EditedNearestNeighbours
>>> from sklearn.preprocessing import StandardScaler
>>> from sknoisy import CLIDMUClassifier
>>> from sknoisy.datasets import make_noisy_classification
>>> from sknoisy.pipeline import make_pipeline
>>> X, y, y_clean = make_noisy_classification(400, 8, rate=0.3, class_sep=2, random_state=0)
>>> clf = CLIDMUClassifier(max_epochs=20, random_state=0)
>>> model = make_pipeline(StandardScaler(), EditedNearestNeighbours(kind_sel="mode"), clf)
>>> bool(model.fit(X, y).score(X, y_clean) > 0.9)
True
>>> len(clf.clean_proba_) == len(model[1].sample_indices_) < len(X)
True
"""

from __future__ import annotations

import inspect

import imblearn.pipeline

from ._compat import routing_enabled

__all__ = ["Pipeline", "make_pipeline"]


class Pipeline(imblearn.pipeline.Pipeline):
    """Pipeline of imbalanced-learn that refuses arguments which it would drop.

    Parameters, attributes and methods are those of :class:`imblearn.pipeline.Pipeline`. Without
    metadata routing, an argument such as ``labelpurifier__clean_mask`` raises a TypeError if its
    step would not receive it.
    """

    def _check_method_params(self, method, props, **kwargs):
        if not routing_enabled():
            for name in props:
                self._refuse_if_dropped(name, method)
        return super()._check_method_params(method, props, **kwargs)

    def _refuse_if_dropped(self, name: str, method: str) -> None:
        step, separator, argument = name.partition("__")
        if not separator:  # scikit-learn refuses it
            return
        if step not in self.named_steps:
            raise TypeError(
                f"{name!r} was passed, but no step is named {step!r}; the steps are "
                f"{list(self.named_steps)}. Leave it out, or correct the name."
            )
        taker = self.named_steps[step]
        if taker is None or taker == "passthrough":
            raise TypeError(f"{name!r} was passed, but step {step!r} does nothing. Leave it out.")
        is_last = taker is self.steps[-1][1]
        if not hasattr(taker, "fit_resample") or (is_last and method == "fit"):
            return
        kind = type(taker).__name__
        if argument not in inspect.signature(taker.fit_resample).parameters:
            raise TypeError(
                f"{name!r} was passed, but {kind}.fit_resample does not take {argument!r}. Leave "
                "it out, or correct the name."
            )
        raise TypeError(
            f"{name!r} was passed, but step {step!r} receives it by metadata routing only. Call "
            f"sklearn.set_config(enable_metadata_routing=True), {kind}(...)"
            f".set_fit_request({argument}=True).set_fit_resample_request({argument}=True), and "
            f"pass {argument}=... to {method} of the pipeline."
        )


def make_pipeline(*steps, memory=None, transform_input=None, verbose=False) -> Pipeline:
    """Return a :class:`Pipeline` of these steps, named by their classes in lower case.

    Parameters
    ----------
    *steps : estimators
        The steps in order.
    memory : str, joblib memory or None, default=None
        Cache of the fitted transformers.
    transform_input : list of str or None, default=None
        Names of metadata that earlier steps transform; needs metadata routing.
    verbose : bool, default=False
        Whether to print the time that each step took.

    Returns
    -------
    pipeline : Pipeline

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sknoisy import LabelPurifier
    >>> from sknoisy.pipeline import make_pipeline
    >>> list(make_pipeline(LabelPurifier(), LogisticRegression()).named_steps)
    ['labelpurifier', 'logisticregression']
    """
    named = imblearn.pipeline.make_pipeline(*steps).steps
    return Pipeline(named, memory=memory, transform_input=transform_input, verbose=verbose)
