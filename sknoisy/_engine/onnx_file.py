"""ONNX files of fitted classifiers: the whole way from rows to probabilities as one graph."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..exceptions import PrecisionWarning, warn_user
from .imputation import name_columns
from .scaling import InputScaling

__all__ = ["INPUT_TYPES", "ProbabilityGraph", "write_onnx"]

INPUT_TYPES = ("float32", "float64", "int64", "uint8")

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_TOLERANCE = 1e-5  # of the probabilities, which a test of the documentation holds, too
_LOST = 1e-3  # standard deviations


# --- the graph ----------------------------------------------------------------------------------


class ProbabilityGraph(nn.Module):
    """The softmax of the mean logits of networks, as a function of rows that are not scaled.

    It repeats :meth:`InputScaling.to_tensor`, :meth:`InputScaling.apply` and the mean over the
    members in tensor operations that every number of rows goes through alike.

    Parameters
    ----------
    scaling : InputScaling
        Fitted scaling.
    networks : sequence of nn.Module
        Frozen networks; they are copied to the CPU.
    """

    def __init__(self, scaling: InputScaling, networks: Sequence[nn.Module]):
        super().__init__()
        self.rows: nn.Module
        if scaling.imputation_ is not None:
            self.rows = _TableRows(scaling)
        elif scaling.unit_ is not None:
            self.rows = _ImageRows(scaling)
        else:
            self.rows = _PlainRows(scaling)
        self.networks = nn.ModuleList(copy.deepcopy(network).cpu() for network in networks)

    def forward(self, X: Tensor) -> Tensor:
        """Return probabilities, float64 of shape (n, n_classes), of rows (n, ...) of any dtype."""
        rows = self.rows(X)
        logits = torch.stack([network(rows) for network in self.networks])
        return logits.double().mean(dim=0).softmax(dim=1)


class _TableRows(nn.Module):
    """Imputed columns and indicators, standardised or reduced in float64, as float32."""

    def __init__(self, scaling: InputScaling):
        super().__init__()
        imputation, self.reduction = scaling.imputation_, scaling.reduction_
        assert imputation is not None
        is_empty = np.zeros(len(imputation.median_), dtype=bool)
        is_empty[imputation.empty_] = True
        arrays = {
            "median": imputation.median_,
            "is_empty": is_empty if is_empty.any() else None,
            "unit": imputation.unit_,
            "indicators": imputation.indicators_ if len(imputation.indicators_) else None,
            "mean": scaling.mean_,
            "scale": scaling.scale_,
        }
        if self.reduction is not None:
            arrays["columns"] = self.reduction.columns_
            arrays["components"] = self.reduction.components_
            arrays["mean"] = self.reduction.mean_
        for name, array in arrays.items():
            self.register_buffer(name, None if array is None else torch.from_numpy(array.copy()))

    def forward(self, X: Tensor) -> Tensor:
        X = X.double()
        missing = X.isnan()
        columns = torch.where(missing, self.median, X)
        if self.is_empty is not None:
            columns = torch.where(self.is_empty, 0.0, columns)
        if self.unit is not None:
            columns = columns / self.unit
        if self.indicators is not None:
            where = missing.double().index_select(1, self.indicators)
            columns = torch.cat([columns, where], dim=1)
        if self.reduction is not None:
            return columns.index_select(1, self.columns).float() @ self.components - self.mean
        if self.mean is not None:
            columns = (columns - self.mean) / self.scale
        return columns.float()


class _ImageRows(nn.Module):
    """Images (n, C, H, W) in the unit of the network, float32."""

    def __init__(self, scaling: InputScaling):
        super().__init__()
        self.scaling = scaling

    def forward(self, X: Tensor) -> Tensor:
        images = X.permute(0, 3, 1, 2) if self.scaling.channel_axis_ == 3 else X
        return self.scaling.apply(images)


class _PlainRows(nn.Module):
    """Rows of a network of the user's own, in the dtype that it gets."""

    def __init__(self, scaling: InputScaling):
        super().__init__()
        self.dtype = torch.int64 if scaling.keeps_integers else torch.float32

    def forward(self, X: Tensor) -> Tensor:
        return X.to(self.dtype)


# --- the file -----------------------------------------------------------------------------------


