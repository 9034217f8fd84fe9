"""CLIDMUClassifier with a semi-supervised framework: what is weighted, and what is added."""

import functools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_family import noisy_blobs

from sknoisy import CLIDMUClassifier
from sknoisy.meta import MetaModel
from sknoisy.methods.divide_mix import DIVISION, DivideMixNet
from sknoisy.methods.semi_supervised import FixMatchNet, FlexMatchNet

pytestmark = pytest.mark.filterwarnings(
    "ignore::sknoisy.exceptions.MixtureWarning", "ignore::sknoisy.exceptions.CollapseWarning"
)
X, Y, TRUSTED = noisy_blobs(240)
NETS = {"fixmatch": FixMatchNet, "flexmatch": FlexMatchNet, "dividemix": DivideMixNet}


def framework(semi, **parameters):
    settings = {
        "module_params": {"hidden": (8,)},
        "max_epochs": 4,
        "batch_size": 32,
        "n_warmup_epochs": 1,
        "n_ensemble": 2,
        "random_state": 0,
    }
    return CLIDMUClassifier(semi=semi, **{**settings, **parameters})


@functools.cache
def proba_of(semi, **parameters):
    return framework(semi, **parameters).fit(X, Y).predict_proba(X)


@pytest.mark.parametrize("semi", NETS)
def test_the_framework_has_an_effect(semi):
    clf = framework(semi).fit(X, Y)
    assert [type(net) for net in clf.nets_] == [NETS[semi]] * (2 if semi == "dividemix" else 1)
    assert not np.allclose(clf.predict_proba(X), proba_of(None))


@pytest.mark.parametrize("semi", NETS)
@pytest.mark.parametrize(("weighting", "meta_lr"), [("wnet", 0.5), ("vri", 1e-3)])
def test_the_meta_model_has_an_effect_beside_the_framework(semi, weighting, meta_lr):
    still, learned = (proba_of(semi, weighting=weighting, meta_lr=rate) for rate in (0.0, meta_lr))
    none = proba_of(semi, weighting=None)
    assert not np.allclose(still, learned)
    assert not np.allclose(learned, none)


def test_the_epochs_of_both_networks_are_averaged():
    clf = framework("dividemix").fit(X, Y)
    states = [
        state for net in clf.nets_ for *_, state in dict(net.callbacks_)["ensemble"].members_
    ]
    assert len(states) == 4
    rows = clf._rows(X).take(torch.arange(len(X)))
    logits = [
        torch.func.functional_call(clf.net_.module_, state, (rows,)).detach() for state in states
    ]
    expected = torch.stack(logits).mean(dim=0).softmax(dim=1)
    assert_allclose(clf.predict_proba(X), expected, atol=1e-6)


def test_the_posteriors_of_the_division_judge_the_labels():
    clf = framework("dividemix").fit(X, Y)
    found = [dict(net.callbacks_)[DIVISION].clean_proba_ for net in clf.nets_]
    assert_allclose(clf.clean_proba_, np.mean(found, axis=0))


def test_pseudo_labels_of_an_untrained_network_are_not_learned():
    """From the first epoch on, FlexMatch's thresholds of 0 led to one class for all rows."""
    for seed in range(3):
        random = np.random.default_rng(seed)
        y = np.arange(80) % 3
        rows = random.normal(size=(80, 5))
        rows[np.arange(80), y] += 2
        clf = CLIDMUClassifier(semi="flexmatch", max_epochs=10, random_state=seed)
        clf.fit(rows, y, unlabeled_mask=np.arange(80) >= 40)
        assert np.bincount(clf.predict(rows), minlength=3).min() > 0
        assert clf.net_.threshold < 0.95


@pytest.mark.parametrize("objective", ["cross_entropy", "mae"])
def test_labels_of_the_division_serve_objectives_that_read_labels(objective):
    clf = framework("dividemix", meta_objective=objective).fit(X, Y)
    named = dict(clf.net_.callbacks_)
    assert [name for name in named if name == DIVISION] == [DIVISION]
    assert not named[DIVISION].stratify
    assert set(named["meta"].meta_rows_) <= set(range(len(Y)))


def test_rows_without_labels_have_no_weight_and_need_a_framework():
    mask = np.arange(len(Y)) % 4 == 0
    clf = framework("fixmatch").fit(X, Y, unlabeled_mask=mask)
    assert (clf.sample_weight_[mask] == 0).all()
    assert (clf.sample_weight_[~mask] > 0).all()
    message = f"unlabeled_mask is True for {mask.sum()} rows, which semi=None cannot use"
    with pytest.raises(ValueError, match=message):
        framework(None).fit(X, Y, unlabeled_mask=mask)


def test_meta_models_that_fix_the_loss_cannot_guide_mixtures():
    class Fixed(MetaModel):
        pass

    assert not hasattr(Fixed(), "loss")
    with pytest.raises(TypeError, match="Fixed has no attribute loss"):
        framework("dividemix", weighting=Fixed).fit(X, Y)
