"""Cost of ``fit`` around the steps: CLIDMUClassifier against a bare loop and stock skorch.

    python benchmarks/fit_overhead.py

The same MLP, batches of 100 and SGD with momentum on cross-entropy, by

- a bare torch loop over shuffled index batches, which records nothing,
- ``CLIDMUClassifier(weighting=None, n_ensemble=0)``,
- stock ``skorch.NeuralNetClassifier(train_split=None)`` with its DataLoader.

What is compared is the time of the epochs alone: the bare loop's by the clock around each epoch,
the other two's by skorch's ``EpochTimer`` (``dur`` of the history), from the first batch to the
last one's loss being recorded. Validation of the input, the network's construction and
predictions on the training rows are outside in all three; the last column shows the whole of
``fit``. The three take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _common import machine, markdown, report
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from sknoisy import CLIDMUClassifier
from sknoisy.networks import MLP

N_COLUMNS, N_CLASSES, BATCH_SIZE, LR = 64, 10, 100, 0.05
SGD_PARAMS: dict[str, Any] = {"momentum": 0.9, "weight_decay": 5e-4}

make_network = partial(MLP, N_COLUMNS, N_CLASSES, hidden=(128, 128))


def bare_loop(X: np.ndarray, y: np.ndarray, epochs: int) -> float:
    """Seconds of the epochs."""
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, **SGD_PARAMS)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    start = time.perf_counter()
    for _ in range(epochs):
        for index in torch.randperm(len(inputs)).split(BATCH_SIZE):
            loss = F.cross_entropy(network(inputs[index]), targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


def classifier(X: np.ndarray, y: np.ndarray, epochs: int) -> float:
    """Seconds of the epochs."""
    clf = CLIDMUClassifier(
        weighting=None,
        n_ensemble=0,
        module=make_network(),
        standardize=False,
        optimizer_params=SGD_PARAMS,
        lr=LR,
        lr_schedule="constant",
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        device="cpu",
        random_state=0,
    )
    return sum(clf.fit(X, y).history_[:, "dur"])


def stock_skorch(X: np.ndarray, y: np.ndarray, epochs: int) -> float:
    """Seconds of the epochs."""
    net = NeuralNetClassifier(
        make_network(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=LR,
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **{f"optimizer__{name}": value for name, value in SGD_PARAMS.items()},
    )
    return sum(net.fit(X, y).history[:, "dur"])


VARIANTS: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "bare torch loop": bare_loop,
    "CLIDMUClassifier(weighting=None, n_ensemble=0)": classifier,
    "stock skorch, DataLoader": stock_skorch,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, help="torch threads (torch's own choice)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(args.rows, N_COLUMNS)).astype(np.float32)
    y = rng.integers(N_CLASSES, size=args.rows)
    for train in VARIANTS.values():  # first calls pay for imports and allocations
        train(X[:1000], y[:1000], 1)

    times = np.empty((len(VARIANTS), args.repetitions, 2))
    for repetition in tqdm(range(args.repetitions)):
        for i, train in enumerate(VARIANTS.values()):
            start = time.perf_counter()
            epochs_alone = train(X, y, args.epochs)
            times[i, repetition] = epochs_alone, time.perf_counter() - start
    medians = np.median(times, axis=1)
    lines = [
        [name, f"{alone / args.epochs:.3f}", f"{alone / medians[0, 0]:.2f}", f"{whole:.2f}"]
        for name, (alone, whole) in zip(VARIANTS, medians, strict=True)
    ]
    print(f"{machine()}, {torch.get_num_threads()} torch threads")
    title = f"MLP 128-128 on {args.rows:,} x {N_COLUMNS}, median of {args.repetitions} repetitions"
    header = ["", "seconds per epoch", "bare loops", f"whole fit of {args.epochs} epochs (s)"]
    report(title, markdown(header, lines))


if __name__ == "__main__":
    main()
