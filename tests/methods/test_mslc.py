"""MSLCClassifier: the targets, the memory of soft labels and the shares of the given labels."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from small_family import noisy_blobs, small

from sknoisy.meta import SoftLabelCorrector

X, Y, TRUSTED = noisy_blobs()


def fit(**parameters):
    return small("MSLC", **parameters).fit(X, Y, clean_mask=TRUSTED)


@pytest.mark.filterwarnings("ignore:n_warmup_epochs=3 leaves none:UserWarning")
def test_hard_and_soft_targets_differ_once_labels_are_corrected():
    hard, soft, warm_hard, warm_soft = (
        fit(targets=targets, n_warmup_epochs=n).predict_proba(X)
        for n in (1, 3)
        for targets in ("hard", "soft")
    )
    assert_array_equal(warm_hard, warm_soft)
    assert not np.array_equal(hard, soft)


def test_the_memory_holds_a_soft_label_of_each_row():
    memory = dict(fit().net_.callbacks_)["meta"].meta_model_.memory
    assert memory.shape == (len(Y), 3)
    assert (memory >= 0).all()
    assert_allclose(memory.sum(dim=1), 1, rtol=1e-5)


def test_mislabelled_rows_keep_less_of_their_given_label():
    differences = []
    for seed in range(3):
        rows, y, trusted = noisy_blobs(seed=seed)
        clf = small("MSLC", max_epochs=20, random_state=seed).fit(rows, y, clean_mask=trusted)
        wrong = noisy_blobs(rate=0.0, seed=seed)[1] != y
        share = clf.sample_weight_
        differences.append(share[~wrong].mean() - share[wrong].mean())
    assert np.mean(differences) > 0.05  # half of the mean of these seeds, 0.10


def test_a_given_label_starts_with_most_of_the_soft_label():
    torch.manual_seed(0)
    models = [SoftLabelCorrector(4, 3) for _ in range(50)]
    shares = torch.stack([model.trust_given(torch.zeros(1, 1)) for model in models])
    assert abs(shares.mean() - 0.88) < 0.02
    assert (
        abs(torch.stack([m.trust_memory(torch.zeros(1, 1)) for m in models]).mean() - 0.5) < 0.03
    )
