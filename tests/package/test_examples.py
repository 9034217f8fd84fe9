"""The scripts of examples/ that the gallery does not run, as a user runs them."""

import importlib.util
import io
import re
import runpy
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from feature_modules import TimmResNet
from matplotlib.image import imread
from torch import nn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LABEL_SETS = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")


def run(script, *arguments, cwd):
    """Run a script in a process of its own and return what it prints."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run_here(monkeypatch, capsys, tmp_path):
    """Like ``run``, but in this process, which has imported torch and matplotlib already."""

    def run_script(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        plt.close("all")
        return capsys.readouterr().out

    return run_script


def read_table(printed):
    """Return ``{classifier: (accuracy, AUC, seconds)}`` of the table that was printed."""
    rows = re.findall(r"^(\S+) +([\d.]+) +([\d.]+) +([\d.]+)$", printed, flags=re.M)
    return {name: tuple(map(float, numbers)) for name, *numbers in rows}


def check_suspects(printed, picture):
    """Check the closing line and the picture, and return how many suspects are wrong."""
    n_wrong = int(re.search(r"(\d+) of the 20 most suspicious labels are wrong", printed)[1])
    assert str(picture) in printed
    pixels = imread(picture)
    assert pixels.shape == (900, 900, 4)  # 9 inches at matplotlib's 100 dots
    # Each of the 4 x 5 fields holds an image: some of its pixels are not white.
    fields = (pixels[..., :3] < 0.5).any(axis=2)[60:].reshape(4, 210, 5, 180)
    assert fields.any(axis=(1, 3)).all()
    return n_wrong


def test_demo_prints_the_table_and_draws_the_suspects(tmp_path):
    picture = tmp_path / "new" / "suspects.png"
    printed = run("demo_digits.py", "--epochs", 4, "--output", picture, cwd=tmp_path)
    n_rows, wrong = re.search(r"^(\d+) training rows, ([\d.]+)% of", printed, flags=re.M).groups()
    assert int(n_rows) == 1078  # 60 % of 1,797
    # Every label is replaced with probability 0.4: within four standard deviations.
    assert abs(float(wrong) / 100 - 0.4) < 4 * (0.4 * 0.6 / 1078) ** 0.5
    table = read_table(printed)
    assert list(table) == ["cross-entropy", "CLID-MU"]
    for accuracy, auc, _ in table.values():
        assert 0.6 < accuracy <= 1  # the share of right labels, which four epochs exceed
        assert 0.8 < auc <= 1
    assert check_suspects(printed, picture) > 20 * 0.4  # more than rows drawn at random would hold


def write_cifar10n(path, seed, n_train=60, n_test=20):
    """Write a file in the format of the example; return how many of each label set are wrong."""
    image = pytest.importorskip("PIL.Image", reason="the file holds JPEG, which Pillow writes")
    rng = np.random.default_rng(seed)
    clean = np.arange(n_train) % 10
    tests = np.arange(n_test) % 10
    columns = {"clean_label": clean, "test_label": tests}
    n_wrong = dict(zip(LABEL_SETS, (6, 9, 12, 15, 24), strict=True))
    for name, n in n_wrong.items():
        given = clean.copy()
        given[rng.permutation(n_train)[:n]] += 1
        columns[name] = given % 10
    for part, labels in {"train": clean, "test": tests}.items():
        pictures = []
        for label in labels:
            pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            pixels[3 * label : 3 * label + 4] += 190  # a bright bar, lower with the label
            file = io.BytesIO()
            image.fromarray(pixels).save(file, format="JPEG")
            pictures.append(np.frombuffer(file.getvalue(), dtype=np.uint8))
        columns[f"{part}_jpeg"] = np.concatenate(pictures)
        columns[f"{part}_offset"] = np.cumsum([0, *map(len, pictures)])
    names = np.array([f"bar {i}" for i in range(10)])
    np.savez(path, class_names=names, **columns)
    return n_wrong


@pytest.mark.parametrize(("noise", "n_train"), [("worse", 60), ("aggre", 40)])
def test_cifar10n_reads_the_file_and_draws_the_suspects(
    noise, n_train, run_here, tmp_path, global_random_seed
):
    n_wrong = write_cifar10n(tmp_path / "small.npz", global_random_seed)[f"{noise}_label"]
    picture = tmp_path / "suspects.png"
    printed = run_here(
        *("cifar10n.py", "--data", "small.npz", "--noise", noise, "--n-train", n_train),
        *("--epochs", 1, "--device", "cpu", "--output", picture),
    )
    found = re.search(r"^(\d+) training rows, ([\d.]+)% of", printed, flags=re.M)
    assert int(found[1]) == n_train
    share = float(found[2]) / 100
    if n_train == 60:  # all rows of the file
        assert share == n_wrong / 60
    else:
        assert 0 <= share <= n_wrong / n_train
    table = read_table(printed)
    assert list(table) == ["cross-entropy", "CLID-MU"]
    for accuracy, auc, _ in table.values():
        assert round(20 * accuracy, 6) == round(20 * accuracy)  # of 20 test images
        assert 0 <= auc <= 1
    assert check_suspects(printed, picture) <= n_wrong


def create_small_model(name, *, pretrained, in_chans, num_classes):
    """A network with the methods of timm's, in place of one that timm would make."""
    assert in_chans == 1
    network = TimmResNet()
    network.fc = nn.Linear(6, num_classes)
    network.default_cfg = {"classifier": "fc"}
    return network


def test_fine_tuning_a_network_of_timm(run_here, monkeypatch):
    """Network and weights are timm's business; the stand-in is fine-tuned by the same lines."""
    timm = types.ModuleType("timm")
    timm.__spec__ = ModuleSpec("timm", None)
    timm.create_model = create_small_model
    monkeypatch.setitem(sys.modules, "timm", timm)
    printed = run_here("fine_tune_timm.py", "--epochs", 3, "--n-train", 300)
    found = re.search(r"4 tensors at 0.005: accuracy ([\d.]+)", printed)
    assert 0 <= float(found[1]) <= 1


def test_without_timm_the_example_tells_what_it_needs(run_here, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "needs timm, which is not installed" in run_here("fine_tune_timm.py")
