"""FaMUSClassifier: two networks that choose meta rows for each other, and their common loop."""

import copy
import functools
import warnings

import numpy as np
import pytest
import torch
from member_logits import member_logits
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, EarlyStopping
from small_family import noisy_blobs, small
from small_nets import (
    DEFAULTS,
    At,
    fit_device_net,
    in_order,
    make_module,
    state,
    training_data,
    update,
)
from torch.testing import assert_close

from sknoisy._engine.net import DeviceNet, train_side_by_side
from sknoisy.callbacks import PerSampleCrossEntropy
from sknoisy.exceptions import InterruptedFitWarning
from sknoisy.meta import WNet
from sknoisy.methods.divide_mix import DivideMixNet

X, Y, TRUSTED = noisy_blobs(240)
LENIENT = pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")


def famus(**parameters):
    return small("FaMUS", **{"n_active_layers": 2, **parameters})


@functools.cache
def proba_of(clean_mask_given=True, **parameters):
    """Return the predictions of a fit; fits that several tests compare with are made once."""
    clf = famus(**parameters)
    return clf.fit(X, Y, clean_mask=TRUSTED if clean_mask_given else None).predict_proba(X)


def callbacks(clf):
    """Return the callbacks of both nets by name."""
    return [dict(net.callbacks_) for net in clf.nets_]


class Record(Callback):
    """Keep the chosen rows and the meta set of each epoch."""

    def __init__(self):
        self.chosen, self.judged_by = [], []

    def on_epoch_end(self, net, **kwargs):
        named = dict(net.callbacks_)
        if "pseudo_clean" in named:
            self.chosen.append(named["pseudo_clean"].rows_)
        self.judged_by.append(getattr(named["meta"], "meta_rows_", None))


# Two networks


@LENIENT
@pytest.mark.parametrize("n_warmup_epochs", [0, 1, 2])
def test_the_meta_set_of_each_network_is_chosen_by_the_other_one(n_warmup_epochs):
    """Both choose the rows for the next epoch before either is trained further."""
    record = Record()
    clf = famus(n_warmup_epochs=n_warmup_epochs, max_epochs=4, callbacks=[record]).fit(X, Y)
    first, second = (named["Record"] for named in callbacks(clf))
    assert first is record
    assert second is not record
    start = max(n_warmup_epochs, 1)
    for epoch in range(start, 4):  # counted from 0
        for own, other in ((first, second), (second, first)):
            assert_array_equal(own.judged_by[epoch], other.chosen[epoch - 1])
            assert own.chosen[epoch - 1].tolist() != other.chosen[epoch - 1].tolist()
    assert [rows is None for rows in first.judged_by] == [e < n_warmup_epochs for e in range(4)]
    assert_array_equal(clf.meta_rows_, second.chosen[-2])


def test_trusted_rows_are_the_meta_set_of_both():
    clf = famus().fit(X, Y, clean_mask=TRUSTED)
    for named in callbacks(clf):
        assert "pseudo_clean" not in named
        assert_array_equal(named["meta"].meta_rows_, TRUSTED.nonzero()[0])


@LENIENT
def test_the_exchange_does_not_depend_on_the_weights_of_trusted_rows():
    """Trusted rows of weight 0 are no meta set; the networks then choose rows for each other."""
    clf = famus(max_epochs=4).fit(X, Y, clean_mask=TRUSTED, sample_weight=1.0 - TRUSTED)
    first, second = callbacks(clf)
    for own, other in ((first, second), (second, first)):
        assert own["meta"].meta_rows == "peer.pseudo_clean"
        assert not TRUSTED[own["meta"].meta_rows_].any()
        assert own["pseudo_clean"].rows_.tolist() != other["pseudo_clean"].rows_.tolist()


