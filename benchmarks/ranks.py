"""Seconds of a training step with a meta update, on one process or on several.

    python benchmarks/ranks.py
    torchrun --nproc-per-node 2 benchmarks/ranks.py

Each process passes its share of the same batch and meta batch. Wall seconds are those of rank 0,
CPU seconds those of all processes together.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import torch
from _common import machine, markdown, report
from skorch.callbacks import Callback
from torch import distributed

from sknoisy import CLIDMUClassifier
from sknoisy.networks import MLP, PreActResNet

NETWORKS = {
    "resnet32": (PreActResNet, {"depth": 32}, (32, 32, 3)),
    "mlp": (MLP, {"hidden": (128, 128)}, (50,)),
}


class Clock(Callback):
    """Notes wall and CPU time after each step."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin anew."""
        self.times: list[tuple[float, float]] = []

    def on_batch_end(self, net, training=False, **kwargs):
        """Note the times."""
        self.times.append((time.perf_counter(), time.process_time()))


def seconds_of_steps(args: argparse.Namespace) -> np.ndarray:
    """Wall and CPU seconds of each step of this process, shape (n_steps, 2)."""
    module, params, shape = NETWORKS[args.network]
    rng = np.random.default_rng(0)
    n_rows = args.batch_size * (args.steps + args.warmup + 1)
    X = rng.normal(size=(n_rows, *shape)).astype(np.float32)
    clock = Clock()
    CLIDMUClassifier(
        module=module,
        module_params=params,
        augment=None,
        max_epochs=1,
        n_warmup_epochs=0,
        n_ensemble=0,
        batch_size=args.batch_size,
        meta_batch_size=args.batch_size,
        callbacks=[clock],
        random_state=0,
    ).fit(X, np.arange(n_rows) % 10)
    return np.diff(clock.times, axis=0)[args.warmup :]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, default="resnet32")
    parser.add_argument("--batch-size", type=int, default=200, help="rows of all processes")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2, help="steps that are not counted")
    args = parser.parse_args()
    if "WORLD_SIZE" in os.environ:  # torchrun
        distributed.init_process_group("gloo")
    seconds = seconds_of_steps(args)
    wall, cpu = np.median(seconds[:, 0]), np.array([np.median(seconds[:, 1])])
    n_ranks, rank = 1, 0
    if distributed.is_initialized():
        n_ranks, rank = distributed.get_world_size(), distributed.get_rank()
        distributed.all_reduce(torch.from_numpy(cpu))
        distributed.destroy_process_group()
    if rank == 0:
        print(f"{machine()}, {torch.get_num_threads()} torch threads in each process")
        title = f"{args.network}, batch and meta batch of {args.batch_size} rows, "
        title += f"median of {args.steps} steps"
        header = ["processes", "wall seconds of a step", "CPU seconds of a step"]
        report(title, markdown(header, [[str(n_ranks), f"{wall:.2f}", f"{cpu[0]:.2f}"]]))


if __name__ == "__main__":
    main()
