"""Cost of one step of noise-tolerant training (MLNT) against a plain step and a plain loop.

    python benchmarks/mlnt_step.py --threads 1
    python benchmarks/mlnt_step.py --models preact32 --device cuda

A plain step is forward, backward and SGD with momentum on one batch. A step of MLNT is the
teacher's forward pass, the transfer of labels, the meta gradient by M label sets, its step, the
plain step and the average of the teacher. The loop follows the algorithm of the paper line by
line: for each label set it makes a forward and a backward pass, then both again at the virtual
parameters.

The variants take turns in one process, so that a busy machine slows all of them down alike.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from _common import machine, markdown, report
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from tqdm import tqdm

from sknoisy.methods.mlnt import ToleranceGradient, ToleranceProblem, transfer_labels
from sknoisy.networks import MLP, PreActResNet

LR, INNER_LR, META_LR, DECAY = 0.05, 0.05, 2.0, 0.99

PLAIN, LOOP = "plain step", "loop over label sets"
VARIANTS = {
    "separate, looped": {"batched": False},
    "separate, batched": {"batched": True},
    "separate, auto": {"batched": "auto"},
    "joint, auto": {"batched": "auto", "joint": True},
    "separate, auto, second order": {"batched": "auto", "first_order": False},
}
# A stack of convolutions takes minutes on a CPU.
SLOW = {("preact32", "cpu"): {"separate, batched"}}


def make_network(model: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the network and the shape of a row."""
    if model == "mlp":
        return MLP(64, 10, hidden=(128, 128), dropout=0.0), (64,)
    return PreActResNet(3, 10, depth=32), (3, 32, 32)


class Step:
    """A training step of a network of its own on a fixed random batch."""

    def __init__(self, name: str, model: str, args: argparse.Namespace):
        torch.manual_seed(0)
        network, shape = make_network(model)
        self.network = network.to(args.device)
        self.teacher = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=LR, momentum=0.9)
        self.x = torch.randn(args.batch_size, *shape, device=args.device)
        self.y = torch.randint(10, (args.batch_size,), device=args.device)
        self.features = torch.randn(args.batch_size, 128, device=args.device)
        self.n_sets = args.n_sets
        self.name = name
        self.gradient = ToleranceGradient(**VARIANTS.get(name, {}))

    def __call__(self) -> None:
        """Make the step."""
        if self.name == PLAIN:
            self._descend(self.network(self.x))
            return
        with torch.no_grad():
            target = self.teacher(self.x).softmax(dim=1)
        sets = transfer_labels(self.features, self.y, self.n_sets)
        if self.name == LOOP:
            gradients, logits = self._by_loop(sets, target), None
        else:
            step = self.gradient(ToleranceProblem(self.network, self.x, sets, target, INNER_LR))
            gradients, logits = step.gradients, step.logits
        parameters = dict(self.network.named_parameters())
        if logits is None:
            with torch.no_grad():
                for name, gradient in gradients.items():
                    parameters[name].sub_(gradient, alpha=META_LR)
            gradients = {}
        self._descend(self.network(self.x) if logits is None else logits, gradients)
        with torch.no_grad():
            own = [*self.network.parameters(), *self.network.buffers()]
            averaged = [*self.teacher.parameters(), *self.teacher.buffers()]
            for mean, now in zip(averaged, own, strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - DECAY)

    def _descend(self, logits: torch.Tensor, more: dict[str, torch.Tensor] | None = None) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(logits, self.y).backward()
        for name, parameter in self.network.named_parameters() if more else ():
            parameter.grad.add_(more[name], alpha=META_LR / LR)
        self.optimizer.step()

    def _by_loop(self, sets: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        parameters = dict(self.network.named_parameters())
        buffers = {name: b.clone() for name, b in self.network.named_buffers()}
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for labels in sets:
            loss = F.cross_entropy(
                functional_call(self.network, {**parameters, **buffers}, (self.x,)), labels
            )
            slopes = torch.autograd.grad(loss, list(parameters.values()))
            virtual = {
                name: (p - INNER_LR * slope).detach().requires_grad_()
                for (name, p), slope in zip(parameters.items(), slopes, strict=True)
            }
            logits = functional_call(self.network, {**virtual, **buffers}, (self.x,))
            loss = F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean")
            for name, slope in zip(
                virtual, torch.autograd.grad(loss, list(virtual.values())), strict=True
            ):
                total[name] += slope / len(sets)
        return total


def measure(model: str, args: argparse.Namespace) -> tuple[list[str], np.ndarray]:
    """Return the names of the variants and seconds of shape (n_variants, n_repetitions)."""
    chosen = args.variants or set(VARIANTS) - SLOW.get((model, args.device), set())
    names = [PLAIN, LOOP, *(name for name in VARIANTS if name in chosen)]
    steps: list[Callable[[], None]] = [Step(name, model, args) for name in names]
    repetitions = args.repetitions if model == "preact32" else 10 * args.repetitions
    seconds = np.empty((len(steps), args.warmup + repetitions))
    for repetition in tqdm(range(seconds.shape[1]), desc=model):
        for i, step in enumerate(steps):
            start = time.perf_counter()
            step()
            if args.device == "cuda":
                torch.cuda.synchronize()
            seconds[i, repetition] = time.perf_counter() - start
    return names, seconds[:, args.warmup :]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=["mlp", "preact32"], default=["mlp"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--n-sets", type=int, default=10, help="M (%(default)s)")
    parser.add_argument(
        "--repetitions", type=int, default=10, help="ten times as many for the MLP"
    )
    parser.add_argument("--warmup", type=int, default=2, help="steps that are not timed")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's choice)")
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), help="default: all but the slow ones"
    )
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"{machine()}, {torch.get_num_threads()} torch threads")
    for model in args.models:
        names, seconds = measure(model, args)
        medians = dict(zip(names, np.median(seconds, axis=1), strict=True))
        lines = [
            [name, f"{1000 * t:.2f}", f"{t / medians[PLAIN]:.2f}", f"{medians[LOOP] / t:.2f}"]
            for name, t in medians.items()
        ]
        header = ["", "time (ms)", "plain steps", "times faster than the loop"]
        title = f"{model}, {args.device}, batch {args.batch_size}, M = {args.n_sets}, medians of "
        report(title + f"{seconds.shape[1]} repetitions in turn", markdown(header, lines))


if __name__ == "__main__":
    main()
