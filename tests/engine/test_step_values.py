"""Scalars of the steps of an epoch."""

import torch

from sknoisy._engine.step_values import StepValues


def test_values_are_those_of_the_steps_in_float64():
    values = StepValues()
    steps = torch.arange(600) / 7  # more than are kept at first
    steps[:2] = torch.tensor([float("nan"), 3e38])
    steps.requires_grad_()
    for step in steps:
        values.append(step)
    assert len(values) == 600
    kept = values.tensor()
    assert kept.dtype == torch.float64
    assert not kept.requires_grad
    torch.testing.assert_close(kept, steps.detach().double(), rtol=0, atol=0, equal_nan=True)


def test_no_steps_are_no_values():
    assert StepValues().tensor().shape == (0,)
