"""Rows, batches and augmentation on the device."""

from .augment import Augmentation, random_flip_crop, resolve_augmentation
from .batches import Batch, Batches, EndlessBatches, TrainingData
from .rows import ArrayRows, Rows, SparseRows, TensorRows, fits_in_memory, make_rows
from .scaling import InputScaling, channel_axis

__all__ = [
    "ArrayRows",
    "Augmentation",
    "Batch",
    "Batches",
    "EndlessBatches",
    "InputScaling",
    "Rows",
    "SparseRows",
    "TensorRows",
    "TrainingData",
    "channel_axis",
    "fits_in_memory",
    "make_rows",
    "random_flip_crop",
    "resolve_augmentation",
]
