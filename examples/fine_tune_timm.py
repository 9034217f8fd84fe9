"""A network of timm with a new head, fine-tuned on noisy labels; the body learns at a tenth.

    python examples/fine_tune_timm.py --model resnet18 --pretrained

The meta gradient is that of the fine-tuning step: the virtual step moves each parameter at the
rate of its own group, and leaves out what is frozen. Needs timm, which needs torchvision:
``pip install timm``.
"""

from __future__ import annotations

import argparse
import importlib.util

import numpy as np
from skorch.callbacks import Freezer, Unfreezer

from sknoisy import MetaWeightNetClassifier
from sknoisy.datasets import load_noisy_digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="test_resnet.r160_in1k", help="name of a timm model")
    parser.add_argument("--pretrained", action="store_true", help="load timm's weights")
    parser.add_argument("--lr", type=float, default=0.05, help="rate of the head")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--n-train", type=int, default=1000)
    args = parser.parse_args()
    if importlib.util.find_spec("timm") is None:
        print("This example needs timm, which is not installed: pip install timm")
        return
    import timm

    digits = load_noisy_digits(rate=0.4, random_state=0)
    images = 15 * np.kron(digits.images, np.ones((4, 4))).astype(np.uint8)[..., None]  # 32 x 32
    network = timm.create_model(
        args.model, pretrained=args.pretrained, in_chans=1, num_classes=len(digits.target_names)
    )
    head = network.default_cfg["classifier"]  # "fc", "head" or "classifier"
    body = [name for name, _ in network.named_parameters() if not name.startswith(head)]
    clf = MetaWeightNetClassifier(
        module=network,
        lr=args.lr,
        optimizer_params={"param_groups": [(name, {"lr": args.lr / 10}) for name in body]},
        # The new head learns alone in the first epoch.
        callbacks=[("freeze", Freezer(body)), ("unfreeze", Unfreezer(body, at=2))],
        max_epochs=args.epochs,
        n_warmup_epochs=min(2, args.epochs // 2),
        augment=None,
        random_state=0,
    )
    n = args.n_train
    clf.fit(images[:n], digits.target[:n])
    accuracy = clf.score(images[n:], digits.target_clean[n:])
    print(f"{args.model}, {len(body)} tensors at {args.lr / 10:g}: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
