"""Scalars of the steps of an epoch."""

import torch

from sknoisy._engine.step_values import StepValues


def test_values_are_those_of_the_steps_in_float64():
    values = StepValues()
    steps = torch.tensor([0.1, float("nan"), 3e38], requires_grad=True)
    for step in steps:
        values.append(step)
    assert len(values) == 3
    kept = values.tensor()
    assert kept.dtype == torch.float64
    assert not kept.requires_grad
    torch.testing.assert_close(kept, steps.detach().double(), rtol=0, atol=0, equal_nan=True)


def test_no_steps_are_no_values():
    assert StepValues().tensor().shape == (0,)
