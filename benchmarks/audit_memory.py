"""Peak memory of the audit of given probabilities: 1,000,000 rows of 1,000 classes in float32.

    python benchmarks/audit_memory.py
    python benchmarks/audit_memory.py --sparse
    python benchmarks/audit_memory.py --unlabeled

15 % of the labels are drawn anew. The probabilities are surest of the true class in 90 % of the
rows; with --sparse, csr_array, they hold ten classes of each row, among them the true one. With
--unlabeled every thousandth label is missing. The bar is 6 GiB in all.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from typing import Any

import numpy as np
from scipy import sparse

from sknoisy import audit_labels

BLOCK_ROWS = 20_000
N_KEPT = 10  # classes of a sparse row
GIBIBYTE = 1024**2 if sys.platform != "darwin" else 1024**3  # unit of ru_maxrss


def peak() -> float:
    """Peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIBIBYTE


def dense_proba(true: np.ndarray, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Probabilities (n, n_classes) in float32, made block by block."""
    proba = np.empty((len(true), n_classes), dtype=np.float32)
    for start in range(0, len(true), BLOCK_ROWS):
        block = proba[start : start + BLOCK_ROWS]
        block[:] = rng.random(block.shape, dtype=np.float32)
        block *= 0.3 / block.sum(axis=1, keepdims=True)
        right = rng.random(len(block)) < 0.9
        other = rng.integers(n_classes, size=len(block))
        predicted = np.where(right, true[start : start + BLOCK_ROWS], other)
        block[np.arange(len(block)), predicted] += 0.7
    return proba


def sparse_proba(true: np.ndarray, n_classes: int, rng: np.random.Generator) -> Any:
    """Probabilities of ten classes of each row, csr_array in float32."""
    columns = rng.integers(n_classes, size=(len(true), N_KEPT))
    columns[:, 0] = true
    columns.sort(axis=1)
    values = rng.random(columns.shape, dtype=np.float32)
    values[columns == true[:, None]] += 5
    values /= 1.02 * values.sum(axis=1, keepdims=True)
    starts = np.arange(0, columns.size + 1, N_KEPT)
    shape = (len(true), n_classes)
    proba = sparse.csr_array((values.ravel(), columns.ravel(), starts), shape=shape)
    proba.sum_duplicates()
    return proba


def main() -> None:
    """Make the probabilities, audit the labels, and print seconds and peak memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--unlabeled", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    true = rng.integers(options.classes, size=options.rows)
    drawn = rng.integers(options.classes, size=options.rows)
    y = np.where(rng.random(options.rows) < 0.15, drawn, true)
    if options.unlabeled:
        y = y.astype(float)
        y[::1000] = np.nan
    make = sparse_proba if options.sparse else dense_proba
    proba = make(true, options.classes, rng)
    print(f"probabilities: peak {peak():.2f} GiB", flush=True)
    start, cpu = time.perf_counter(), time.process_time()
    audit = audit_labels(None, y, proba=proba, random_state=0)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    found = f"peak {peak():.2f} GiB, {audit.flagged.sum():,} suspects"
    print(f"audit_labels: {wall:.0f} s, {cpu:.0f} CPU s, {found}")


if __name__ == "__main__":
    main()
