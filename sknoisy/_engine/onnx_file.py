"""ONNX files of fitted classifiers: the whole way from rows to probabilities as one graph."""

from __future__ import annotations

import copy
import errno
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..exceptions import PrecisionWarning, warn_user
from .imputation import name_columns
from .scaling import InputScaling

__all__ = ["INPUT_TYPES", "ProbabilityGraph", "write_onnx"]

INPUT_TYPES = ("float32", "float64", "int64", "uint8")

_TOLERANCE = 1e-4  # of probabilities: more than rounding, less than what a wrong graph gives
_LOST = 1e-3  # of a standard deviation


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
        self.scaling = scaling
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

    median: Tensor
    is_empty: Tensor | None
    unit: Tensor | None
    indicators: Tensor | None
    columns: Tensor
    components: Tensor | None
    shift: Tensor
    mean: Tensor | None
    scale: Tensor

    def __init__(self, scaling: InputScaling):
        super().__init__()
        imputation, reduction = scaling.imputation_, scaling.reduction_
        assert imputation is not None
        is_empty = np.zeros(len(imputation.median_), dtype=bool)
        is_empty[imputation.empty_] = True
        arrays = {
            "median": imputation.median_,
            "is_empty": is_empty if is_empty.any() else None,
            "unit": imputation.unit_,
            "indicators": imputation.indicators_ if len(imputation.indicators_) else None,
            "columns": None if reduction is None else reduction.columns_,
            "components": None if reduction is None else reduction.components_,
            "shift": None if reduction is None else reduction.mean_,
            "mean": scaling.mean_,
            "scale": scaling.scale_,
        }
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
        if self.components is not None:
            return columns.index_select(1, self.columns).float() @ self.components - self.shift
        if self.mean is not None:
            columns = (columns - self.mean) / self.scale
        return columns.float()


class _ImageRows(nn.Module):
    """Images (n, C, H, W) in the unit of the network, float32."""

    mean: Tensor
    scale: Tensor

    def __init__(self, scaling: InputScaling):
        super().__init__()
        assert scaling.unit_ is not None
        self.is_channels_last = scaling.channel_axis_ == 3
        mean, scale = scaling.mean_, scaling.scale_
        if mean is None or scale is None:
            mean, scale = np.zeros(1), np.full(1, 255 if scaling.unit_.dtype == np.uint8 else 1)
        for name, moment in (("mean", mean), ("scale", scale)):
            self.register_buffer(name, torch.from_numpy(moment).float().view(-1, 1, 1))

    def forward(self, X: Tensor) -> Tensor:
        images = X.permute(0, 3, 1, 2) if self.is_channels_last else X
        return (images.float() - self.mean) / self.scale


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
    estimator: Any,
    graph: ProbabilityGraph,
    dtype: str | None,
    *,
    capture: bool,
) -> None:
    """Write the graph of a fitted classifier, after it was compared with torch in onnxruntime.

    Parameters
    ----------
    path : str or path-like
        File to write.
    estimator : object
        The fitted classifier. Its labels become metadata; shape and column names are read, too.
    graph : ProbabilityGraph
        Graph of its probabilities.
    dtype : {"float32", "float64", "int64", "uint8"} or None
        Type of the input. None: that of uint8 images and of integers that stay integers, else
        float32.
    capture : bool
        Whether torch.export captures the graph, which refuses what it cannot capture. Networks
        that take every row through the same operations, as the library's own, can be traced in a
        tenth of the time.

    Raises
    ------
    ImportError
        If a package of the extra ``onnx`` is not installed.
    OSError
        If there is no folder for the file, or the path is a folder; before any work.
    ValueError
        If `dtype` is none of those or does not hold a column, the network cannot be exported, or
        the graph does not give the probabilities of torch.
    """
    if dtype not in (None, *INPUT_TYPES):
        raise ValueError(f"dtype must be None or one of {INPUT_TYPES}, got {dtype!r}.")
    _check_place(Path(path))
    onnx = _packages()["onnx"]
    dtype = dtype or _default_type(graph.scaling)
    if dtype == "float32":
        _check_digits(graph.scaling, getattr(estimator, "feature_names_in_", None))
    row = estimator.image_shape_ or (estimator.n_features_in_,)
    failure = f"The network, {type(graph.networks[0]).__name__}, cannot be written as ONNX: "
    try:
        with _quiet():
            content = _exported(graph.eval(), row, dtype, capture=capture)
    except Exception as error:  # the exporters raise all kinds
        raise ValueError(failure + _cause_and_cure(error)) from error
    difference = _largest_difference(content, graph, row, dtype)
    if not difference <= _TOLERANCE:
        raise ValueError(
            f"{failure}onnxruntime gives probabilities that differ by {difference:.1g} from those "
            "of torch. Let its forward draw no random numbers, or save the classifier by pickle."
        )
    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(
        model, {"classes": json.dumps(estimator.classes_.tolist(), default=str)}
    )
    onnx.save(model, os.fspath(path))


