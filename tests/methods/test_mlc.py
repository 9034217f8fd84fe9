"""MLCClassifier: the skip gate, soft labels, and a meta set of rows of small loss."""

import pytest
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from small_family import noisy_blobs, small


def test_the_skip_gate_keeps_more_of_the_given_labels():
    X, y, trusted = noisy_blobs()
    mixed, corrected = (
        small("MLC", skip=skip, max_epochs=8).fit(X, y, clean_mask=trusted).sample_weight_
        for skip in (True, False)
    )
    # Half of the smallest difference of five seeds, 0.042.
    assert mixed[~trusted].mean() > corrected[~trusted].mean() + 0.021


def test_soft_labels_leave_less_to_given_labels_that_the_network_does_not_predict():
    X, y, trusted = noisy_blobs()
    clf = small("MLC", skip=False, max_epochs=8).fit(X, y, clean_mask=trusted)
    changed = clf.purified_labels_ != y
    assert 0 < changed.sum() < (~trusted).sum()
    kept = ~changed & ~trusted
    assert clf.sample_weight_[changed].mean() < clf.sample_weight_[kept].mean() - 0.1
    assert_array_equal(clf.sample_weight_[trusted], 1)


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")
@pytest.mark.parametrize(("method", "share", "eps"), [("MLC", 10, 1e-3), ("MSLC", 10, 1e-8)])
def test_meta_rows_that_the_network_has_fitted_move_a_label_corrector_little(method, share, eps):
    class Settings(Callback):
        def on_epoch_end(self, net, **kwargs):
            callbacks = dict(net.callbacks_)
            finder = callbacks.get("pseudo_clean")
            adam = callbacks["meta"].meta_model_.optimizer
            found.append((finder and finder.min_per_class, adam.keywords["eps"]))

    found = []
    X, y, trusted = noisy_blobs()
    for mask in (None, trusted):
        clf = small(method, max_epochs=1, n_warmup_epochs=0, callbacks=[Settings()])
        clf.fit(X, y, clean_mask=mask)
    assert found == [(share, eps), (None, 1e-8)]
