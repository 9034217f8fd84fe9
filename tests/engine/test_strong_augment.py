"""Operations, magnitudes and squares are drawn per image as the papers' codes draw them."""

import pickle

import numpy as np
import pytest
import torch

from sknoisy._engine.augment import random_flip_crop, resolve_augmentation
from sknoisy._engine.image_operations import CODES, apply_operations, cutout
from sknoisy._engine.scaling import InputScaling
from sknoisy._engine.strong_augment import StrongViews, centred_rectangles, pushed_rectangles

CPU = torch.device("cpu")
NAMES = list(CODES)
LISTED = set(NAMES) - {"invert"}  # RandAugment's 14 operations
ENHANCE = ("brightness", "color", "contrast", "sharpness")
KINDS = ("randaugment", "promix", "autoaugment")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def color_images(n=30, channels=3, height=32, width=32):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(n, height, width, channels), dtype=np.uint8)
    images[0, 0, :2] = [[0] * channels, [255] * channels]
    return images


def views_of(kind, images, standardize=True):
    """Return strong views and the scaled images (n, C, H, W)."""
    scaling = InputScaling(standardize).fit(images)
    return StrongViews(scaling, kind, CPU), scaling.apply(scaling.to_tensor(images))


def draws_of(kind, n=100_000, size=(32, 32), seed=0):
    views, _ = views_of(kind, color_images(2))
    return views.policy.draw(n, *size, seeded(seed))


def magnitudes_of(draws, name):
    return draws.magnitude[draws.operation == CODES[name]]


def assert_share(chosen, share):
    """Check that a share of a mask is as expected, within four standard deviations."""
    n = chosen.numel()
    sigma = np.sqrt(share * (1 - share) / n)
    assert abs(chosen.double().mean().item() - share) < 4 * sigma + 1e-12


# --- RandAugment ---------------------------------------------------------------------------------


def test_fixmatch_draws_its_operations_uniformly_and_applies_half_of_them():
    operation, _ = draws_of("randaugment")
    assert operation.shape == (2, 100_000)
    for name in LISTED - {"identity"}:
        assert_share(operation == CODES[name], 0.5 / 14)
    assert_share(operation == CODES["identity"], 0.5 + 0.5 / 14)
    assert not (operation == CODES["invert"]).any()
    # Identities that are drawn count as active.
    n_active = (operation != CODES["identity"]).sum(0)
    share = 0.5 * 13 / 14
    for n, expected in enumerate([(1 - share) ** 2, 2 * share * (1 - share), share**2]):
        assert_share(n_active == n, expected)


def test_promix_applies_three_operations_always():
    operation, _ = draws_of("promix")
    assert operation.shape == (3, 100_000)
    for name in LISTED:
        assert_share(operation == CODES[name], 1 / 14)


FIXMATCH_MAGNITUDES = {
    **{name: [0.14, 0.23, 0.32, 0.41, 0.5, 0.59, 0.68, 0.77, 0.86] for name in ENHANCE},
    "posterize": [4, 4, 5, 5, 6, 6, 6, 7, 7],
    "rotate": [3, 6, 9, 12, 15, 18, 21, 24, 27],
    "shear_x": [0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27],
    "shear_y": [0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27],
    "translate_x": [0, 1, 2, 3, 4, 5, 6, 7, 8],
    "translate_y": [0, 1, 2, 3, 4, 5, 6, 7, 8],
    "solarize": [231, 205, 180, 154, 128, 103, 77, 52, 26],
}


@pytest.mark.parametrize("name", FIXMATCH_MAGNITUDES)
def test_fixmatch_has_nine_levels_with_the_published_magnitudes(name):
    drawn = magnitudes_of(draws_of("randaugment"), name)
    if name == "solarize":  # x < 230.4 and x < 231 are the same for integers
        drawn = drawn.ceil()
    if name == "posterize":
        drawn = drawn.floor()
    expected = torch.tensor(FIXMATCH_MAGNITUDES[name], dtype=torch.float64)
    levels = expected.unique()
    torch.testing.assert_close(drawn.abs().unique(), levels, atol=1e-12, rtol=0)
    for value in levels:
        share = (expected == value).double().mean().item()
        assert_share((drawn.abs() - value).abs() < 1e-9, share)
    if name.startswith(("rotate", "shear", "translate")):
        assert_share(drawn[drawn != 0] > 0, 0.5)


