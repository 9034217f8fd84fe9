"""Each operation on uint8 images is Pillow's, bit for bit, whatever the rest of the batch is."""

import numpy as np
import pytest
import torch

from sknoisy._engine.image_operations import CODES, Rectangles, apply_operations, cutout

# Sums of the channels and the pixel in row 10 and column 20, computed once by Pillow 13.0.0 on the
# image that `golden_image` returns.
GOLDEN = [
    ("identity", 0, (137216, 137216, 135616), (130, 54, 240)),
    ("auto_contrast", 0, (137216, 137216, 134078), (130, 54, 239)),
    ("equalize", 0, (130701, 130696, 162180), (120, 43, 255)),
    ("posterize", 4, (129536, 129536, 127808), (128, 48, 240)),
    ("solarize", 128, (69600, 68767, 76230), (125, 54, 15)),
    ("brightness", 0.5, (68352, 68352, 67584), (65, 27, 120)),
    ("brightness", 1.9, (203111, 202387, 207387), (247, 102, 255)),
    ("color", 0, (137024, 137024, 137024), (98, 98, 98)),
    ("color", 0.5, (136884, 136884, 136073), (114, 76, 169)),
    ("color", 1.9, (136669, 137318, 130772), (158, 14, 255)),
    ("contrast", 0, (137216, 137216, 137216), (134, 134, 134)),
    ("contrast", 0.5, (136960, 136960, 136192), (132, 94, 187)),
    ("contrast", 1.9, (137030, 137158, 133146), (126, 0, 255)),
    ("sharpness", 0, (137039, 137038, 135516), (130, 54, 220)),
    ("sharpness", 0.5, (137111, 137094, 135524), (130, 54, 230)),
    ("sharpness", 1.9, (137243, 137269, 135647), (130, 54, 255)),
    ("rotate", 30, (121740, 116608, 115776), (157, 91, 48)),
    ("rotate", -9, (131028, 127616, 127756), (120, 38, 218)),
    ("shear_x", 0.3, (113630, 113142, 115482), (139, 87, 6)),
    ("shear_y", -0.15, (131652, 126196, 124676), (109, 39, 195)),
    ("translate_x", 8, (106752, 98816, 102224), (154, 142, 44)),
    ("translate_x", -4.8, (115408, 110640, 113912), (115, 255, 202)),
    ("translate_y", 9, (115760, 102576, 97392), (193, 99, 119)),
]
# Magnitudes at which the operations change nothing.
NEUTRAL = {
    "identity": 0.7, "solarize": 256, "posterize": 8, "brightness": 1, "contrast": 1, "color": 1,
    "sharpness": 1, "rotate": 0, "shear_x": 0, "shear_y": 0, "translate_x": 0, "translate_y": 0,
}  # fmt: skip
RANGES = {
    "posterize": (1, 9), "solarize": (0, 256), "brightness": (0, 2), "color": (0, 2),
    "contrast": (0, 2), "sharpness": (0, 2), "rotate": (-30, 30), "shear_x": (-0.3, 0.3),
    "shear_y": (-0.3, 0.3), "translate_x": (-12, 12), "translate_y": (-12, 12),
}  # fmt: skip


