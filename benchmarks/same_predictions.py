"""Fit every estimator twice on digits and once on images, and compare with another commit.

    python benchmarks/same_predictions.py --save before.npz      # in a checkout of the one commit
    python benchmarks/same_predictions.py --compare before.npz   # in a checkout of the other

A refactoring must not change what a fit computes: `--compare` exits with 1 unless all predictions
and all judgements of labels are equal bit for bit. Take both on one machine, with one set of
installed packages.
"""

import argparse
import sys
import time
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression

import sknoisy
from sknoisy import (
    CleanSampleSelector,
    CLIDMUClassifier,
    DMLPClassifier,
    FaMUSClassifier,
    L2RClassifier,
    LabelPurifier,
    MetaWeightNetClassifier,
    MILDClassifier,
    MLCClassifier,
    MLNTClassifier,
    MSLCClassifier,
    NoisyLabelClassifier,
    PurifiedClassifier,
    TransitionMLCClassifier,
)
from sknoisy.datasets import load_noisy_digits

N_ROWS = 500
NETWORK = {"max_epochs": 8, "module_params": {"hidden": (32,)}}
META = {**NETWORK, "n_warmup_epochs": 2}
SELECTION = {"max_epochs": 5, "n_rounds": 2, "module_params": {"hidden": (32,)}}
KEPT = ("clean_proba_", "sample_weight_", "purified_labels_", "sample_indices_", "transition_")


def table_estimators(seed):
    """Return ``{name: (estimator, which metadata fit gets)}``."""
    s = {"random_state": seed}
    return {
        "CLID-MU": (CLIDMUClassifier(**META, **s), ""),
        "CLID-MU, trusted, weights": (
            CLIDMUClassifier(meta_objective="cross_entropy", **META, **s),
            "mask weight",
        ),
        "CLID-MU, vri, weights": (CLIDMUClassifier(weighting="vri", **META, **s), "mask weight"),
        "CLID-MU, every third": (CLIDMUClassifier(meta_every=3, n_ensemble=0, **META, **s), ""),
        "L2R": (L2RClassifier(**META, **s), ""),
        "L2R, trusted, weights": (L2RClassifier(**META, **s), "mask weight"),
        "Meta-Weight-Net": (MetaWeightNetClassifier(**META, **s), ""),
        "Meta-Weight-Net, reverse, ldam": (
            MetaWeightNetClassifier(
                gradient="reverse", loss="ldam", class_weight="balanced", **META, **s
            ),
            "mask weight",
        ),
        "MLC": (MLCClassifier(**META, **s), ""),
        "MLC, trusted, weights": (MLCClassifier(skip=True, **META, **s), "mask weight"),
        "MSLC": (MSLCClassifier(**META, **s), ""),
        "MSLC, hard, weights": (MSLCClassifier(targets="hard", **META, **s), "mask weight"),
        "transition": (TransitionMLCClassifier(**META, **s), ""),
        "transition, trusted, weights": (TransitionMLCClassifier(**META, **s), "mask weight"),
        "FaMUS": (FaMUSClassifier(**META, **s), ""),
        "FaMUS, trusted, weights": (FaMUSClassifier(**META, **s), "mask weight"),
        "MLNT": (MLNTClassifier(n_synthetic=3, **NETWORK, **s), ""),
        "MLNT, iterations, trusted, weights": (
            MLNTClassifier(n_synthetic=2, n_iterations=2, **NETWORK, **s),
            "mask weight",
        ),
        "MILD": (MILDClassifier(max_epochs=8, selector=CleanSampleSelector(**SELECTION), **s), ""),
        "MILD, mixmatch, trusted, weights": (
            MILDClassifier(
                semi="mixmatch", max_epochs=5, selector=CleanSampleSelector(**SELECTION), **s
            ),
            "mask weight",
        ),
        "MILD, contrastive": (
            MILDClassifier(
                semi="mixup+contrastive",
                max_epochs=5,
                selector=CleanSampleSelector(**SELECTION),
                **s,
            ),
            "",
        ),
        "DMLP": (DMLPClassifier(**NETWORK, **s), ""),
        "DMLP, trusted, weights": (DMLPClassifier(**NETWORK, **s), "mask weight"),
        "ensemble": (NoisyLabelClassifier(network_params={"max_epochs": 4}, **s), ""),
        "ensemble, trusted, weights": (
            NoisyLabelClassifier(network_params={"max_epochs": 4}, **s),
            "mask weight",
        ),
        "selector": (CleanSampleSelector(metric="segments", **SELECTION, **s), "mask"),
        "purifier": (LabelPurifier(n_components=64, n_epochs=20, **s), ""),
        "purifier, auxiliary": (
            LabelPurifier(n_components=64, n_epochs=10, correction="auxiliary", **s),
            "mask",
        ),
        "purified regression": (
            PurifiedClassifier(
                LabelPurifier(n_components=64, n_epochs=20, **s), LogisticRegression(C=0.1)
            ),
            "mask weight",
        ),
    }


