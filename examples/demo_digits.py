"""Digits with 40 % wrong labels: cross-entropy, CLID-MU, and the labels that look wrong.

make demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _compare import compare, draw_suspects
from sklearn.model_selection import train_test_split

from sknoisy.datasets import load_noisy_digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=0.4, help="share of wrong labels")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo-output/suspicious-digits.png"))
    args = parser.parse_args()

    digits = load_noisy_digits(rate=args.rate, random_state=args.seed)
    X, X_test, y, _, _, y_test, wrong, _ = train_test_split(
        digits.data,
        digits.target,
        digits.target_clean,
        digits.noise_mask,
        train_size=0.6,
        stratify=digits.target_clean,
        random_state=args.seed,
    )
    clf = compare(X, y, X_test, y_test, wrong, max_epochs=args.epochs, random_state=args.seed)
    draw_suspects(clf, X, y, wrong, args.output, cmap="gray_r")


if __name__ == "__main__":
    main()