def _check_place(path: Path) -> None:
    """Raise OSError if no file can be at a path; a capture takes longer than a user waits."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "There is no folder for the ONNX file; make it first", str(path.parent)
        )
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "Pass the path of an ONNX file, not that of a folder", str(path)
        )


def _packages() -> dict[str, Any]:
    found = {}
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            found[name] = import_module(name)
        except ImportError as error:
            raise ImportError(
                f'export_onnx needs the package {name}: pip install "sknoisy[onnx]"'
            ) from error
    return found


def _default_type(scaling: InputScaling) -> str:
    if scaling.keeps_integers:
        return "int64"
    is_pixels = scaling.unit_ is not None and scaling.unit_.dtype == np.uint8
    return "uint8" if is_pixels else "float32"


def _check_digits(scaling: InputScaling, names: Any) -> None:
    """Raise or warn if float32 does not hold the values of a column, or few of their digits."""
    if scaling.imputation_ is None:
        return
    cure = 'Pass dtype="float64", and float64 rows to the graph.'
    if scaling.imputation_.unit_ is not None:
        extreme = np.flatnonzero(scaling.imputation_.unit_ != 1)
        raise ValueError(f"float32 does not hold {name_columns(extreme, names)}. {cure}")
    if scaling.mean_ is None or scaling.scale_ is None:
        return
    step = np.finfo(np.float32).eps * np.abs(scaling.mean_) / scaling.scale_
    coarse = np.flatnonzero(step > _LOST)
    if len(coarse):
        warn_user(
            f"float32 keeps few digits of {name_columns(coarse, names)}, whose values lie far "
            f"from 0: up to {step.max():.1g} standard deviations are lost before the graph "
            f"subtracts the mean. {cure}",
            PrecisionWarning,
        )


def _exported(graph: nn.Module, row: tuple[int, ...], dtype: str, *, capture: bool) -> bytes:
    """Return the serialised graph for any number of rows."""
    example = (torch.zeros((2, *row), dtype=getattr(torch, dtype)),)
    names: dict[str, Any] = {"input_names": ["X"], "output_names": ["probabilities"]}
    rows = {0: torch.export.Dim("n_rows")}
    if capture:
        program = torch.export.export(graph, example, dynamic_shapes=(rows,), strict=False)
        written = torch.onnx.export(
            program, dynamo=True, dynamic_shapes=(rows,), verbose=False, **names
        )
        assert written is not None
        return _without_traces(written.model_proto).SerializeToString()
    file = io.BytesIO()
    axes = {name: {0: "n_rows"} for name in ("X", "probabilities")}
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
    """Silence the exporters: what they log, print and warn of does not concern the user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _largest_difference(
    content: bytes, graph: ProbabilityGraph, row: tuple[int, ...], dtype: str
) -> float:
    """Return by how much the probabilities of onnxruntime and torch differ on drawn rows."""
    onnxruntime = _packages()["onnxruntime"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for n_rows in (1, 3):
        X = _drawn_rows(graph.scaling, (n_rows, *row), dtype)
        (found,) = session.run(None, {"X": X})
        with torch.no_grad():
            expected = graph(torch.from_numpy(X)).numpy()
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _drawn_rows(scaling: InputScaling, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return rows of the size of the training rows; integers of a code are 0."""
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


def _cause_and_cure(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0].rstrip(".")
    if "n_rows" in text:
        return (
            "its forward takes the number of rows for a constant. Use x.shape[0] in place of "
            "len(x), and no loop over rows."
        )
    return (
        f"{type(error).__name__}: {text}. Write its forward in tensor operations, with "
        "torch.where in place of if on values, or save the classifier by pickle."
    )
