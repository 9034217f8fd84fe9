"""The device that "auto" takes, and what is moved there."""

import pytest
import torch

from sknoisy._engine.construction import resolve_device
from sknoisy._engine.scaling import InputScaling


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == torch.device(expected)


def test_moments_of_images_are_moved_to_a_device_once(images, monkeypatch):
    scaling = InputScaling().fit(images[0])
    batch = scaling.to_tensor(images[0])
    expected = scaling.apply(batch)
    monkeypatch.setattr(torch, "tensor", None)  # whoever made one now would fail
    torch.testing.assert_close(scaling.apply(batch), expected, rtol=0, atol=0)


def test_a_pickle_holds_no_tensors_of_a_device(images):
    scaling = InputScaling().fit(images[0])
    scaling.apply(scaling.to_tensor(images[0]))
    assert scaling._on_device
    assert scaling.__getstate__()["_on_device"] == {}
