"""Random views of whole batches equal image-by-image references; statistics of the draws."""

import math

import numpy as np
import pytest
import torch

from sknoisy._engine.scaling import InputScaling
from sknoisy._engine.views import (
    ImageViews,
    TwoViews,
    color_jitter,
    random_flip,
    random_resized_crop,
)

NO_COLOR = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "p_grey": 0, "p": 1}
LUMA = np.array([0.299, 0.587, 0.114])
YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n=50, channels=3, size=(8, 8), low=0.0, high=1.0):
    draws = torch.rand((n, channels, *size), generator=seeded(1), dtype=torch.float64)
    return low + (high - low) * draws


# --- crop ---------------------------------------------------------------------------------------


def coordinates(n, height, width):
    """Return images whose channels are the coordinates of the pixel centres, from 0 to 1."""
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    return torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(n, 2, height, width)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_crop_of_the_whole_image_is_the_identity(dtype):
    images = random_images(size=(9, 9)).to(dtype)
    cropped = random_resized_crop(images, seeded(), scale=(1, 1), ratio=(1, 1))
    assert cropped.dtype == dtype
    torch.testing.assert_close(cropped, images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_crop_is_a_rectangle_inside_the_image_of_the_requested_area_and_ratio(height, width):
    n, scale, ratio = 4000, (0.2, 0.5), (3 / 4, 4 / 3)
    images = coordinates(n, height, width)
    y, x = random_resized_crop(images, seeded(), scale=scale, ratio=ratio).unbind(1)
    torch.testing.assert_close(y, y[:, :, :1].expand_as(y))  # the axes are not turned
    torch.testing.assert_close(x, x[:, :1].expand_as(x))
    # Coordinates are linear except at the border: steps in the middle give the sides.
    steps_y = (y[:, height // 2 + 1, 0] - y[:, height // 2 - 1, 0]) / 2
    steps_x = (x[:, 0, width // 2 + 1] - x[:, 0, width // 2 - 1]) / 2
    high, wide = steps_y * height, steps_x * width  # shares of the image's sides
    area, shape = high * wide, wide * width / (high * height)
    for values, (low, up) in ((area, scale), (shape.log(), map(math.log, ratio))):
        mean, spread = (low + up) / 2, (up - low) / math.sqrt(12)  # of a uniform distribution
        assert low - 1e-9 <= values.min() < low + 0.05 * (up - low)
        assert up - 0.05 * (up - low) < values.max() <= up + 1e-9
        assert abs(values.mean() - mean) < 4 * spread / math.sqrt(n)
        assert abs(values.std() - spread) < 0.05 * spread
    for centre, side in (
        ((y[:, height // 2 - 1, 0] + y[:, height // 2, 0]) / 2, high),
        ((x[:, 0, width // 2 - 1] + x[:, 0, width // 2]) / 2, wide),
    ):
        place = (centre - side / 2) / (1 - side)  # 0 at one border, 1 at the other
        assert -1e-9 <= place.min() < 0.01
        assert 0.99 < place.max() <= 1 + 1e-9
        assert abs(place.mean() - 0.5) < 4 / math.sqrt(12 * n)


def test_a_side_longer_than_the_image_is_cut_to_it():
    images = coordinates(500, 16, 16)
    y, x = random_resized_crop(images, seeded(), scale=(1, 1), ratio=(4, 4)).unbind(1)
    torch.testing.assert_close(x, images[:, 1])
    torch.testing.assert_close((y[:, 9, 0] - y[:, 7, 0]) * 8, torch.full((500,), 0.5).double())


def test_crop_does_not_change_its_input_and_depends_on_the_generator_only():
    images = random_images()
    before = images.clone()
    first, second = (random_resized_crop(images, seeded()) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert not torch.equal(first, random_resized_crop(images, seeded(5)))
    assert (first - images).abs().flatten(1).amax(1).min() > 0.01  # each one is another image


# --- flip ---------------------------------------------------------------------------------------


def test_flip_twice_is_the_identity():
    images = random_images()
    once = random_flip(images, seeded(), p=1)
    assert torch.equal(once, torch.from_numpy(images.numpy()[..., ::-1].copy()))
    assert torch.equal(random_flip(once, seeded(), p=1), images)
    assert torch.equal(random_flip(images, seeded(), p=0), images)


def test_half_of_the_images_are_flipped():
    n = 4000
    images = torch.arange(8.0).expand(n, 1, 8, 8)
    flipped = random_flip(images, seeded())[:, 0, 0, 0] == 7
    assert abs(flipped.sum() - n / 2) < 4 * math.sqrt(n) / 2


# --- colour -------------------------------------------------------------------------------------


def one_by_one(images, generator, brightness, contrast, saturation, hue, p, p_grey):
    """Apply the steps in NumPy, image by image in YIQ, with the draws in the same order."""
    n = len(images)
    draws = torch.rand((6, n, 1, 1), generator=generator).numpy().reshape(6, n).T
    result = []
    for image, (*shifts, coin, grey_coin) in zip(images.numpy(), draws, strict=True):
        spread = np.array([brightness, contrast, saturation, 2 * np.pi * hue])
        b, c, s, angle = spread * (2 * np.array(shifts) - 1) * (coin < p) + [1, 1, 1, 0]
        s = 0 if grey_coin < p_grey else s
        if len(image) == 3:
            luma, in_phase, quadrature = np.einsum("ij,jhw->ihw", YIQ, image)
            turned = s * np.exp(1j * angle) * (in_phase + 1j * quadrature)
            yiq = np.stack([luma, turned.real, turned.imag])
            image = np.einsum("ij,jhw->ihw", np.linalg.inv(YIQ), yiq)
            mean = luma.mean()
        else:
            mean = image.mean()
        image = mean + c * (image - mean)
        result.append(np.clip(b * image, 0, 1))
    return np.stack(result)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colour_equals_the_steps_image_by_image(channels):
    images = random_images(channels=channels)
    settings = {
        "brightness": 0.5,
        "contrast": 0.6,
        "saturation": 0.7,
        "hue": 0.3,
        "p": 0.8,
        "p_grey": 0.3,
    }
    expected = one_by_one(images, seeded(), **settings)
    assert 0 in expected
    assert 1 in expected  # values outside the range are clipped
    result = color_jitter(images, seeded(), **settings)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_no_change_of_colour_is_the_identity(channels):
    images = random_images(channels=channels)
    before = images.clone()
    torch.testing.assert_close(color_jitter(images, seeded(), **NO_COLOR), images)
    torch.testing.assert_close(color_jitter(images, seeded(), p=0, p_grey=0), images)
    assert torch.equal(images, before)


def yiq(images):
    """Return the luma and, as a complex number, the chroma of each pixel."""
    parts = torch.einsum("ij,njhw->inhw", torch.from_numpy(YIQ), images)
    return parts[0], torch.complex(parts[1], parts[2])


# Mid-range pixels, which stay within [0, 1] under every change.
MID = {"low": 0.4, "high": 0.6}


def test_hue_turns_the_colours_of_an_image_by_one_angle():
    images = random_images(n=400, **MID)
    (luma, colour), (luma_after, colour_after) = map(
        yiq, (images, color_jitter(images, seeded(), **{**NO_COLOR, "hue": 0.1}))
    )
    torch.testing.assert_close(luma_after, luma)
    turn = (colour_after / colour).flatten(1)
    torch.testing.assert_close(turn, turn[:, :1].expand_as(turn))
    torch.testing.assert_close(turn.abs(), torch.ones_like(turn.abs()))
    shares = turn[:, 0].angle() / (2 * math.pi)
    assert -0.1 <= shares.min() < -0.09
    assert 0.09 < shares.max() <= 0.1


def test_saturation_scales_the_colours_and_keeps_the_luma():
    images = random_images(n=400, **MID)
    (luma, colour), (luma_after, colour_after) = map(
        yiq, (images, color_jitter(images, seeded(), **{**NO_COLOR, "saturation": 0.4}))
    )
    torch.testing.assert_close(luma_after, luma)
    factor = (colour_after / colour).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    assert 0.6 <= factor.real.min() < 0.62
    assert 1.38 < factor.real.max() <= 1.4


def test_brightness_is_a_factor():
    images = random_images(n=400, **MID)
    factor = color_jitter(images, seeded(), **{**NO_COLOR, "brightness": 0.4}) / images
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert 0.6 <= factor.min() < 0.62
    assert 1.38 < factor.max() <= 1.4


def test_contrast_keeps_the_mean_luma():
    images = random_images(n=400, **MID)
    changed = color_jitter(images, seeded(), **{**NO_COLOR, "contrast": 0.4})
    mean = yiq(images)[0].mean((1, 2)).view(-1, 1, 1, 1)
    torch.testing.assert_close(yiq(changed)[0].mean((1, 2)), mean.flatten())
    factor = ((changed - mean) / (images - mean)).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-4, atol=0)
    assert 0.6 <= factor[:, 0].min() < 0.62
    assert 1.38 < factor[:, 0].max() <= 1.4


def test_grey_images_have_equal_channels():
    images = random_images()
    grey = color_jitter(images, seeded(), **{**NO_COLOR, "p_grey": 1})
    torch.testing.assert_close(grey, yiq(images)[0][:, None].expand_as(grey))


def test_shares_of_changed_and_of_grey_images():
    n = 4000
    images = random_images(n=n, size=(2, 2))
    result = color_jitter(images, seeded())
    grey = (result - result[:, :1]).abs().flatten(1).amax(1) < 1e-9
    same = (result - images).abs().flatten(1).amax(1) < 1e-6
    for count, share in ((grey, 0.2), (same, 0.2 * 0.8)):  # unchanged and not grey
        assert abs(count.sum() - share * n) < 4 * math.sqrt(n * share * (1 - share))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_stay_in_range(channels):
    result = color_jitter(random_images(n=500, channels=channels), seeded())
    assert result.min() >= 0
    assert result.max() <= 1


# --- both views ---------------------------------------------------------------------------------


def image_views(X, standardize=True, **parts):
    """Return a view of each image in the network's unit, and the scaling."""
    scaling = InputScaling(standardize).fit(X)
    rows = scaling.apply(scaling.to_tensor(X))
    return ImageViews(scaling, **parts)(rows, seeded()), scaling


@pytest.fixture
def pixels():
    """Images of uint8 that hold 0 and 255."""
    X = np.random.default_rng(0).integers(0, 256, size=(30, 8, 8, 3), dtype=np.uint8)
    X[0, 0, 0], X[0, 0, 1] = 0, 255
    return X


def test_colours_change_in_the_unit_of_the_images(pixels):
    """Views are the same, up to scaling, whatever the unit of X and of the network."""
    views, scaling = image_views(pixels)
    fractions, _ = image_views(pixels / 255)
    signed, _ = image_views(pixels / 127.5 - 1)
    torch.testing.assert_close(fractions, views, rtol=0, atol=1e-4)
    torch.testing.assert_close(signed, views, rtol=0, atol=1e-4)
    raw, _ = image_views(pixels, standardize=False)
    mean, scale = (
        torch.tensor(v).float().view(1, 3, 1, 1) for v in (scaling.mean_, scaling.scale_)
    )
    torch.testing.assert_close((255 * raw - mean) / scale, views, rtol=0, atol=1e-4)
    assert raw.min() >= 0
    assert raw.max() <= 1


def test_parts_of_the_views_can_be_left_out(pixels):
    whole, _ = image_views(pixels, standardize=False)
    crop, _ = image_views(pixels, standardize=False, flip=False, color=False)
    scaled = torch.from_numpy(np.moveaxis(pixels, 3, 1) / 255).float()
    assert torch.equal(crop, random_resized_crop(scaled, seeded()))
    flip, _ = image_views(pixels, standardize=False, color=False)
    generator = seeded()
    expected = random_flip(random_resized_crop(scaled, generator), generator)
    assert torch.equal(flip, expected)
    torch.testing.assert_close(whole, color_jitter(expected, generator))


def test_images_of_one_value_stay_finite():
    views, _ = image_views(np.full((5, 8, 8, 1), 7.0))
    assert torch.equal(views, torch.zeros(5, 1, 8, 8))


def test_first_views_precede_the_second_ones():
    X = torch.arange(6.0).view(3, 2)
    both = TwoViews(None, lambda rows, generator: rows + torch.rand(1, generator=generator))
    result = both(X, seeded())
    assert torch.equal(result[:3], X)
    assert torch.equal(result[3:], X + torch.rand(1, generator=seeded()))
