"""A session on a GPU: its tests, the speed of the steps, and CIFAR-10N, within nine minutes.

    python benchmarks/gpu.py --data cifar10n.npz --csv gpu.csv
    python benchmarks/gpu.py --wheels wheels --data cifar10n.npz --minutes 9
    python benchmarks/gpu.py --device cpu --smoke

(a) The tests marked ``gpu``. (b) Steps of PreAct ResNet-18 on batches of 128 made images of 32 x
32 pixels, in float32 and bfloat16: images per second, summed over the networks of a method, beside
a bare loop in torch with the same augmentation; peak memory; and how often the host waits for the
GPU in a step, by the profiler. On a CPU, which never waits, the calls of ``item`` are counted
instead. (c) 50,000 images of CIFAR-10N (``worse``): accuracy against seconds, as many epochs as
fit in an equal share of the time that is left. A method that this version lacks is left out.

Each result is written to --csv at once, and the table beside it, with the suffix .md, is written
anew. The file of --data is that of examples/cifar10n.py; without it, (c) runs on made images.
--wheels is a folder of wheels of the requirements other than torch, for a machine without network:
they are installed for this run alone.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("tests", "steps", "cifar")
COLUMNS = (
    "part",
    "name",
    "precision",
    "images_per_second",
    "peak_mib",
    "waits_per_step",
    "epoch",
    "seconds",
    "accuracy",
    "note",
)
METHODS = ("cross_entropy", "clid_mu", "divide_mix", "pro_mix")
PRECISIONS = ("float32", "bfloat16")
WAITS = {
    "cuda": {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"},
    "cpu": {"aten::_local_scalar_dense"},
}


class Sizes(NamedTuple):
    """How much is run."""

    batch_size: int = 128
    n_steps: int = 30  # timed
    n_probed: int = 4  # profiled
    depth: Any = 18
    n_train: int = 50_000
    n_test: int = 10_000
    max_epochs: int = 200


SMOKE = Sizes(16, 3, 1, "small", 200, 100, 2)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", help="(%(default)s)")
    parser.add_argument("--minutes", type=float, default=9, help="in all (%(default)s)")
    parser.add_argument("--parts", default=",".join(PARTS), help="(%(default)s)")
    parser.add_argument("--data", type=Path, help="cifar10n.npz")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install for this run")
    parser.add_argument("--csv", type=Path, default=Path("gpu.csv"), help="(%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="tiny numbers, in about a minute")
    return parser.parse_args(arguments)


# --- results ------------------------------------------------------------------------------------


class Results:
    """Rows of the CSV file and of the table, written as they come."""

    def __init__(self, path: Path, title: str):
        self.path, self.title = path, title
        self.rows: list[dict[str, str]] = []
        with path.open("w", newline="") as file:
            csv.writer(file).writerow(COLUMNS)

    def add(self, part: str, name: str, **values: Any) -> None:
        """Write one result."""
        found = {"part": part, "name": name, **values}
        row = {column: _text(found.get(column)) for column in COLUMNS}
        self.rows.append(row)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.values() for row in self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        self.path.with_suffix(".md").write_text(f"{self.title}\n\n{table}\n", encoding="utf-8")
        print(*filter(None, row.values()), sep="  ", flush=True)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return "" if value is None else str(value)


class Clock:
    """The time that is left."""

    def __init__(self, minutes: float):
        self.end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()


# --- before sknoisy is imported -----------------------------------------------------------------


@contextmanager
def installed(wheels: Path | None) -> Iterator[list[str]]:
    """Install wheels in a temporary folder; yield the folders to import from."""
    with tempfile.TemporaryDirectory() as target:
        if wheels is not None:
            files = sorted(map(str, wheels.glob("*.whl")))
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
            subprocess.run([*pip, "--target", target, *files], check=True)
        folders = [target, str(ROOT), str(ROOT / "examples")]
        sys.path[:0] = folders
        yield folders


# --- (a) tests ----------------------------------------------------------------------------------


def run_tests(results: Results, folders: list[str], seconds: float) -> None:
    """Run the tests marked ``gpu``, in the files that have some."""
    files = [
        str(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "mark.gpu" in path.read_text(encoding="utf-8")
    ]
    code = f"import sys; sys.path[:0] = {folders!r}; import pytest; sys.exit(pytest.main())"
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    # pytest.main() reads sys.argv, in which "-c" is the name of the program.
    command = [sys.executable, "-c", code, *options, *files]
    start = time.perf_counter()
    try:
        ran = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
        )
        lines = (ran.stdout.strip() or ran.stderr.strip()).splitlines()
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        note = "; ".join([*failed, lines[-1]])
    except subprocess.TimeoutExpired:
        note = f"not finished within {seconds:.0f} s"
    results.add("tests", "gpu", seconds=time.perf_counter() - start, note=note)


# --- (b) steps ----------------------------------------------------------------------------------


def made_images(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Return n images (n, 32, 32, 3) of uint8 of ten classes, and labels of which 20 % are wrong.

    A class is a pattern of 4 x 4 squares under noise, so that networks can learn it.
    """
    import numpy as np

    patterns = np.random.default_rng(1).integers(60, 196, size=(10, 4, 4, 3))
    rng = np.random.default_rng(seed)
    y = rng.integers(10, size=n)
    X = patterns[y].repeat(8, axis=1).repeat(8, axis=2) + rng.normal(0, 30, (n, 32, 32, 3))
    wrong = rng.random(n) < 0.2
    return X.clip(0, 255).astype(np.uint8), np.where(wrong, rng.integers(10, size=n), y)


