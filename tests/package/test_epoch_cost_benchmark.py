"""benchmarks/epoch_cost.py: its counter of passes, its bars, and a run of every line."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import epoch_cost
from _passes import counted_passes

from sknoisy.networks import PreActResNet


def test_passes_are_counted_in_plain_steps():
    network, images = PreActResNet(3, 2, depth="small"), torch.randn(6, 3, 8, 8)
    with counted_passes() as passes:
        network(images).sum().backward()
        assert passes.steps(6) == 1
        with torch.no_grad():
            network(images)
    network(images)
    assert (passes.forward, passes.backward) == (12, 6)
    assert passes.steps(6) == pytest.approx(4 / 3)


def test_bars_are_held_against_plain_epochs_or_passes():
    rows = [
        {"method": method, "seconds": seconds, "passes": passes}
        for method, seconds, passes in (
            (epoch_cost.PLAIN, 1.0, 1.0),
            ("elr", 1.2, 1.0),
            ("pro_mix", 5.5, 5.0),
        )
    ]
    _, _, plain, elr, pro_mix = epoch_cost.table(rows).splitlines()
    assert "met" not in plain
    assert "at most 1.1: MISSED" in elr
    assert "at most 1.2: met" in pro_mix


def test_smoke_run_prints_both_tables(capsys):
    epoch_cost.main(["--smoke", "--methods", "pro_mix"])
    printed = capsys.readouterr().out
    assert "pro_mix" in printed
    assert "RandAugment" in printed
