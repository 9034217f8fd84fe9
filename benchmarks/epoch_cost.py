"""Cost of an epoch of every framework, in plain epochs and beside the passes that it makes.

    python benchmarks/epoch_cost.py
    python benchmarks/epoch_cost.py --methods elr,pro_mix --rounds 5
    python benchmarks/epoch_cost.py --smoke

Made images of 32 x 32 pixels with 40 % wrong labels, the small PreAct ResNet, one thread. The
methods are those of benchmarks/images.py. They are fitted in turn, and again in each round. The
cost is the median CPU time of the epochs after the warm-up, over that of cross-entropy. The passes
are those of all networks in these epochs, in units of a forward and a backward pass of each row; a
pass without a backward one counts a third. The last table is the cost of strong views for a batch.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch
from _common import Row, machine, markdown, report
from _passes import Passes, counted_passes
from images import PLAIN, build
from skorch.callbacks import Callback

from sknoisy._engine.augment import strong_views
from sknoisy._engine.scaling import scaling_for
from sknoisy.exceptions import MixtureWarning
from sknoisy.methods.registry import METHODS
from sknoisy.noise import symmetric

# The bars: largest cost in plain epochs, or in relation to the passes.
IN_EPOCHS = {
    "co_teaching": 2.1,
    "elr": 1.1,
    "elr:plus=True": 3.2,
    "cdr": 1.3,
    "sop": 1.1,
}
OVER_PASSES = dict.fromkeys(("divide_mix", "fixmatch", "pro_mix"), 1.2)
OTHERS = ("sop:plus=True", "flexmatch")
STRONG_VIEWS = 0.15
N_CLASSES = 10


class EpochEnds(Callback):
    """Keep the CPU time and the passes at the end of each epoch.

    Parameters
    ----------
    passes : Passes
        The counter of the fit.
    """

    def __init__(self, passes: Passes):
        self.passes = passes
        self.ends: list[tuple[float, int, int]] = []

    def on_epoch_end(self, net, **kwargs):
        """Add the state of both counters."""
        self.ends.append((time.process_time(), self.passes.forward, self.passes.backward))


def make_images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 32, 32, 3) of uint8, a pattern and much noise each, and noisy labels."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % N_CLASSES)
    patterns = rng.integers(0, 256, size=(N_CLASSES, 32, 32, 3))
    images = (patterns[y] + rng.integers(0, 256, size=(n, 32, 32, 3))) // 2
    return images.astype(np.uint8), symmetric(y, rate=0.4, random_state=seed).y


def epochs_of(method: str, X: np.ndarray, y: np.ndarray, epochs: int, counted: int) -> list[Row]:
    """Return seconds and passes of each of the last `counted` epochs of a fit."""
    with warnings.catch_warnings(), counted_passes() as passes:
        warnings.simplefilter("ignore", MixtureWarning)
        clf = build(method, epochs, seed=0)
        ends = EpochEnds(passes)
        clf.set_params(callbacks=[ends]).fit(X, y)
    steps = np.diff(np.array(ends.ends), axis=0)[-counted:]
    return [
        {
            "method": method,
            "seconds": seconds,
            "passes": Passes(int(forward), int(backward)).steps(len(X)),
        }
        for seconds, forward, backward in steps
    ]


def strong_view_seconds(X: np.ndarray, batch_size: int, repeats: int) -> float:
    """Return the median CPU seconds of RandAugment and Cutout on a batch."""
    images = np.moveaxis(X[:batch_size], 3, 1)
    scaling = scaling_for(X, "auto", own_network=False).fit(X, None)
    augment = strong_views("randaugment", scaling, torch.device("cpu"))
    batch = scaling.apply(torch.as_tensor(images).float())
    generator, seconds = torch.Generator().manual_seed(0), []
    for _ in range(repeats):
        start = time.process_time()
        augment(batch, generator)
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


# --- the report -----------------------------------------------------------------------------


def verdict(value: float, bar: float) -> str:
    """Return the bar and whether it is met."""
    return f"at most {bar:g}: {'met' if value <= bar else 'MISSED'}"


def table(rows: list[Row]) -> str:
    """Return a Markdown table with a line per method: cost, passes, and the bar."""
    plain = np.median([row["seconds"] for row in rows if row["method"] == PLAIN])
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        cost = np.median([row["seconds"] for row in own]) / plain
        passes = np.median([row["passes"] for row in own])
        bar = ""
        if method in IN_EPOCHS:
            bar = verdict(cost, IN_EPOCHS[method])
        elif method in OVER_PASSES:
            bar = f"{verdict(cost / passes, OVER_PASSES[method])} (cost over passes)"
        lines.append([method, f"{cost:.2f}", f"{passes:.2f}", f"{cost / passes:.2f}", bar])
    return markdown(["", "cost in plain epochs", "passes", "cost over passes", "bar"], lines)


def parse(arguments: list[str] | None = None) -> Any:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [m for m in (*IN_EPOCHS, *OVER_PASSES, *OTHERS) if m.split(":")[0] in METHODS]
    parser.add_argument("--methods", default=",".join(known), help="with commas")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=6, help="of a fit (%(default)s)")
    parser.add_argument("--counted", type=int, default=3, help="last epochs (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="fits of a method (%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="one small round: every line runs")
    args = parser.parse_args(arguments)
    if args.smoke:
        args.rows, args.epochs, args.counted, args.rounds = 60, 3, 1, 1
    args.methods = [PLAIN, *(m for m in args.methods.split(",") if m != PLAIN)]
    return args


def measure(args: Any) -> list[Row]:
    """Return the counted epochs of all fits; the methods take turns."""
    X, y = make_images(args.rows, seed=0)
    epochs_of(PLAIN, X, y, 2, 1)  # what is set up once
    return [
        row
        for _ in range(args.rounds)
        for method in args.methods
        for row in epochs_of(method, X, y, args.epochs, args.counted)
    ]


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    torch.set_num_threads(1)
    rows = measure(args)
    print(machine())
    title = f"Epochs on {args.rows} images, median of {args.rounds} rounds in turn"
    report(title, table(rows))
    X, _ = make_images(args.rows, seed=0)
    batch_size = min(100, args.rows)
    plain = np.median([row["seconds"] for row in rows if row["method"] == PLAIN])
    step = plain * batch_size / args.rows
    share = strong_view_seconds(X, batch_size, repeats=3 if args.smoke else 51) / step
    report(
        "RandAugment and Cutout for a batch, as a share of a plain step",
        f"{share:.3f}, {verdict(share, STRONG_VIEWS)}",
    )


if __name__ == "__main__":
    main()
