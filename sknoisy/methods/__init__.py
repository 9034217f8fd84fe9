"""The methods: a module for each paper or, where it adds more than a file holds, a package.

:data:`~sknoisy.methods.registry.METHODS` lists them. Users import estimators from ``sknoisy``;
the packages ``sknoisy.methods.dmlp``, ``sknoisy.methods.mild`` and ``sknoisy.methods.mlnt`` offer
parts of their methods, too.
"""

from importlib import import_module as _import_module
from typing import Any

_PUBLIC = ("dmlp", "mild", "mlnt")


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return [*_PUBLIC, "registry"]
