"""The kernel map scales columns by what they tell, where this helps."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import make_classification

from sknoisy import LabelPurifier
from sknoisy.methods.dmlp.kernel_features import KernelFeatures
from sknoisy.noise import symmetric


def mostly_noise(seed):
    """Return rows of which 8 of 80 columns tell the class, clean and noisy labels."""
    X, y = make_classification(
        800, 80, n_informative=8, n_redundant=0, n_classes=3, n_clusters_per_class=1,
        class_sep=1.0, flip_y=0, shuffle=False, random_state=seed,
    )  # fmt: skip
    order = np.random.default_rng(seed).permutation(800)
    return X[order], y[order], symmetric(y[order], 0.4, random_state=seed).y


def test_rows_are_near_where_columns_that_tell_something_are():
    X, _, noisy = mostly_noise(0)
    kernels = [KernelFeatures(4000, n_views=1, random_state=0) for _ in range(3)]
    scaled = kernels[0].fit(X, noisy).transform(X)
    unscaled = kernels[1].fit(X).transform(X)
    informative = kernels[2].fit(X[:, :8]).transform(X[:, :8])
    assert kernels[1].scale_ is None
    assert kernels[0].scale_[8:].max() < np.median(kernels[0].scale_[:8])
    off = ~np.eye(800, dtype=bool)
    target = (informative @ informative.T)[off]
    likeness = [np.corrcoef((k @ k.T)[off], target)[0, 1] for k in (scaled, unscaled)]
    assert likeness[0] > 0.6
    assert likeness[1] < 0.4


def test_columns_keep_their_size_where_scaling_does_not_help():
    """Labels without relation to X, and rows of which every column tells as much."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = rng.integers(3, size=300)
        coins, corners = rng.normal(size=(2, 300, 20))
        corners[:, :3] = 2 * np.eye(3)[y] + rng.normal(size=(300, 3))
        for X in (coins, corners[:, :3]):
            assert KernelFeatures(64, random_state=seed).fit(X, y).scale_ is None


def test_sparse_rows_are_scaled_as_dense_ones():
    X, _, noisy = mostly_noise(1)
    X[np.abs(X) < 0.5] = 0
    sparse, dense = scipy.sparse.csr_matrix(X), X
    first, second = (KernelFeatures(64, random_state=0).fit(x, noisy) for x in (sparse, dense))
    np.testing.assert_allclose(first.scale_, second.scale_, rtol=1e-5)
    of_sparse, of_dense = first.transform(sparse), second.transform(dense)
    # Sparse rows are not centred, which moves all rows alike: their kernel is the same.
    np.testing.assert_allclose(of_sparse @ of_sparse.T, of_dense @ of_dense.T, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_columns_that_tell_nothing_do_not_drown_the_others(seed, monkeypatch):
    X, y, noisy = mostly_noise(seed)
    scaled = LabelPurifier(random_state=seed).fit(X, noisy)
    assert scaled.representation_.scale_ is not None
    fit = KernelFeatures.fit
    monkeypatch.setattr(KernelFeatures, "fit", lambda self, X, *labels: fit(self, X))
    unscaled = LabelPurifier(random_state=seed).fit(X, noisy)
    accuracy = [(p.purified_labels_ == y).mean() for p in (scaled, unscaled)]
    assert accuracy[0] > accuracy[1] + 0.03
    assert accuracy[0] > (noisy == y).mean() + 0.15