def image_estimators(seed):
    """Return the same on 150 images of digits."""
    s = {"random_state": seed, "max_epochs": 3}
    return {
        "CLID-MU, images": (CLIDMUClassifier(n_warmup_epochs=1, **s), ""),
        "FaMUS, images": (FaMUSClassifier(n_warmup_epochs=1, **s), "mask"),
        "MLNT, images": (MLNTClassifier(n_synthetic=2, **s), ""),
    }


def fit_all():
    """Return ``{key: array}`` of the predictions and label scores of each fit."""
    found = {}
    for seed in (0, 1):
        digits = load_noisy_digits(rate=0.4, random_state=seed)
        rng = np.random.default_rng(seed)
        weight = rng.choice([0.0, 0.5, 1.0, 2.0], N_ROWS)
        mask = np.zeros(N_ROWS, bool)
        for label in range(10):  # the first three rows of each class, all of positive weight
            mask[np.flatnonzero(digits.target[:N_ROWS] == label)[:3]] = True
        weight[mask] = 1
        X, y, X_test = digits.data[:N_ROWS], digits.target[:N_ROWS], digits.data[N_ROWS:]
        runs = {name: (*run, X, X_test) for name, run in table_estimators(seed).items()}
        if seed == 0:
            images = [(x[:150].reshape(-1, 8, 8, 1) * 15).astype(np.uint8) for x in (X, X_test)]
            runs |= {name: (*run, *images) for name, run in image_estimators(seed).items()}
        for name, (estimator, metadata, X_fit, X_new) in runs.items():
            n = len(X_fit)
            given = {}
            if "mask" in metadata:
                given["clean_mask"] = mask[:n]
            if "weight" in metadata:
                given["sample_weight"] = weight[:n]
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimator.fit(X_fit, y[:n], **given)
            key = f"seed {seed}: {name}"
            print(f"{key:45} {time.perf_counter() - start:6.1f} s", flush=True)
            if hasattr(estimator, "predict_proba"):
                found[f"{key}: predict_proba"] = estimator.predict_proba(X_new)
            for attribute in KEPT:
                if hasattr(estimator, attribute):
                    found[f"{key}: {attribute}"] = np.asarray(getattr(estimator, attribute))
    return found


def main():
    """Fit, then save or compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--save", metavar="FILE")
    action.add_argument("--compare", metavar="FILE")
    args = parser.parse_args()
    print(f"sknoisy of {sknoisy.__path__[0]}")
    found = fit_all()
    if args.save:
        np.savez_compressed(args.save, **found)
        print(f"{len(found)} arrays saved to {args.save}")
        return 0
    with np.load(args.compare) as saved:
        before = dict(saved)
    missing = sorted(before.keys() ^ found.keys())
    other = [k for k in before.keys() & found.keys() if not _is_same(before[k], found[k])]
    for key in missing:
        print(f"only on one side: {key}")
    for key in sorted(other):
        print(f"differs: {key}")
    print(f"{len(found)} arrays, {len(other)} differ, {len(missing)} on one side only")
    return int(bool(other or missing))


def _is_same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


if __name__ == "__main__":
    sys.exit(main())