@pytest.mark.parametrize(
    ("names", "low", "high"),
    [
        (ENHANCE, 0.05, 0.95),
        (("posterize",), 4, 8),
        (("rotate",), -30, 30),
        (("shear_x", "shear_y"), -0.3, 0.3),
        (("translate_x", "translate_y"), -9.6, 9.6),
        (("solarize",), 0, 256),
    ],
)
def test_promix_draws_magnitudes_uniformly_over_their_range(names, low, high):
    draws = draws_of("promix")
    for name in names:
        drawn = (magnitudes_of(draws, name) - low) / (high - low)
        assert drawn.min() > 0
        assert drawn.max() < 1
        for quarter in (0.25, 0.5, 0.75):
            assert_share(drawn < quarter, quarter)


def test_shifts_follow_the_sides_of_the_images():
    draws = draws_of("randaugment", size=(100, 60))
    assert magnitudes_of(draws, "translate_x").max() == int(0.27 * 60)
    assert magnitudes_of(draws, "translate_y").max() == int(0.27 * 100)


# --- AutoAugment ---------------------------------------------------------------------------------


def test_autoaugment_draws_a_pair_of_the_policy_for_each_image():
    operation, _ = draws_of("autoaugment")
    assert operation.shape == (2, 100_000)
    pairs = {(NAMES[a], NAMES[b]) for a, b in operation.T.unique(dim=0).tolist()}
    both = {pair for pair in pairs if "identity" not in pair}
    assert both == {
        ("invert", "contrast"), ("rotate", "translate_x"), ("sharpness", "sharpness"),
        ("shear_y", "translate_y"), ("auto_contrast", "equalize"), ("shear_y", "posterize"),
        ("color", "brightness"), ("sharpness", "brightness"), ("equalize", "equalize"),
        ("contrast", "sharpness"), ("color", "translate_x"), ("equalize", "auto_contrast"),
        ("translate_y", "sharpness"), ("brightness", "color"), ("color", "equalize"),
        ("auto_contrast", "solarize"), ("solarize", "auto_contrast"),
        ("translate_y", "translate_y"), ("equalize", "invert"), ("translate_y", "auto_contrast"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "name", "values", "share"),
    [
        # Shares are sums of the probabilities of the policy's entries, over 25.
        (0, "rotate", [-6, 6], 0.7),
        (1, "translate_x", [-9, -8, 8, 9], 0.3 + 0.5),
        (0, "sharpness", [0.28, 1.72], 0.8 + 0.3),
        (0, "shear_y", [-0.24, -0.21, 0.21, 0.24], 0.5 + 0.2),
        (1, "posterize", [2], 0.3),
        (0, "color", [0.64, 1.36, 1.72], 0.4 + 0.7 + 0.9),
        (1, "solarize", [52, 180], 0.2 + 0.8),
        (0, "solarize", [128, 205], 0.5 + 0.4),
        (1, "invert", [0], 0.1),
        (0, "equalize", [0], 0.6 + 0.3 + 0.2 + 0.2 + 0.8),
    ],
)
def test_autoaugment_has_the_published_probabilities_and_magnitudes(step, name, values, share):
    operation, magnitude = draws_of("autoaugment")
    chosen = operation[step] == CODES[name]
    assert_share(chosen, share / 25)
    found = magnitude[step][chosen].unique()
    torch.testing.assert_close(
        found, torch.tensor(values, dtype=torch.float64), atol=1e-12, rtol=0
    )


# --- Cutout --------------------------------------------------------------------------------------


def filled_pixels(rectangles, size=32):
    blank = torch.zeros(len(rectangles.top), 1, size, size)
    return cutout(blank, rectangles, 1.0).sum((1, 2, 3)).tolist()


def test_squares_of_fixmatch_are_pushed_in_at_two_edges_and_cut_at_the_others():
    centre = torch.tensor([[16.0, 0.0, 31.99], [16.0, 0.0, 31.99]])
    side = torch.full((3,), 16.0)
    assert filled_pixels(pushed_rectangles(centre, side, 32, 32)) == [289, 289, 81]


def test_squares_of_sop_are_cut_at_all_edges():
    centre = torch.tensor([[16, 0, 31], [16, 0, 0]])
    assert filled_pixels(centred_rectangles(centre, 16)) == [256, 64, 72]


