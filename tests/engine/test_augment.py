"""Whole-batch augmentation equals a loop over images and has the right statistics."""

import pickle

import numpy as np
import pytest
import torch

from sknoisy._engine.augment import random_flip_crop, resolve_augmentation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def one_by_one(images, padding, flip, generator):
    """Pad, crop and flip in NumPy, image by image, with the draws that the docstring states."""
    n, _, height, width = images.shape
    offsets = torch.randint(2 * padding + 1, (2, n), generator=generator).numpy()
    mirrored = torch.randint(2, (n, 1), generator=generator).numpy() if flip else np.zeros((n, 1))
    border = ((0, 0), (padding, padding), (padding, padding))
    result = []
    for i, image in enumerate(images.numpy()):
        top, left = offsets[:, i]
        padded = np.pad(image, border, mode="reflect")
        crop = padded[:, top : top + height, left : left + width]
        result.append(crop[:, :, ::-1] if mirrored[i, 0] else crop)
    return np.stack(result)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize(
    ("shape", "padding", "dtype"),
    [
        ((40, 3, 32, 32), 4, torch.uint8),
        ((40, 1, 8, 11), 7, torch.float32),  # the largest padding, another width than height
        ((5, 2, 9, 8), 0, torch.float64),
        ((0, 3, 8, 8), 4, torch.uint8),  # a batch without images
    ],
)
def test_equals_padding_cropping_and_flipping_image_by_image(shape, padding, dtype, flip):
    images = (256 * torch.rand(shape, generator=seeded(1))).to(dtype)
    before = images.clone()
    result = random_flip_crop(images, padding=padding, flip=flip, generator=seeded(2))
    expected = one_by_one(images, padding, flip, seeded(2)) if len(images) else images.numpy()
    assert result.dtype == dtype
    np.testing.assert_array_equal(result.numpy(), expected)
    assert torch.equal(images, before)
    assert len(images) == 0 or result.data_ptr() != images.data_ptr()


def test_memory_format_of_the_images_has_no_effect():
    images = torch.rand(6, 3, 8, 8, generator=seeded())
    strided = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(
        random_flip_crop(strided, generator=seeded(3)),
        random_flip_crop(images, generator=seeded(3)),
    )


def test_half_of_the_images_are_flipped():
    n = 4000
    images = torch.arange(8.0).expand(n, 1, 8, 8)
    result = random_flip_crop(images, padding=0, generator=seeded())
    flips = (result[:, 0, 0, 0] == 7).sum().item()
    sigma = np.sqrt(n) / 2  # of a binomial with probability 1/2
    assert abs(flips - n / 2) < 4 * sigma
    unflipped = random_flip_crop(images, padding=0, flip=False, generator=seeded())
    assert torch.equal(unflipped, images)


def test_all_shifts_are_equally_frequent():
    n, padding = 4500, 1
    images = torch.arange(100).reshape(1, 1, 10, 10).expand(n, 1, 10, 10)
    result = random_flip_crop(images, padding=padding, flip=False, generator=seeded())
    # Pixel (5, 5) holds 55 plus ten times the vertical shift plus the horizontal one.
    counts = torch.stack(
        [(result[:, 0, 5, 5] == 55 + 10 * v + h).sum() for v in (-1, 0, 1) for h in (-1, 0, 1)]
    )
    sigma = np.sqrt(n * 1 / 9 * 8 / 9)
    assert counts.sum() == n
    assert (counts - n / 9).abs().max() < 4 * sigma


def test_constant_images_do_not_change():
    images = torch.arange(12.0).reshape(4, 3, 1, 1).expand(4, 3, 16, 16)
    assert torch.equal(random_flip_crop(images, generator=seeded()), images)


def test_result_depends_on_the_generator_only():
    images = torch.rand(8, 3, 8, 8, generator=seeded())
    state = torch.get_rng_state()
    first = random_flip_crop(images, generator=seeded(5))
    assert torch.equal(first, random_flip_crop(images, generator=seeded(5)))
    assert not torch.equal(first, random_flip_crop(images, generator=seeded(6)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("shape", "padding"),
    [((8, 8), 1), ((32, 32), 4), ((28, 84), 3), ((224, 224), 28), ((2, 3), 1)],
)
def test_padding_none_is_an_eighth_of_the_shorter_side(shape, padding):
    images = torch.rand(3, 1, *shape, generator=seeded())
    assert torch.equal(
        random_flip_crop(images, padding=None, generator=seeded(1)),
        random_flip_crop(images, padding=padding, generator=seeded(1)),
    )


@pytest.mark.parametrize(
    ("images", "padding", "message"),
    [
        (torch.zeros(4, 8), 1, r"\(n, C, H, W\), got \(4, 8\)"),
        (torch.zeros(4, 8), None, "augment=None"),
        (torch.zeros(2, 1, 8, 4), 4, r"padding=4 .* less than height and width .* \(8, 4\)"),
        (torch.zeros(2, 1, 8, 8), -1, "padding=-1"),
        (torch.zeros(2, 1, 8, 8, device="meta"), 1, r"torch\.Generator\('meta'\)"),
    ],
)
def test_input_that_does_not_fit_is_refused(images, padding, message):
    with pytest.raises(ValueError, match=message):
        random_flip_crop(images, padding=padding, generator=seeded())


@pytest.mark.parametrize(("name", "flip"), [("flip+crop", True), ("crop", False)])
def test_names_resolve_to_crops_with_and_without_flips(name, flip):
    images = torch.rand(16, 3, 32, 32, generator=seeded())
    augment = pickle.loads(pickle.dumps(resolve_augmentation(name)))
    expected = random_flip_crop(images, padding=4, flip=flip, generator=seeded(1))
    assert torch.equal(augment(images, seeded(1)), expected)


def add_noise(images, generator):
    return images + torch.rand(images.shape, generator=generator)


def test_a_function_is_called_with_images_and_generator():
    images = torch.zeros(4, 1, 8, 8)
    augment = pickle.loads(pickle.dumps(resolve_augmentation(add_noise)))
    assert torch.equal(augment(images, seeded(1)), torch.rand(images.shape, generator=seeded(1)))


def test_none_resolves_to_none():
    assert resolve_augmentation(None) is None


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        (
            "flip",
            ValueError,
            r"augment='flip' is not known; choose one of \['flip\+crop', 'crop'\]",
        ),
        (True, TypeError, "got True"),
    ],
)
def test_unknown_augmentations_are_refused(augment, error, message):
    with pytest.raises(error, match=message):
        resolve_augmentation(augment)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda images, generator: images.numpy(), TypeError, "ndarray"),
        (lambda images, generator: torch.cat([images, images]), ValueError, r"4 images, .*\(8,"),
        (lambda images, generator: images.sum(), ValueError, r"got shape \(\)"),
    ],
)
def test_a_function_must_return_one_row_per_image(function, error, message):
    with pytest.raises(error, match=message):
        resolve_augmentation(function)(torch.zeros(4, 1, 8, 8), seeded())
