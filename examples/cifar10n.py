"""CIFAR-10 with the labels that people gave it: cross-entropy, CLID-MU, and the wrong labels.

    python examples/cifar10n.py --data cifar10n.npz --noise worse --n-train 5000

The file holds CIFAR-10 as JPEG and the human labels of CIFAR-10N (Wei et al., "Learning with noisy
labels revisited", ICLR 2022): ``train_jpeg`` and ``test_jpeg``, all pictures one after another,
``train_offset`` and ``test_offset``, where each of them begins, ``test_label``, ``class_names``,
and the training labels ``clean_label``, ``aggre_label`` (9 % wrong), ``random_label1`` to ``3``
(17 to 18 %) and ``worse_label`` (40 %). Needs Pillow: ``pip install "sknoisy[images,plots]"``.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _compare import compare, draw_suspects
from PIL import Image

LABELS = {
    "aggre": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
}


class Cifar10N(NamedTuple):
    """Images (n, 32, 32, 3) of uint8, and labels as class names."""

    X: np.ndarray
    y: np.ndarray
    y_clean: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def read(path: Path, noise: str, n_train: int, n_test: int, seed: int) -> Cifar10N:
    """Draw training and test images from the file and decode them."""
    rng = np.random.default_rng(seed)
    with np.load(path) as file:
        names = file["class_names"]
        train = rng.permutation(len(file["clean_label"]))[:n_train]
        test = rng.permutation(len(file["test_label"]))[:n_test]
        return Cifar10N(
            decode(file["train_jpeg"], file["train_offset"], train),
            names[file[LABELS[noise]][train]],
            names[file["clean_label"][train]],
            decode(file["test_jpeg"], file["test_offset"], test),
            names[file["test_label"][test]],
        )


def decode(jpeg: np.ndarray, offset: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The images of some rows."""
    pictures = (jpeg[offset[row] : offset[row + 1]].tobytes() for row in rows)
    return np.stack([np.asarray(Image.open(io.BytesIO(p)).convert("RGB")) for p in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="cifar10n.npz")
    parser.add_argument("--noise", choices=LABELS, default="worse", help="which human labels")
    parser.add_argument("--n-train", type=int, default=5000, help="of 50,000")
    parser.add_argument("--n-test", type=int, default=2000, help="of 10,000")
    parser.add_argument("--epochs", type=int, default=20, help="under 10 minutes on 2 cores")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo-output/suspicious-images.png"))
    args = parser.parse_args()

    data = read(args.data, args.noise, args.n_train, args.n_test, args.seed)
    wrong = data.y != data.y_clean
    clf = compare(
        data.X,
        data.y,
        data.X_test,
        data.y_test,
        wrong,
        max_epochs=args.epochs,
        device=args.device,
        random_state=args.seed,
    )
    draw_suspects(clf, data.X, data.y, wrong, args.output)


if __name__ == "__main__":
    main()