def test_logits_and_weights_are_means_over_both_networks():
    clf = famus(max_epochs=5, meta_lr=0.01).fit(X, Y, clean_mask=TRUSTED)
    logits = [member_logits(clf, X, net.module_, net.module_.state_dict()) for net in clf.nets_]
    assert (logits[0] - logits[1]).abs().max() > 0.1
    assert_allclose(clf.predict_proba(X), ((logits[0] + logits[1]) / 2).softmax(dim=1))
    weights = []
    for scores, named in zip(logits, callbacks(clf), strict=True):
        meta_model = named["meta"].meta_model_
        assert isinstance(meta_model, WNet)
        losses = torch.nn.functional.cross_entropy(scores, torch.from_numpy(Y), reduction="none")
        weights.append(meta_model.weigh(losses.float()).detach().numpy())
    expected = np.where(TRUSTED, 1, np.mean(weights, axis=0))
    assert np.abs(weights[0] - weights[1]).max() > 1e-3
    assert_allclose(clf.sample_weight_, expected, atol=1e-6)
    assert clf.net_ is clf.nets_[0]
    features = clf.net_.module_.forward_features(clf._rows(X).take(torch.arange(len(X))))
    assert_allclose(clf.features(X), features.detach(), atol=1e-6)


# Sampling


@pytest.mark.parametrize(
    ("parameter", "value", "needs"),
    [
        ("n_active_layers", 0, {}),
        ("sampler_lr", 0.0, {}),
        ("reg_weight", 5.0, {}),
        ("match_weight", 5.0, {"meta_lr": 0.1}),
    ],
)
def test_parameters_of_the_samplers(parameter, value, needs):
    """They change the gradient, and have no effect if it uses all layers."""
    for gradient in ("famus", "forward"):
        expected = proba_of(gradient=gradient, **needs)
        clf = famus(gradient=gradient, **needs, **{parameter: value})
        found = clf.fit(X, Y, clean_mask=TRUSTED).predict_proba(X)
        assert np.array_equal(found, expected) == (gradient == "forward")
        assert hasattr(clf, "layer_usage_") == (gradient == "famus")


@pytest.mark.parametrize("n_active_layers", [0, 2])
def test_the_usage_of_gated_layers_follows_the_wanted_number(n_active_layers):
    clf = famus(
        n_active_layers=n_active_layers, reg_weight=10.0, sampler_lr=0.01, max_epochs=12
    ).fit(X, Y, clean_mask=TRUSTED)
    assert clf.layer_usage_.shape == (11, 4)
    assert (clf.layer_usage_[:, 2:] == 1).all()
    assert abs(clf.layer_usage_[-3:, :2].sum(axis=1).mean() - n_active_layers) < 0.2


def test_more_active_layers_than_the_module_has_are_refused_before_any_epoch():
    done = []
    count = At(lambda net: done.append(len(net.history)))
    with pytest.raises(ValueError, match="n_active=9 layers cannot be on"):
        famus(n_active_layers=9, callbacks=[count]).fit(X, Y, clean_mask=TRUSTED)
    assert not done


# Early ends


class Interrupt(Callback):
    """Press Ctrl-C at a batch of one of the nets, counted from 1 over all epochs."""

    def __init__(self, batch, in_copy):
        self.batch, self.in_copy, self.is_copy = batch, in_copy, False

    def __deepcopy__(self, memo):
        other = copy.copy(self)
        other.is_copy = True
        return other

    def on_train_begin(self, net, **kwargs):
        self.count = 0

    def on_batch_begin(self, net, training=False, **kwargs):
        self.count += 1
        if self.is_copy == self.in_copy and self.count == self.batch:
            raise KeyboardInterrupt


@LENIENT
@pytest.mark.parametrize("in_copy", [False, True], ids=["first net", "second net"])
@pytest.mark.parametrize(("batch", "n_done"), [(1, 0), (9, 1), (19, 2)])
def test_an_interruption_leaves_a_fitted_estimator(in_copy, batch, n_done):
    clf = famus(max_epochs=4, callbacks=[Interrupt(batch, in_copy)])  # eight batches an epoch
    # The first net has trained in an epoch before the second one begins.
    n_done += in_copy
    with pytest.warns(InterruptedFitWarning, match=f"after {n_done} of 4 epochs"):
        clf.fit(X, Y)
    assert clf.n_iter_ == n_done
    assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    assert clf.clean_proba_.shape == Y.shape
    assert hasattr(clf, "sample_weight_") == (batch > 8)
    assert all(net.criterion_._guide is None for net in clf.nets_)
    clf.set_params(callbacks=None)
    whole = proba_of(clean_mask_given=False, max_epochs=4)
    assert_array_equal(clf.fit(X, Y).predict_proba(X), whole)


