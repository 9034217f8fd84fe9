"""Cost of one meta step against a plain step: time and peak memory.

    python benchmarks/meta_step.py
    python benchmarks/meta_step.py --model preact18 --device cuda

A plain step is forward, backward and SGD with momentum on one batch. A meta step is the meta
gradient on a batch and a meta batch, the step of the meta model, and the actual step under the new
weights: of WNet under CLID, or as VARIANTS has it.

The variants take turns in one process, so that a busy machine slows all of them alike. Memory is
the peak above the idle process (imports, network and batches), each in a process of its own: the
resident set on a CPU, torch's allocator on CUDA.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from _common import machine, markdown, report
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from sknoisy.meta import (
    CLIDObjective,
    CrossEntropyObjective,
    ForwardGradient,
    L2RWeights,
    LayerSampledGradient,
    MetaModel,
    MetaProblem,
    MetaStep,
    ReverseGradient,
    StatelessModule,
    WNet,
)
from sknoisy.networks import PreActResNet, WithFeatures

DEPTHS = {"preact32": 32, "preact18": 18}


class Variant(NamedTuple):
    """A gradient strategy, the meta model it trains, and by which objective."""

    gradient: Callable[[MetaProblem], MetaStep]
    meta_model: type[MetaModel] = WNet
    objective: Callable[..., torch.Tensor] = CLIDObjective()


PLAIN = "plain step"
CROSS_ENTROPY = CrossEntropyObjective()
VARIANTS = {
    "ForwardGradient, forward pass shared": Variant(ForwardGradient()),
    "ForwardGradient, not shared": Variant(ForwardGradient(share_forward=False)),
    "LayerSampledGradient, K = 4": Variant(LayerSampledGradient(), WNet, CROSS_ENTROPY),
    "L2R": Variant(ForwardGradient(), L2RWeights, CROSS_ENTROPY),
    "ReverseGradient (double backward)": Variant(ReverseGradient()),
}
LR = 0.05


def make_step(name: str, args: argparse.Namespace) -> Callable[[], None]:
    """A training step of its own network on fixed random images."""
    torch.manual_seed(0)
    network = PreActResNet(3, 10, depth=DEPTHS[args.model]).to(args.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(args.batch_size + args.meta_batch_size, 3, 32, 32, device=args.device)
    x, meta_x = images[: args.batch_size], images[args.batch_size :]
    targets = torch.randint(10, (len(images),), device=args.device)
    y, meta_y = targets[: args.batch_size], targets[args.batch_size :]

    def descend(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    if name == PLAIN:
        return lambda: descend(F.cross_entropy(network(x), y))
    meta_loss = make_meta_loss(VARIANTS[name], network, x, y, meta_x, meta_y)
    return lambda: descend(meta_loss())


def make_meta_loss(
    variant: Variant,
    network: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    meta_x: torch.Tensor,
    meta_y: torch.Tensor,
) -> Callable[[], torch.Tensor]:
    """Step of the meta model; returns the loss of the actual step."""
    gradient = copy.deepcopy(variant.gradient)
    model = variant.meta_model().to(x.device)
    model.start_learning()
    stateless = StatelessModule(WithFeatures(network))
    problem = MetaProblem(stateless, model, variant.objective, x, y, meta_x, meta_y, lr=LR)

    def meta_loss() -> torch.Tensor:
        model.begin_batch(len(y))
        step = gradient(problem)
        model.learn(step.gradients)
        with torch.no_grad():
            weights = model(step.outputs)
        logits = network(x) if step.logits is None else step.logits
        return model.training_loss(logits, weights, step.outputs)

    return meta_loss


def peak_memory(name: str, args: argparse.Namespace) -> float:
    """MB above the idle process at the peak of three steps."""
    if args.threads:
        torch.set_num_threads(args.threads)
    step = make_step(name, args)
    idle = _memory(args.device)
    for _ in range(3):
        step()
    return (_memory(args.device) - idle) / 2**20


def _memory(device: str) -> int:
    """Peak memory up to now in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_memory(args: argparse.Namespace) -> list[float]:
    """Peak memory of each variant in a fresh process.

    Done before any step here: a process on Linux inherits the peak of the one that started it.
    """
    context = multiprocessing.get_context("spawn")
    peaks = []
    for name in tqdm([PLAIN, *VARIANTS], desc="memory"):
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            peaks.append(pool.submit(peak_memory, name, args).result())
    return peaks


def measure_time(args: argparse.Namespace) -> np.ndarray:
    """Seconds of each step, shape (n_variants, n_repetitions)."""
    steps = [make_step(name, args) for name in (PLAIN, *VARIANTS)]
    seconds = np.empty((len(steps), args.warmup + args.repetitions))
    for repetition in tqdm(range(seconds.shape[1]), desc="time"):
        for i, step in enumerate(steps):
            start = time.perf_counter()
            step()
            if args.device == "cuda":
                torch.cuda.synchronize()
            seconds[i, repetition] = time.perf_counter() - start
    return seconds[:, args.warmup :]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=DEPTHS, default="preact32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--meta-batch-size", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3, help="steps that are not counted")
    parser.add_argument("--threads", type=int, help="torch threads (torch's own choice)")
    args = parser.parse_args()
    memory = measure_memory(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    medians = np.median(measure_time(args), axis=1)
    lines = [
        [name, f"{1000 * median:.1f}", f"{median / medians[0]:.2f}", f"{peak:.0f}"]
        for name, median, peak in zip((PLAIN, *VARIANTS), medians, memory, strict=True)
    ]
    print(f"{machine()}, {torch.get_num_threads()} torch threads")
    title = f"{args.model}, {args.device}, batches {args.batch_size} + {args.meta_batch_size}, "
    title += f"median of {args.repetitions} repetitions in turn"
    header = ["", "time (ms)", "plain steps", "peak memory above idle (MB)"]
    report(title, markdown(header, lines))


if __name__ == "__main__":
    main()