def build(method: str, sizes: Sizes, **params: Any) -> Any:
    """Return the classifier of a method; None if this version does not have it."""
    from sknoisy.base import NetworkClassifier
    from sknoisy.methods.registry import METHODS as REGISTERED
    from sknoisy.methods.registry import estimator_class
    from sknoisy.networks import PreActResNet

    if method != "cross_entropy" and method not in REGISTERED:
        return None
    plain = method == "cross_entropy"
    Classifier = NetworkClassifier if plain else estimator_class(REGISTERED[method].estimator)
    network = {"module": PreActResNet, "module_params": {"depth": sizes.depth}}
    return Classifier(**network, batch_size=sizes.batch_size, random_state=0, **params)


def run_steps(results: Results, device: str, sizes: Sizes, clock: Clock) -> None:
    """Measure the steps of each method in both precisions."""
    X, y = made_images(sizes.batch_size * 3 * (sizes.n_steps + sizes.n_probed + 2))
    for precision in PRECISIONS:
        for name in ("bare loop", *METHODS):
            if clock.left() < 0:
                results.add("steps", name, precision=precision, note="no time left")
                continue
            meter = new_meter(device, sizes)
            if name == "bare loop":
                run_bare_loop(meter, X, y, device, precision, sizes)
            else:
                classifier = build(
                    name, sizes, device=device, precision=precision, callbacks=[("meter", meter)]
                )
                if classifier is None:
                    results.add("steps", name, precision=precision, note="not in this version")
                    continue
                epochs = {
                    param: 1
                    for param in classifier.get_params()
                    if param.startswith("n_") and param.endswith("_epochs")
                }
                classifier.set_params(max_epochs=3, **epochs)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    classifier.fit(X, y)
            results.add("steps", name, precision=precision, **meter.result())


