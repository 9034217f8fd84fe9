"""NoisyLabelClassifier on digits: purified labels, estimated noise, and accuracy."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from sknoisy import CLIDMUClassifier, NoisyLabelClassifier
from sknoisy.datasets import load_noisy_digits


def on_digits(noise, rate, n_rows, max_epochs, seed=0):
    """Return the data, and a classifier that was fitted on the first rows."""
    digits = load_noisy_digits(noise=noise, rate=rate, random_state=seed)
    params = {"max_epochs": max_epochs, "batch_size": 64}
    clf = NoisyLabelClassifier(network_params=params, random_state=seed)
    return digits, clf.fit(digits.data[:n_rows], digits.target[:n_rows])


def test_it_detects_wrong_labels_of_digits_with_symmetric_noise():
    """Over three draws of the noise."""
    rates, repaired = [], []
    for seed in range(3):
        digits, clf = on_digits("symmetric", 0.3, 600, 14, seed)
        right, truth = ~digits.noise_mask[:600], digits.target_clean[:600]
        assert roc_auc_score(right, clf.clean_proba_) > 0.98
        rates.append(clf.choice_.noise_rate - np.mean(~right))
        repaired.append(np.mean(clf.purified_labels_ == truth))
    assert abs(np.mean(rates)) < 0.06
    assert np.mean(repaired) > 0.92


def test_it_beats_a_forest_and_a_plain_network_under_pairflip():
    digits, clf = on_digits("pairflip", 0.4, 900, 20)
    train = digits.data[:900], digits.target[:900]
    test = digits.data[900:], digits.target_clean[900:]
    network = CLIDMUClassifier(weighting=None, n_ensemble=0, random_state=0)
    others = [RandomForestClassifier(random_state=0), network]
    best = max(other.fit(*train).score(*test) for other in others)
    assert clf.score(*test) > best + 0.1
