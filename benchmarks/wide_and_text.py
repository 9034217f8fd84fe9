"""Wide one-hot tables, sentence embeddings, text and two moons: data on which networks fail.

    python benchmarks/wide_and_text.py --seeds 5

- motif: 60 positions of 4 letters, one-hot (240 columns), three classes, two of which are marked
  by a blurred motif; 2,000 training rows.
- embeddings: 60 classes of 15 rows, 768 columns of rank 80 and noise; a fifth of the labels is
  drawn at random.
- text: documents of made-up words, eight topics with 120 words of their own over a common Zipf
  vocabulary, TF-IDF, sparse; 4,000 training documents.
- moons: two moons with noise 0.2; 900 training rows.

Accuracy on clean test labels, the share of right labels among the purified ones (of others: the
given ones), and processor seconds of fit on one thread. Each seed draws table, noise and random
state. The baseline is a random forest, for embeddings and text logistic regression.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from _common import Row, column, command_line, machine, markdown, report, run_cells, spread
from sklearn.base import ClassifierMixin
from sklearn.datasets import make_moons
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import sknoisy
from sknoisy.noise import pairflip, symmetric


def motif(seed: int):
    """Return 4,000 one-hot rows and their classes; the motifs are the same for every seed."""
    rng, motifs = np.random.default_rng([seed, 1]), np.random.default_rng(7)
    y = rng.choice(3, 4000, p=[0.25, 0.25, 0.5])
    letters = rng.integers(0, 4, (4000, 60))
    for label in (0, 1):
        positions = motifs.choice(np.arange(20, 40), 8, replace=False)
        values, shares = motifs.integers(0, 4, 8), motifs.uniform(0.6, 0.98, 8)
        for position, value, share in zip(positions, values, shares, strict=True):
            letters[(y == label) & (rng.random(4000) < share), position] = value
    return np.eye(4)[letters].reshape(4000, -1), y


def embeddings(seed: int):
    """Return 1,800 rows of 60 classes, every other one for training."""
    rng = np.random.default_rng(seed)
    directions, centres = rng.normal(size=(80, 768)) / 9, rng.normal(size=(60, 80))
    y = np.repeat(np.arange(60), 30)
    latent = centres[y] + 1.6 * rng.normal(size=(1800, 80))
    X = latent @ directions + 0.3 * rng.normal(size=(1800, 768))
    order = np.r_[np.arange(0, 1800, 2), np.arange(1, 1800, 2)]
    return X[order], y[order]


def text(seed: int):
    """Return the TF-IDF of 6,000 documents and their topics."""
    rng, n_words = np.random.default_rng([seed, 77]), 15_000
    common = 1 / np.arange(1, n_words + 1) ** 1.05
    common /= common.sum()
    topics = []
    for _ in range(8):
        topic = common.copy()
        own = rng.choice(np.arange(50, n_words), 120, replace=False)
        topic[own] += rng.dirichlet(np.ones(120)) * 0.12
        topics.append(topic / topic.sum())
    y = rng.integers(0, 8, 6000)
    lengths = np.clip(rng.lognormal(3.0, 0.6, 6000).astype(int), 4, 200)
    documents = [
        " ".join(f"w{word}" for word in rng.choice(n_words, length, p=topics[topic]))
        for topic, length in zip(y, lengths, strict=True)
    ]
    return TfidfVectorizer(sublinear_tf=True).fit_transform(documents), y


def moons(seed: int):
    """Return 2,900 rows of two moons."""
    return make_moons(2900, noise=0.2, random_state=seed)


DATA = {"motif": (motif, 2000), "embeddings": (embeddings, 900), "text": (text, 4000)}
DATA |= {"moons": (moons, 900)}
SETTINGS = [
    ("motif", "symmetric 50"),
    ("motif", "pairflip 35"),
    ("embeddings", "random 20"),
    ("text", "symmetric 30"),
    ("text", "pairflip 30"),
    ("moons", "symmetric 30"),
]
METHODS = ["baseline", "CleanLearning", "purified baseline", "NoisyLabelClassifier"]


def mislabel(y: np.ndarray, noise: str, seed: int) -> np.ndarray:
    """Return labels with the named noise."""
    kind, percent = noise.split()
    rate = int(percent) / 100
    if kind == "random":
        rng = np.random.default_rng([seed, 3])
        return np.where(rng.random(len(y)) < rate, rng.integers(0, y.max() + 1, len(y)), y)
    return {"symmetric": symmetric, "pairflip": pairflip}[kind](y, rate, random_state=seed).y


def build(data: str, method: str, seed: int) -> ClassifierMixin:
    """Return the unfitted classifier."""
    baseline: ClassifierMixin = RandomForestClassifier(random_state=seed)
    if data in ("embeddings", "text"):
        baseline = LogisticRegression(max_iter=500)
    if method == "CleanLearning":
        from cleanlab.classification import CleanLearning

        return CleanLearning(baseline, seed=seed, find_label_issues_kwargs={"n_jobs": 1})
    if method == "purified baseline":
        return sknoisy.PurifiedClassifier(sknoisy.LabelPurifier(random_state=seed), baseline)
    return baseline if method == "baseline" else sknoisy.NoisyLabelClassifier(random_state=seed)


def fit(data: str, noise: str, method: str, seed: int) -> Row:
    """Return the scores of one fit."""
    make, n = DATA[data]
    X, y = make(seed)
    given = mislabel(y[:n], noise, seed)
    clf = build(data, method, seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        clf.fit(X[:n], given)
        seconds = time.process_time() - start
        accuracy = float(np.mean(clf.predict(X[n:]) == y[n:]))
    labels = getattr(clf, "purified_labels_", given)
    right = float(np.mean(labels == y[:n]))
    return {"accuracy": accuracy, "right labels": right, "seconds": seconds}


def main() -> None:
    args = command_line(__doc__, n_seeds=5).parse_args()
    cells = [
        {"data": data, "noise": noise, "method": method, "seed": seed}
        for data, noise in SETTINGS
        for seed in range(args.seeds)
        for method in METHODS
    ]
    print(machine())
    rows = run_cells(fit, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    for score in ("accuracy", "right labels", "seconds"):
        lines = [
            [m, *(spread(column(rows, score, data=d, noise=n, method=m)) for d, n in SETTINGS)]
            for m in METHODS
        ]
        header = ["", *(f"{data}, {noise}" for data, noise in SETTINGS)]
        report(f"{score}, {args.seeds} seeds", markdown(header, lines))


if __name__ == "__main__":
    main()