def run_bare_loop(meter: Any, X: Any, y: Any, device: str, precision: str, sizes: Sizes) -> None:
    """Train as a script in plain torch does, with the images on the device."""
    import torch
    from torch.nn import functional as F

    from sknoisy._engine.augment import random_flip_crop
    from sknoisy.networks import PreActResNet

    images = torch.as_tensor(X).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.as_tensor(y).to(device)
    network = PreActResNet(3, 10, depth=sizes.depth).to(device)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator(device).manual_seed(0)
    for _ in range(2):  # the meter measures in the second one
        meter.on_epoch_begin(None)
        order = torch.randperm(len(images)).to(device)
        for rows in order.split(sizes.batch_size):
            x = random_flip_crop(images[rows].float() / 255, generator=generator)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = network(x)
            loss = F.cross_entropy(logits.float(), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            meter.on_batch_end(None, batch=(x, rows), training=True)
    meter.on_train_end(None)


def new_meter(device: str, sizes: Sizes) -> Any:
    """Return a callback that times steps from the second epoch on, and profiles the next ones."""
    import torch
    from skorch.callbacks import Callback
    from torch.profiler import ProfilerActivity, profile, record_function

    is_cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]

    class Meter(Callback):
        def __init__(self) -> None:
            self.epoch, self.n, self.rows = 0, -1, 0
            self.seconds = self.waits = self.profile = None
            self.peak = 0.0

        def __deepcopy__(self, memo: dict) -> Meter:
            return self  # all networks of a method share it

        def now(self) -> float:
            if is_cuda:
                torch.cuda.synchronize()
            return time.perf_counter()

        def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
            self.epoch = self.epoch + 1 if net is None else len(net.history)

        def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any):
            if self.epoch < 2 or not training or self.waits is not None:
                return
            self.n += 1
            if self.n == 0:
                if is_cuda:
                    torch.cuda.reset_peak_memory_stats()
                self.start = self.now()
            elif self.seconds is None:
                self.rows += len(batch[1])
                if self.n == sizes.n_steps:
                    self.stop_timing()
                    self.profile = profile(activities=activities)
                    self.profile.start()
                    self.window = record_function("window")
                    self.window.__enter__()
            elif self.n == sizes.n_steps + sizes.n_probed:
                self.stop_profile()

        def stop_timing(self) -> None:
            self.seconds, self.n_timed = self.now() - self.start, self.n
            if is_cuda:
                self.peak = torch.cuda.max_memory_allocated() / 2**20

        def stop_profile(self) -> None:
            self.window.__exit__(None, None, None)
            self.profile.stop()
            events = self.profile.events()
            window = next(e.time_range for e in events if e.name == "window")
            names = WAITS["cuda" if is_cuda else "cpu"]
            waits = [
                event
                for event in events
                if event.name in names and window.start <= event.time_range.start <= window.end
            ]
            self.waits = len(waits) / max(self.n - self.n_timed, 1)
            self.profile = None

        def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
            if self.profile is not None:
                self.stop_profile()

        def result(self) -> dict[str, Any]:
            if self.seconds is None:
                return {"note": f"{self.n} of {sizes.n_steps} steps"}
            return {
                "images_per_second": self.rows / self.seconds,
                "peak_mib": self.peak or None,
                "waits_per_step": self.waits,
                "seconds": self.seconds / self.n_timed,
            }

    return Meter()


# --- (c) CIFAR-10N ------------------------------------------------------------------------------


def read_images(path: Path | None, sizes: Sizes) -> tuple[Any, Any, Any, Any]:
    """Return training and test images with their labels."""
    if path is None:
        return *made_images(sizes.n_train), *made_images(sizes.n_test, seed=1)
    import cifar10n

    drawn = cifar10n.read(path, "worse", sizes.n_train, sizes.n_test, 0)
    return drawn.X, drawn.y, drawn.X_test, drawn.y_test


