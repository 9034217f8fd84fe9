"""Parameters that hold a dict, such as ``optimizer_params``, are set as a whole."""

from __future__ import annotations

from typing import Any

__all__ = ["DictParameters"]


class DictParameters:
    """Mixin of estimators that have parameters which hold a dict."""

    _parameter_constraints: dict

    def set_params(self, **params: Any) -> Any:
        """Set the parameters of this estimator.

        Parameters
        ----------
        **params : dict
            Parameters by name; ``outer__inner`` is the parameter of an estimator in a parameter. A
            parameter that holds a dict is set as a whole.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter, or it is an entry of a dict.
        """
        for name, value in params.items():
            owner, _, entry = name.partition("__")
            is_estimator = hasattr(getattr(self, owner, None), "get_params")
            if entry and not is_estimator and dict in self._parameter_constraints.get(owner, []):
                raise ValueError(
                    f"{name!r} is no parameter of {type(self).__name__}: {owner!r} is a dict and "
                    f"is set as a whole. Pass {owner}={{{entry!r}: {value!r}}}, with all other "
                    f"entries. In a search, list such dicts: {{{owner!r}: [{{{entry!r}: ...}}, "
                    "...]}."
                )
        return super().set_params(**params)  # type: ignore[misc]