def golden_image():
    i, j = torch.arange(32)[:, None], torch.arange(32)
    channels = [7 * i + 3 * j, 5 * i + 11 * j + 40, 3 * i * j // 4 + 90]
    return (torch.stack(channels) % 256).to(torch.uint8)[None]


def random_images(n=40, channels=3, height=32, width=32, seed=0):
    """Return images of which some have few values, some a narrow range and some are smooth."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, size=(n, channels, height, width))
    images[::4] = images[::4] // 64 * 64
    images[1::4] = 90 + images[1::4] // 8
    images[2::4] = np.sort(images[2::4], axis=3)
    return torch.from_numpy(images.astype(np.uint8))


def apply(images, name, magnitude):
    """Apply one operation to all images; `magnitude` is a number or one for each image."""
    magnitude = torch.as_tensor(magnitude, dtype=torch.float64).expand(len(images))
    return apply_operations(images, torch.full((len(images),), CODES[name]), magnitude)


def mixed_batch(n=60, **shape):
    """Return images, and operations and magnitudes in which each operation occurs."""
    rng = np.random.default_rng(3)
    names = list(CODES)
    operation = np.arange(n) % len(names)
    magnitude = [rng.uniform(*RANGES.get(names[code], (0, 1))) for code in operation]
    return random_images(n, **shape), torch.tensor(operation), torch.tensor(magnitude).double()


@pytest.mark.parametrize(("name", "magnitude", "sums", "pixel"), GOLDEN)
def test_the_reference_image_becomes_that_of_pillow(name, magnitude, sums, pixel):
    changed = apply(golden_image(), name, magnitude)
    assert changed.dtype == torch.uint8
    assert tuple(changed[0].long().sum((1, 2)).tolist()) == sums
    assert tuple(changed[0, :, 10, 20].tolist()) == pixel


def by_pillow(image, name, magnitude):
    """Apply the operation to an image (C, H, W) by Pillow."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    from PIL import Image, ImageEnhance, ImageOps

    array = np.moveaxis(image.numpy(), 0, -1)
    picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    maps = {
        "shear_x": (1, magnitude, 0, 0, 1, 0), "shear_y": (1, 0, 0, magnitude, 1, 0),
        "translate_x": (1, 0, magnitude, 0, 1, 0), "translate_y": (1, 0, 0, 0, 1, magnitude),
    }  # fmt: skip
    functions = {
        "identity": lambda: picture,
        "auto_contrast": lambda: ImageOps.autocontrast(picture),
        "equalize": lambda: ImageOps.equalize(picture),
        "invert": lambda: ImageOps.invert(picture),
        "solarize": lambda: ImageOps.solarize(picture, magnitude),
        "posterize": lambda: ImageOps.posterize(picture, int(magnitude)),
        "rotate": lambda: picture.rotate(magnitude),
    }
    if name in maps:
        changed = picture.transform(picture.size, Image.Transform.AFFINE, maps[name])
    elif name in functions:
        changed = functions[name]()
    else:
        changed = getattr(ImageEnhance, name.capitalize())(picture).enhance(magnitude)
    return torch.from_numpy(np.array(changed).reshape(array.shape)).movedim(2, 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(CODES))
def test_random_images_become_those_of_pillow(name, channels):
    images = random_images(60, channels, height=32, width=27)
    low, high = RANGES.get(name, (0, 1))
    magnitude = np.random.default_rng(1).uniform(low, high, size=len(images))
    changed = apply(images, name, torch.from_numpy(magnitude))
    for image, m, result in zip(images, magnitude, changed, strict=True):
        assert torch.equal(result, by_pillow(image, name, float(m))), m


@pytest.mark.parametrize(("name", "magnitude"), NEUTRAL.items())
def test_neutral_magnitudes_change_nothing(name, magnitude):
    images = random_images()
    assert torch.equal(apply(images, name, magnitude), images)


def test_invert_is_solarize_from_zero_and_undoes_itself():
    images = random_images()
    inverted = apply(images, "invert", 0)
    assert torch.equal(inverted, 255 - images)
    assert torch.equal(apply(images, "solarize", 0), inverted)
    assert torch.equal(apply(inverted, "invert", 0), images)


@pytest.mark.parametrize("bits", range(9))
def test_posterizing_twice_is_posterizing_once(bits):
    once = apply(random_images(), "posterize", bits)
    assert torch.equal(apply(once, "posterize", bits), once)
    assert len(once.unique()) <= 2**bits


def test_auto_contrast_leaves_channels_of_full_range_alone():
    images = random_images()
    images[..., 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    assert torch.equal(apply(images, "auto_contrast", 0), images)


def test_brightness_below_one_raises_no_value():
    images = random_images()
    assert (apply(images, "brightness", 0.8) <= images).all()


@pytest.mark.parametrize("name", ["auto_contrast", "equalize", "contrast", "color", "sharpness"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_constant_grey_images_stay(name, channels):
    images = torch.full((5, channels, 9, 7), 77, dtype=torch.uint8)
    assert torch.equal(apply(images, name, 0.3), images)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colour_leaves_grey_images_alone(channels):
    grey = random_images(channels=1).expand(-1, channels, -1, -1)
    assert torch.equal(apply(grey, "color", 0.2), grey)


@pytest.mark.parametrize(("name", "magnitude"), [("rotate", 20), ("shear_x", 0.3)])
def test_constant_images_are_black_where_nothing_was(name, magnitude):
    images = torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)
    changed = apply(images, name, magnitude)
    assert changed.unique().tolist() == [0, 77]
    assert (changed[..., 12:20, 12:20] == 77).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (5, 2), (3, 3), (28, 84), (224, 224)])
def test_images_may_have_any_size(shape):
    images, operation, magnitude = mixed_batch(15, height=shape[0], width=shape[1])
    changed = apply_operations(images, operation, magnitude)
    for i, image in enumerate(images):
        assert torch.equal(changed[i], by_pillow(image, list(CODES)[i], magnitude[i].item()))


def test_the_result_for_an_image_does_not_depend_on_the_others():
    images, operation, magnitude = mixed_batch()
    changed = apply_operations(images, operation, magnitude)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    permuted = apply_operations(images[order], operation[order], magnitude[order])
    assert torch.equal(permuted, changed[order])
    for i in range(len(images)):
        row = slice(i, i + 1)
        alone = apply_operations(images[row], operation[row], magnitude[row])
        assert torch.equal(alone, changed[row])


def test_the_images_that_are_passed_do_not_change():
    images, operation, magnitude = mixed_batch()
    before = images.clone()
    apply_operations(images, operation, magnitude)
    assert torch.equal(images, before)


@pytest.mark.gpu
def test_a_gpu_computes_the_same_bits():
    batch = mixed_batch(300)
    on_gpu = apply_operations(*(values.cuda() for values in batch))
    assert torch.equal(on_gpu.cpu(), apply_operations(*batch))


def test_cutout_fills_both_ends_of_each_rectangle():
    images = random_images(2)
    edges = [torch.tensor(edge) for edge in ([0, 3], [1, 40], [30, -4], [31, 2])]
    filled = cutout(images, Rectangles(*edges), 9)
    expected = images.clone()
    expected[0, :, 0:2, 30:32] = 9
    expected[1, :, 3:32, 0:3] = 9
    assert torch.equal(filled, expected)
