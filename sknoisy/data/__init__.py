"""Rows, batches and augmentation on the device."""

from .augment import *  # noqa: F403
from .batches import Batch, Batches, EndlessBatches, TrainingData
from .rows import ArrayRows, Rows, SparseRows, TensorRows, fits_in_memory, make_rows
from .scaling import InputScaling, channel_axis
