"""Readers of CIFAR and CIFAR-N, on small files in the published formats."""

import os
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sknoisy import noise
from sknoisy.datasets import load_cifar10, load_cifar100, load_cifar_n

# Files as the authors wrote them


class Python2Pickler(pickle._Pickler):
    """Write protocol 2 as Python 2 did: text and bytes are one kind of string."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def write_python2(content, path):
    with open(path, "wb") as file:
        Python2Pickler(file, protocol=2).dump(content)
    # numpy of that time kept its functions in numpy.core.
    raw = path.read_bytes()
    assert b"cnumpy._core.multiarray\n" in raw
    path.write_bytes(raw.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


def write_python3(protocol):
    def write(content, path):
        as_bytes = {key.encode(): value for key, value in content.items()}
        path.write_bytes(pickle.dumps(as_bytes, protocol=protocol))

    return write


every_writer = pytest.mark.parametrize(
    "write",
    [write_python2, *map(write_python3, (2, 4, 5))],
    ids=["Python 2", "protocol 2", "protocol 4", "protocol 5"],
)


def batch(seed, n=20, n_classes=10):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=(n, 3072), dtype=np.uint8)
    return pixels, rng.permutation(np.arange(n) % n_classes)


def write_cifar10(folder, write):
    for i in range(1, 6):
        pixels, labels = batch(i)
        content = {"batch_label": f"batch {i} of 5", "labels": labels.tolist(), "data": pixels}
        write(content | {"filenames": ["a.png"] * 20}, folder / f"data_batch_{i}")
    pixels, labels = batch(6)
    write({"labels": labels.tolist(), "data": pixels}, folder / "test_batch")
    return np.concatenate([batch(i)[1] for i in range(1, 6)])


def write_cifar100(folder):
    coarse_of = np.empty(100, dtype=int)
    for index, members in enumerate(noise.CIFAR100_SUPERCLASSES.values()):
        coarse_of[list(members)] = index
    for seed, name in enumerate(["train", "test"]):
        pixels, fine = batch(seed, 100, 100)
        labels = {"fine_labels": fine.tolist(), "coarse_labels": coarse_of[fine].tolist()}
        write_python2(labels | {"data": pixels}, folder / name)
    return batch(0, 100, 100)[1]


def human_labels(clean):
    """Labels in the form of CIFAR-10N: name k is wrong in the first k * 10 places."""
    names = ["aggre_label", "random_label1", "random_label2", "random_label3", "worse_label"]
    labels = {"clean_label": clean}
    for k, name in enumerate(names, 1):
        labels[name] = clean.copy()
        labels[name][: 10 * k] = (clean[: 10 * k] + 1) % 10
    return labels


def write_torch(content, path):
    torch.save(content, path)


def write_torch_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


def write_npy(content, path):
    with open(path, "wb") as file:
        np.save(file, content)


@pytest.fixture
def folder(tmp_path):
    """A small CIFAR-10 with labels of CIFAR-10N."""
    clean = write_cifar10(tmp_path, write_python2)
    torch.save(human_labels(clean), tmp_path / "CIFAR-10_human.pt")
    return tmp_path


@every_writer
def test_cifar10_images_and_labels(tmp_path, write):
    clean = write_cifar10(tmp_path, write)
    cifar = load_cifar10(tmp_path)
    assert cifar.data.shape == (100, 32, 32, 3)
    assert cifar.data.dtype == np.uint8
    # Pixel (row, column) of a channel is number 1024 * channel + 32 * row + column of the file.
    flat = np.concatenate([batch(i)[0] for i in range(1, 6)])
    for row, column, channel in [(0, 0, 0), (0, 31, 1), (17, 5, 2)]:
        assert_array_equal(
            cifar.data[:, row, column, channel], flat[:, 1024 * channel + 32 * row + column]
        )
    assert_array_equal(cifar.target, clean)
    assert_array_equal(cifar.target_test, batch(6)[1])
    assert_array_equal(cifar.data_test[:, 0, 1, 0], batch(6)[0][:, 1])
    assert not cifar.noise_mask.any()
    assert_array_equal(cifar.transition, np.eye(10))
    assert cifar.target_names[[0, 9]].tolist() == ["airplane", "truck"]
    cifar.data[0, 0, 0, 0] = 0  # a plain writable array


@pytest.mark.parametrize("write", [write_torch, write_torch_legacy, write_pickle, write_npy])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, ">i8"])
def test_cifar10_human_labels(folder, write, dtype):
    labels = human_labels(load_cifar10(folder).target)
    path = folder / "labels"
    write({key: values.astype(dtype) for key, values in labels.items()}, path)
    for noise_name, key in {"aggre": "aggre_label", "random2": "random_label2"}.items():
        cifar = load_cifar10(folder, noise=noise_name, noise_file=path)
        assert cifar.target.dtype == np.int64
        assert_array_equal(cifar.target, labels[key])
        assert_array_equal(cifar.target_clean, labels["clean_label"])
        assert_array_equal(cifar.noise_mask, labels[key] != labels["clean_label"])
        expected = noise.estimate_transition(labels["clean_label"], labels[key])
        assert_array_equal(cifar.transition, expected)


def test_label_file_is_found_and_the_subfolder_too(folder):
    subfolder = folder / "download" / "cifar-10-batches-py"
    subfolder.mkdir(parents=True)
    for path in [*folder.glob("*_batch*"), folder / "CIFAR-10_human.pt"]:
        path.rename(subfolder / path.name)
    worse = load_cifar10(folder / "download", noise="worse")
    assert worse.noise_mask.sum() == 50
    assert "'worse' of CIFAR-N, 50.0% wrong" in worse.DESCR


def test_labels_of_other_images_are_refused(folder):
    labels = human_labels(load_cifar10(folder).target)
    for wrong in (
        {key: values[::-1].copy() for key, values in labels.items()},
        {key: values[:-1] for key, values in labels.items()},
    ):
        torch.save(wrong, folder / "other.pt")
        with pytest.raises(ValueError, match=r"are not those of the images.*another order"):
            load_cifar10(folder, noise="worse", noise_file=folder / "other.pt")


def test_arguments_and_files_that_do_not_fit_are_refused(folder):
    with pytest.raises(ValueError, match="noise='worst' must be None or one of"):
        load_cifar10(folder, noise="worst")
    with pytest.raises(ValueError, match="noise='clean'"):
        load_cifar10(folder, noise="clean")
    with pytest.raises(ValueError, match="needs noise="):
        load_cifar10(folder, noise_file=folder / "CIFAR-10_human.pt")
    with pytest.raises(FileNotFoundError, match=r"no label file .*nowhere\.pt"):
        load_cifar10(folder, noise="worse", noise_file=folder / "nowhere.pt")
    with pytest.raises(FileNotFoundError, match="no file train"):
        load_cifar100(folder)
    (folder / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3"):
        load_cifar10(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({"labels": [1]}, r"lacks \['data'\]"),
        ({"labels": [1], "data": np.zeros((1, 3072))}, "dtype float64"),
        ({"labels": [1], "data": np.zeros((1, 3071), np.uint8)}, r"shape \(1, 3071\)"),
        ({"labels": [1, 2], "data": np.zeros((1, 3072), np.uint8)}, "1 class ids below 10"),
        ({"labels": [10], "data": np.zeros((1, 3072), np.uint8)}, "1 class ids below 10"),
        ({"labels": [1.5], "data": np.zeros((1, 3072), np.uint8)}, "1 class ids below 10"),
    ],
)
def test_malformed_batches_are_refused(folder, content, message):
    write_pickle(content, folder / "test_batch")
    with pytest.raises(ValueError, match=message):
        load_cifar10(folder)


@pytest.mark.parametrize("key", ["noisy_label", "noise_label"])
def test_cifar100(tmp_path, key):
    clean = write_cifar100(tmp_path)
    noisy = np.where(np.arange(100) < 40, (clean + 1) % 100, clean)
    torch.save({"clean_label": clean, key: noisy}, tmp_path / "CIFAR-100_human.pt")
    cifar = load_cifar100(tmp_path, noise="human")
    assert_array_equal(cifar.target, noisy)
    assert_array_equal(cifar.target_clean, clean)
    assert cifar.noise_mask.sum() == 40
    assert cifar.transition.shape == (100, 100)
    assert_array_equal(load_cifar100(tmp_path).target, clean)
    for fine, coarse in [
        (cifar.target_clean, cifar.target_coarse),
        (cifar.target_test, cifar.target_coarse_test),
    ]:
        groups = list(noise.CIFAR100_SUPERCLASSES.values())
        assert all(f in groups[c] for f, c in zip(fine, coarse, strict=True))
    names = dict(zip(cifar.target_names[cifar.target_clean], cifar.target_coarse, strict=True))
    assert cifar.coarse_names[names["beaver"]] == "aquatic_mammals"


# CIFAR-N labels alone


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"worse_label": np.arange(3)}, "no 'clean_label'"),
        (np.arange(3), "no 'clean_label'"),
        ({"clean_label": np.arange(3), "worse_label": np.arange(2)}, "differ in length"),
        ({"clean_label": np.zeros((3, 1), int)}, r"shape \(3, 1\)"),
        ({"clean_label": np.zeros(3)}, "dtype float64"),
        (
            {"clean_label": np.array([0, 2**64 - 1], dtype=np.uint64)},
            "'clean_label' .* holds 18446744073709551615, which is no class id",
        ),
        (
            {"clean_label": np.arange(2), "worse_label": np.array([0, -1])},
            "'worse_label' .* holds -1, which is no class id",
        ),
        (
            dict.fromkeys(["clean_label", "noisy_label", "noise_label"], np.arange(2)),
            "both 'noisy_label' and 'noise_label'",
        ),
    ],
)
def test_malformed_label_files_are_refused(tmp_path, content, message):
    write_npy(content, tmp_path / "labels.npy")
    with pytest.raises(ValueError, match=message):
        load_cifar_n(tmp_path / "labels.npy")


def test_tensors_are_refused_with_the_cure(tmp_path):
    torch.save({"clean_label": torch.arange(3)}, tmp_path / "labels.pt")
    with pytest.raises(pickle.UnpicklingError, match=r"tensor\.numpy\(\)"):
        load_cifar_n(tmp_path / "labels.pt")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rates"),
    [
        (
            "CIFAR-10_human.pt",
            {
                "aggre": 0.0901,  # 0.0903 in the paper
                "random1": 0.1723,
                "random2": 0.1812,
                "random3": 0.1764,
                "worse": 0.4021,
            },
        ),
        ("CIFAR-100_human.pt", {"human": 0.4020}),
    ],
)
def test_realised_rates_of_cifar_n(name, rates):
    """The rates that the authors publish, to four digits, and how the sets of labels relate."""
    if "SKNOISY_CIFARN" not in os.environ:
        pytest.skip("SKNOISY_CIFARN does not name a folder with the label files of CIFAR-N")
    path = Path(os.environ["SKNOISY_CIFARN"]) / name
    if not path.is_file():
        pytest.skip(f"SKNOISY_CIFARN holds no {name}")
    labels = load_cifar_n(path)
    assert len(labels["clean"]) == 50_000
    realised = {name: (labels[name] != labels["clean"]).mean() for name in rates}
    assert realised == pytest.approx(rates, abs=5e-5)
    if "worse" in labels:
        each = np.stack([labels[f"random{i}"] for i in (1, 2, 3)])
        any_wrong = (each != labels["clean"]).any(axis=0)
        assert_array_equal(labels["worse"] != labels["clean"], any_wrong)
        agree = (each[:, None] == each).sum(axis=0).max(axis=0) >= 2
        votes = (each == labels["aggre"]).sum(axis=0)
        assert (votes[agree] >= 2).all()