def run_cifar(
    results: Results, args: argparse.Namespace, sizes: Sizes, clock: Clock, speeds: dict
) -> None:
    """Train each method for an equal share of the time that is left."""
    X, y, X_test, y_test = read_images(args.data, sizes)
    rows = slice(0, min(2000, len(X_test)))
    for position, name in enumerate(METHODS):
        seconds = (clock.left() - 10) / (len(METHODS) - position)
        if build(name, sizes) is None or (seconds < 10 and not args.smoke):
            note = "no time left" if seconds < 10 else "not in this version"
            results.add("cifar", name, note=note)
            continue
        # Two networks share the speed; a fifth is for the evaluation after each epoch.
        n_networks = 1 if name in METHODS[:2] else 2
        per_epoch = len(X) * n_networks / speeds.get(name, 1000.0)
        epochs = max(2, min(int(0.8 * seconds / per_epoch), sizes.max_epochs))
        scores = new_scores(name, results, seconds, epochs, (X_test[rows], y_test[rows]))
        classifier = build(
            name, sizes, device=args.device, max_epochs=epochs, callbacks=[("scores", scores)]
        )
        scores.classifier = classifier
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.fit(X, y)
        values = {"epoch": classifier.n_iter_, "seconds": scores.elapsed()}
        precision, accuracy = classifier.precision_, float(classifier.score(X_test, y_test))
        note = f"final, of {epochs} epochs"
        results.add("cifar", name, precision=precision, accuracy=accuracy, note=note, **values)


def new_scores(
    name: str, results: Results, seconds: float, max_epochs: int, test: tuple[Any, Any]
) -> Any:
    """Return a callback that scores the network now and then, and stops when the time is over."""
    import torch
    from skorch.callbacks import Callback

    from sknoisy._engine.rows import make_rows
    from sknoisy.networks.precision import logits_of

    class Scores(Callback):
        classifier: Any = None

        def __init__(self) -> None:
            self.begin, self.unmeasured, self.last = time.perf_counter(), 0.0, 0

        def __deepcopy__(self, memo: dict) -> Scores:
            return self

        def elapsed(self) -> float:
            return time.perf_counter() - self.begin - self.unmeasured

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            epoch = len(net.history)
            if epoch > self.last and epoch % max(max_epochs // 8, 1) == 0:
                elapsed, start = self.elapsed(), time.perf_counter()
                accuracy = self.accuracy(net)
                self.unmeasured += time.perf_counter() - start
                values = {"epoch": epoch, "seconds": elapsed, "accuracy": accuracy}
                results.add("cifar", name, precision=self.classifier.precision_, **values)
            self.last = epoch
            if self.elapsed() > seconds:
                raise KeyboardInterrupt  # the fit ends and keeps what it learned

        @torch.no_grad()
        def accuracy(self, net: Any) -> float:
            """Accuracy of one network on the test images."""
            X, y = test
            device = torch.device(net.device)
            rows = make_rows(X, self.classifier._scaling, device, in_memory=False)
            index = torch.arange(len(X))
            was_training = net.module_.training
            net.module_.eval()
            parts = [logits_of(net.module_, rows.take(part)) for part in index.split(1000)]
            net.module_.train(was_training)
            predicted = torch.cat(parts).argmax(dim=1).cpu().numpy()
            return float((self.classifier.classes_[predicted] == y).mean())

    return Scores()


# --- all ----------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> Results:
    """Run the parts; a clock decides what still fits."""
    args = parse(arguments)
    clock, sizes = Clock(args.minutes), SMOKE if args.smoke else Sizes()
    parts, for_steps = args.parts.split(","), clock if args.smoke else Clock(3.5)
    with installed(args.wheels) as folders:
        from _common import machine

        results = Results(args.csv, machine())
        jobs: dict[str, Callable[[], None]] = {
            "tests": lambda: run_tests(results, folders, min(120, clock.left())),
            "steps": lambda: run_steps(results, args.device, sizes, for_steps),
            "cifar": lambda: run_cifar(results, args, sizes, clock, speeds_of(results)),
        }
        for part in PARTS:
            if part in parts:
                try:
                    jobs[part]()
                except Exception as error:  # the next part may work
                    results.add(part, "failed", note=f"{type(error).__name__}: {error}")
                    if args.smoke:
                        raise
    return results


def speeds_of(results: Results) -> dict[str, float]:
    """Return the images per second of each method at its better precision."""
    rows = [row for row in results.rows if row["images_per_second"]]
    names = {row["name"] for row in rows}
    return {
        name: max(float(row["images_per_second"]) for row in rows if row["name"] == name)
        for name in names
    }


if __name__ == "__main__":
    main()