def test_early_stopping_of_one_ends_both_and_is_no_interruption():
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1.0, sink=lambda text: None)
    clf = famus(max_epochs=9, callbacks=[stop])
    with warnings.catch_warnings():
        warnings.simplefilter("error", InterruptedFitWarning)
        clf.fit(X, Y, clean_mask=TRUSTED)
    assert clf.n_iter_ == 3
    assert [len(net.history) for net in clf.nets_] == [3, 3]


# The loop


def nets_of(*callbacks_of_each, **params):
    return [
        DeviceNet(
            make_module(),
            PerSampleCrossEntropy,
            order=torch.Generator().manual_seed(0),
            callbacks=in_order(own),
            **{**DEFAULTS, **params},
        )
        for own in callbacks_of_each
    ]


def test_nets_that_train_in_turn_end_as_if_trained_alone():
    nets = nets_of([update(meta_lr=5.0)], [], lr=0.2)
    train_side_by_side(nets, training_data(), 3)
    for net, own in zip(nets, ([update(meta_lr=5.0)], []), strict=True):
        alone = fit_device_net(*own, max_epochs=3, lr=0.2)
        assert_close(state(net.module_), state(alone.module_), rtol=0, atol=0)
        assert net.history[:, "train_loss"] == alone.history[:, "train_loss"]
        assert not net.interrupted_


def test_all_nets_begin_and_end_an_epoch_together():
    events = []

    class Log(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_begin(self, net, **kwargs):
            events.append(f"{self.name} begins")

        def on_batch_begin(self, net, **kwargs):
            events.append(f"{self.name} trains")

        def on_epoch_end(self, net, **kwargs):
            events.append(f"{self.name} ends")

    train_side_by_side(nets_of([Log("a")], [Log("b")], batch_size=20), training_data(), 2)
    assert events == 2 * [f"{n} {what}" for what in ("begins", "trains", "ends") for n in "ab"]


def test_the_best_loss_so_far_is_marked_as_skorch_does():
    def worse(net):
        torch.nn.init.normal_(net.module_[0].weight, std=9)

    net = fit_device_net(At(worse, 2), max_epochs=5)
    losses = net.history[:, "train_loss"]
    assert losses[2] > losses[1]
    best = net.history[:, "train_loss_best"]
    assert best == [all(loss < other for other in losses[:i]) for i, loss in enumerate(losses)]
    assert False in best


# DivideMix's targets


@LENIENT
@pytest.mark.parametrize("clean_mask", [None, TRUSTED], ids=["pseudo-clean", "trusted"])
def test_the_networks_learn_mixtures_by_the_division_of_the_other_one(clean_mask):
    clf = famus(semi="dividemix", max_epochs=4, meta_lr=0.1).fit(X, Y, clean_mask=clean_mask)
    plain = famus(max_epochs=4, meta_lr=0.1).fit(X, Y, clean_mask=clean_mask)
    assert not np.allclose(clf.predict_proba(X), plain.predict_proba(X))
    for net, named in zip(clf.nets_, callbacks(clf), strict=True):
        assert isinstance(net, DivideMixNet)
        assert named["meta"].n_steps_ > 0
        assert named["meta"].meta_model_.loss is net.row_losses
    found = [named["pseudo_clean"].clean_proba_ for named in callbacks(clf)]
    trusted = np.zeros(len(Y), bool) if clean_mask is None else clean_mask
    assert_allclose(clf.clean_proba_, np.where(trusted, 1, np.mean(found, axis=0)))


@LENIENT
def test_the_weighting_networks_guide_the_losses_of_mixtures():
    still, learned = (
        famus(semi="dividemix", max_epochs=4, meta_lr=rate).fit(X, Y).predict_proba(X)
        for rate in (0.0, 0.1)
    )
    assert not np.allclose(still, learned)


def test_margins_of_one_label_and_mixed_labels_exclude_each_other():
    with pytest.raises(ValueError, match=r"loss='ldam' reads one label .* semi='dividemix'"):
        famus(semi="dividemix", loss="ldam").fit(X, Y)