def write_onnx(
    path: str | os.PathLike,
    scaling: InputScaling,
    networks: Sequence[nn.Module],
    *,
    shape: tuple[int, ...],
    classes: np.ndarray,
    dtype: str | None,
    is_own_network: bool,
    names: Any = None,
) -> None:
    """Write the graph of a fitted classifier, after it was compared with torch in onnxruntime.

    Parameters
    ----------
    path : str or path-like
        File to write.
    scaling : InputScaling
        Fitted scaling.
    networks : sequence of nn.Module
        The networks whose logits are averaged.
    shape : tuple of int
        Shape of a row.
    classes : ndarray of shape (n_classes,)
        Class labels, which the metadata hold.
    dtype : {"float32", "float64", "int64", "uint8"} or None
        Type of the input. None: that of uint8 images and of integers that stay integers, else
        float32.
    is_own_network : bool
        Whether the network is the user's own. Then torch.export captures it, which refuses what
        it cannot capture; the library's own networks can be traced, in a tenth of the time.
    names : array of str or None, default=None
        Names of the columns, for warnings.

    Raises
    ------
    ImportError
        If a package of the extra ``onnx`` is not installed.
    ValueError
        If `dtype` is none of those, the network cannot be exported, or the graph does not give
        the probabilities of torch.
    """
    if dtype not in (None, *INPUT_TYPES):
        raise ValueError(f"dtype must be None or one of {INPUT_TYPES}, got {dtype!r}.")
    onnx = _packages()["onnx"]
    dtype = dtype or _default_type(scaling)
    if dtype == "float32":
        _warn_of_lost_digits(scaling, names)
    graph = ProbabilityGraph(scaling, networks).eval()
    name = type(networks[0]).__name__
    try:
        with _quiet():
            content = _exported(graph, shape, dtype, capture=is_own_network)
        difference = _largest_difference(content, graph, scaling, shape, dtype)
    except Exception as error:  # the exporter and the runtime raise all kinds
        raise ValueError(
            f"The network, {name}, cannot be written as ONNX: {_first_line(error)} Write its "
            "forward in tensor operations, with torch.where in place of if on values, or save "
            "the classifier by pickle."
        ) from error
    if not difference <= _TOLERANCE:
        raise ValueError(
            f"The network, {name}, cannot be written as ONNX: onnxruntime gives probabilities "
            f"that differ by {difference:.1g} from those of torch. A forward that draws random "
            "numbers or depends on the other rows has no such graph; save the classifier by "
            "pickle."
        )
    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, {"classes": json.dumps(classes.tolist(), default=str)})
    onnx.save(model, os.fspath(path))


def _packages() -> dict[str, Any]:
    try:
        return {name: import_module(name) for name in _PACKAGES}
    except ImportError as error:
        raise ImportError(
            f'export_onnx needs the package {error.name}: pip install "sknoisy[onnx]"'
        ) from error


def _default_type(scaling: InputScaling) -> str:
    if scaling.keeps_integers:
        return "int64"
    is_pixels = scaling.unit_ is not None and scaling.unit_.dtype == np.uint8
    return "uint8" if is_pixels else "float32"


def _warn_of_lost_digits(scaling: InputScaling, names: Any) -> None:
    """Warn of columns whose values float32 does not tell apart beside their size."""
    if scaling.imputation_ is None or scaling.mean_ is None or scaling.scale_ is None:
        return
    step = np.finfo(np.float32).eps * np.abs(scaling.mean_) / scaling.scale_
    coarse = np.flatnonzero(step > _LOST)
    if len(coarse):
        warn_user(
            f"float32 keeps few digits of {name_columns(coarse, names)}, whose values lie far "
            f"from 0: up to {step.max():.1g} standard deviations are lost before the graph "
            'subtracts the mean. Pass dtype="float64", and float64 rows to the graph.',
            PrecisionWarning,
        )


def _exported(graph: nn.Module, shape: tuple[int, ...], dtype: str, *, capture: bool) -> bytes:
    """Return the serialised graph for any number of rows."""
    example = (torch.zeros((2, *shape), dtype=getattr(torch, dtype)),)
    names: dict[str, Any] = {"input_names": ["X"], "output_names": ["probabilities"]}
    if capture:
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("n_rows")},),
            verbose=False,
            **names,
        )
        assert program is not None
        return _without_traces(program.model_proto).SerializeToString()
    file = io.BytesIO()
    rows = {0: "n_rows"}
    axes = {"X": rows, "probabilities": rows}
    torch.onnx.export(graph, example, file, dynamo=False, dynamic_axes=axes, **names)  # type: ignore[arg-type]
    return file.getvalue()


def _without_traces(model: Any) -> Any:
    """Remove the stack traces of all operations, which name files of this machine."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
    for function in model.functions:
        for node in function.node:
            node.ClearField("metadata_props")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters, who speak of other packages and of their own age."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _largest_difference(
    content: bytes, graph: nn.Module, scaling: InputScaling, shape: tuple[int, ...], dtype: str
) -> float:
    """Return by how much the probabilities of onnxruntime and torch differ on drawn rows."""
    onnxruntime = _packages()["onnxruntime"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for n_rows in (1, 3):
        X = _drawn_rows(scaling, (n_rows, *shape), dtype)
        (found,) = session.run(None, {"X": X})
        with torch.no_grad():
            expected = graph(torch.from_numpy(X)).numpy()
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _drawn_rows(scaling: InputScaling, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return rows of the size of the training rows; kept integers are 0, a code of everything."""
    rng = np.random.default_rng(0)
    if scaling.keeps_integers:
        return np.zeros(shape, dtype=dtype)
    if scaling.unit_ is not None:
        return rng.uniform(scaling.unit_.low, scaling.unit_.high, size=shape).astype(dtype)
    rows = rng.normal(size=shape)
    if scaling.imputation_ is None:
        return rows.astype(dtype)
    if scaling.mean_ is not None and scaling.scale_ is not None:
        rows = rows * scaling.scale_[: shape[1]] + scaling.mean_[: shape[1]]
    if scaling.imputation_.unit_ is not None:
        rows = rows * scaling.imputation_.unit_
    if dtype in ("int64", "uint8"):
        limits = np.iinfo(dtype)
        return rows.clip(max(limits.min, -(2**53)), min(limits.max, 2**53)).astype(dtype)
    rows[-1, 0] = np.nan
    return rows.astype(dtype)


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}."