@pytest.mark.parametrize(("kind", "value"), [("randaugment", 127), ("promix", (125, 123, 114))])
def test_every_view_has_a_grey_square(kind, value):
    images = np.zeros((200, 32, 32, 3), dtype=np.uint8)  # black stays black, but if inverted
    images[..., 0] = np.arange(32)
    images[0] = color_images(1)[0]
    views, X = views_of(kind, images, standardize=False)
    found = (views(X, seeded()) * 255).round()
    colour = torch.tensor(value).float().expand(3).view(1, 3, 1, 1)
    n_filled = (found == colour).all(1).sum((1, 2))
    assert n_filled.min() > 0
    if kind == "randaugment":
        assert n_filled.max() == 289
    else:
        assert len(n_filled.unique()) > 10


def test_squares_of_autoaugment_have_the_mean_colour():
    views, X = views_of("autoaugment", color_images(200))
    is_mean = (views(X, seeded()) == 0).all(1).sum((1, 2))
    assert is_mean.min() >= 64
    assert is_mean.max() == 256


def test_squares_have_half_of_the_shorter_side():
    views, X = views_of("autoaugment", color_images(300, 1, 8, 20))
    assert (views(X, seeded()) == 0).all(1).sum((1, 2)).max() == 16


# --- whole views ---------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("unit", ["uint8", "fractions", "centred"])
def test_views_are_the_operations_on_uint8_whatever_the_unit(unit, standardize):
    pixels = color_images()
    images = {
        "uint8": pixels,
        "fractions": (pixels / 255).astype(np.float32),
        "centred": (pixels / 100 - 1.3).astype(np.float32),
    }[unit]
    views, X = views_of("randaugment", images, standardize)
    generator = seeded(4)
    draws = views.policy.draw(len(images), 32, 32, generator)
    expected = torch.from_numpy(np.moveaxis(pixels, 3, 1).copy())
    for operation, magnitude in zip(*draws, strict=True):
        expected = apply_operations(expected, operation, magnitude)
    centre = torch.rand((2, len(images)), generator=generator) * 32
    side = torch.full((len(images),), 16.0)
    expected = cutout(expected, pushed_rectangles(centre, side, 32, 32), 127)
    found = (views(X, seeded(4)) - views.low) / views.span * 255
    torch.testing.assert_close(found, expected.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (4, 28, 20), (3, 2, 2)])
def test_views_have_the_shape_and_the_range_of_the_images(kind, shape):
    views, X = views_of(kind, color_images(20, *shape))
    found = views(X, seeded())
    assert found.shape == X.shape
    assert found.dtype == X.dtype
    assert (found >= X.amin((0, 2, 3), keepdim=True) - 1e-4).all()
    assert (found <= X.amax((0, 2, 3), keepdim=True) + 1e-4).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_alone_decides(kind):
    views, X = views_of(kind, color_images())
    before, state = X.clone(), torch.get_rng_state()
    generator = seeded(5)
    first = views(X, generator)
    assert torch.equal(first, views(X, seeded(5)))
    assert not torch.equal(first, views(X, generator))
    assert torch.equal(X, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_batch_get_different_operations(kind):
    views, X = views_of(kind, color_images(1).repeat(30, axis=0))
    assert len(views(X, seeded()).flatten(1).unique(dim=0)) > 25


def test_images_without_contrast_are_finite():
    views, X = views_of("randaugment", np.full((4, 8, 8, 3), 0.5, dtype=np.float32))
    assert views(X, seeded()).isfinite().all()


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "flip"),
    [
        ("strong", "randaugment", True),
        ("strong-noflip", "randaugment", False),
        ("autoaugment", "autoaugment", True),
    ],
)
def test_names_stand_for_strong_views_and_a_crop(name, kind, flip):
    images = color_images()
    views, X = views_of(kind, images)
    augment = resolve_augmentation(name, InputScaling().fit(images), CPU)
    generator = seeded(2)
    expected = random_flip_crop(views(X, generator), flip=flip, generator=generator)
    assert torch.equal(pickle.loads(pickle.dumps(augment))(X, seeded(2)), expected)


def test_strong_names_are_for_images():
    scaling = InputScaling().fit(np.random.default_rng(0).normal(size=(9, 4)))
    with pytest.raises(ValueError, match="augment='strong' is made for images of shape"):
        resolve_augmentation("strong", scaling, CPU)
