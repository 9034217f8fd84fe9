"""MetaUpdate: batches without weight, strategies, factories, rows that change, weigh_rows."""

import copy
import warnings
from functools import partial

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from small_nets import (
    BATCH,
    EPOCH_BATCHES,
    N_CLASSES,
    At,
    AtBatch,
    N,
    Spy,
    fit_device_net,
    fit_stock_net,
    make_module,
    small_wnet,
    state,
    training_data,
    update,
)
from torch.testing import assert_close

from sknoisy.callbacks import PseudoCleanRows
from sknoisy.exceptions import MixtureWarning
from sknoisy.meta import (
    BatchOutputs,
    CrossEntropyObjective,
    L2RWeights,
    LabelCorrector,
    LayerSampledGradient,
    WNet,
)
from sknoisy.networks import WithFeatures

NETS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net])

# Batches without any weight


@NETS
@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.SGD, lambda parameters, momentum, **kw: torch.optim.AdamW(parameters, **kw)],
    ids=["SGD", "AdamW"],
)
def test_a_batch_without_weight_changes_nothing_and_is_counted(fit, optimizer):
    """Every third batch has no weight; parameters and optimiser state stay as they are."""
    seen, asked = [], []

    class EveryThird(WNet):
        weights_can_vanish = True

        def forward(self, batch):  # called twice per batch, before and after its own update
            asked.append(0)
            return super().forward(batch) * (0.0 if len(asked) % 6 in (3, 4) else 1.0)

    class Look(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            seen.append((state(net.module_), copy.deepcopy(net.optimizer_.state_dict()["state"])))

        on_batch_end = on_batch_begin

    callback = update(EveryThird(3).double(), CrossEntropyObjective())
    net = fit(callback, Look(), optimizer=optimizer, optimizer__weight_decay=0.1)
    assert callback.n_skipped_batches_ == 2
    assert callback.n_steps_ == 2 * EPOCH_BATCHES == len(net.history[:, "train_loss"]) * 3
    for i, (before, after) in enumerate(zip(seen[::2], seen[1::2], strict=True)):
        is_same = torch.equal(before[0]["0.weight"], after[0]["0.weight"])
        assert is_same == (i % 3 == 1)
        if is_same:
            assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("n_warmup_epochs", [0, 1])
def test_a_batch_without_sample_weight_is_skipped(n_warmup_epochs):
    """Also if the guidance is a soft label, and in the warm-up."""
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(N).double()
    weight[order[:BATCH]] = 0  # the first batch
    for meta_model in (WNet, partial(LabelCorrector, n_embedding=2, n_hidden=3)):
        seen = []
        callback = update(meta_model, CrossEntropyObjective(), n_warmup_epochs=n_warmup_epochs)
        look = AtBatch(lambda net, seen=seen: seen.append(state(net.module_)), epoch=1, batch=2)
        data = training_data(sample_weight=weight)
        fit_device_net(callback, look, data=data, max_epochs=1, optimizer__weight_decay=0.1)
        assert_close(seen[0], state(make_module()), rtol=0, atol=0)
        assert callback.n_skipped_batches_ == 1


# The strategy, the meta model and rows that change


@NETS
def test_a_strategy_is_copied_with_its_samplers(fit):
    strategy = LayerSampledGradient(n_active=1)
    callbacks = [update(gradient=strategy) for _ in range(2)]
    nets = [fit(callback) for callback in callbacks]
    assert strategy.layer_names == ()
    assert len(strategy.samplers) == 0
    first, second = (callback.gradient_ for callback in callbacks)
    assert len(first.samplers) == len(second.samplers) == 2
    assert first.share_forward == second.share_forward == (fit is fit_device_net)
    assert strategy.share_forward
    assert_close(*(state(net.module_) for net in nets), rtol=0, atol=0)
    assert all(len(usage) == 4 for usage in nets[0].history[:, "layer_usage"])


def test_a_factory_receives_the_arguments_that_its_signature_names():
    asked = []

    def of_both(n_features, n_classes):
        asked.append((n_features, n_classes))
        return small_wnet()

    def of_classes(hidden=5, *, n_classes):
        asked.append((hidden, n_classes))
        return small_wnet()

    for factory in (of_both, of_classes, lambda: small_wnet()):
        fit_device_net(update(factory), max_epochs=1)
    assert asked == [(6, N_CLASSES), (5, N_CLASSES)]


def test_the_meta_set_is_read_anew_in_every_epoch():
    """It is the callback's ``rows_`` at the beginning of the first batch."""
    rows = PseudoCleanRows(n_warmup_epochs=1, min_per_class=2, random_state=0)
    callback, spy, found = (
        update(meta_rows="PseudoCleanRows", meta_batch_size=100, n_warmup_epochs=1),
        Spy(),
        [],
    )
    callback.gradient = spy
    look = At(lambda net: found.append(rows.rows_))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        fit_device_net(rows, callback, look, max_epochs=4, lr=0.5)
    assert len({tuple(chosen) for chosen in found}) > 1
    X = training_data().rows.tensor
    for epoch in range(1, 4):
        for problem in spy.problems[3 * epoch - 3 : 3 * epoch]:
            expected = X[found[epoch - 1]]
            assert_close(problem.meta_x.sort(dim=0).values, expected.sort(dim=0).values)
    assert_array_equal(callback.meta_rows_, found[2])


def test_rows_that_are_chosen_after_the_warm_up_are_refused():
    rows = PseudoCleanRows(n_warmup_epochs=3)
    with pytest.raises(ValueError, match=r"no pseudo-clean rows for epoch 2.*must not exceed"):
        fit_device_net(rows, update(meta_rows="PseudoCleanRows", n_warmup_epochs=1), max_epochs=3)


@pytest.mark.parametrize("method", ["weigh_rows", "guide_rows"])
def test_values_of_all_rows_are_in_the_order_of_the_rows(method):
    data, n = training_data(250), 250  # more than one pass
    callback = update(partial(LabelCorrector, n_embedding=2, n_hidden=3), CrossEntropyObjective())
    net = fit_device_net(callback, data=data)
    features, logits = WithFeatures(net.module_.eval())(data.rows.tensor)
    with torch.no_grad():
        labels = callback.meta_model_(BatchOutputs(logits, features, data.targets))
    expected = labels if method == "guide_rows" else labels[range(n), data.targets]
    assert_allclose(getattr(callback, method)(net, data), expected)


def test_a_meta_model_that_is_reset_at_each_batch_requires_meta_every_1():
    with pytest.raises(
        ValueError, match="L2RWeights is reset at each batch, so meta_every must be 1"
    ):
        fit_device_net(update(L2RWeights, CrossEntropyObjective(), meta_every=2))


@NETS
@pytest.mark.parametrize("is_first", [True, False])
def test_the_rows_of_a_callback_are_found_by_its_name_in_any_order(fit, is_first):
    rows = PseudoCleanRows(1, random_state=0)
    meta = update(
        objective=CrossEntropyObjective(), meta_rows="PseudoCleanRows", n_warmup_epochs=1
    )
    net = fit(*((rows, meta) if is_first else (meta, rows)), max_epochs=3)
    assert set(meta.meta_rows_) <= set(range(N))
    first = {"PseudoCleanRows", "MetaUpdate"}
    assert first <= {name for name, _ in net.callbacks_}


@NETS
def test_an_unknown_name_is_answered_with_the_names_that_would_do(fit):
    rows = PseudoCleanRows(1, random_state=0)
    message = r"meta_rows='judges' is no callback .* with rows_ are \['PseudoCleanRows'\]"
    with pytest.raises(ValueError, match=message):
        fit(rows, update(meta_rows="judges", n_warmup_epochs=1), max_epochs=3)


@NETS
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "judges",
            "meta_rows='judges' is no callback of the net, and no other callback has rows_",
        ),
        ("At", r"meta_rows='At' has no rows_"),
        ("peer.PseudoCleanRows", "0 nets are trained beside it"),
    ],
)
def test_a_name_that_is_no_callback_with_rows_is_refused(fit, name, message):
    meta = update(meta_rows=name, n_warmup_epochs=1)
    with pytest.raises(ValueError, match=message):
        fit(At(lambda net: None), meta, max_epochs=3)


# Rows of the meta set that keep their labels


def test_rows_of_the_meta_set_count_as_trusted_if_trust_meta_rows():
    trusted, judges = torch.arange(N) < 5, [3, 4, 5, 6]
    data, spy = training_data(trusted=trusted), Spy()
    model = small_wnet()
    model.trust_meta_rows = True
    callback = update(model, gradient=spy, meta_rows=judges)
    net = fit_device_net(callback, data=data, max_epochs=1)
    for problem in spy.problems:
        assert_array_equal(problem.trusted, problem.rows < 7)
    assert (callback.weigh_rows(net, data) == 1).nonzero()[0].tolist() == list(range(7))


def test_trust_meta_rows_requires_row_numbers():
    with pytest.raises(TypeError, match=r"attribute `rows`.*trust_meta_rows=False"):
        fit_stock_net(update(partial(LabelCorrector, trust_meta_rows=True)))
