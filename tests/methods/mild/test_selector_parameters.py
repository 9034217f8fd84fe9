"""Every parameter of CleanSampleSelector has its documented effect."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, EarlyStopping
from small_selectors import CLEAN, GIVEN, RIGHT, X, kept, quick, record
from torch import nn

from sknoisy import CleanSampleSelector
from sknoisy.methods.mild.dynamics import LearningDynamics, count_dynamics, segment_dynamics


def test_every_parameter_is_constrained():
    parameters = CleanSampleSelector().get_params()
    assert CleanSampleSelector._parameter_constraints.keys() == parameters.keys()


# --- what decides about rows --------------------------------------------------------------------


def squares(bits, n_rows):
    return LearningDynamics(*map(np.square, count_dynamics(bits, n_rows)))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("count", count_dynamics),
        ("segments", segment_dynamics),
        (squares, squares),
    ],
    ids=["count", "segments", "callable"],
)
def test_metric_makes_difficulties_of_the_bits(metric, expected):
    selector = quick(metric=metric, n_rounds=1).fit(X, GIVEN)
    dynamics = expected(record(selector).bits_, len(X))
    assert_array_equal(selector.memorization_, dynamics.memorization)
    assert_array_equal(selector.forgetting_, dynamics.forgetting)
    assert_array_equal(selector.rounds_[0]["scores"], np.unique(dynamics.score))
    # Whatever the metric, clean_proba_ is the share of right predictions.
    counts = count_dynamics(record(selector).bits_, len(X))
    assert_array_equal(selector.clean_proba_, counts.forgetting / 8)


def test_an_inverted_metric_keeps_the_wrong_labels():
    def opposite(bits, n_rows):
        return LearningDynamics(*count_dynamics(bits, n_rows)[::-1])

    selector = quick(metric=opposite, n_rounds=1).fit(X, GIVEN)
    dropped = ~selector.clean_mask_
    assert RIGHT[dropped].mean() > RIGHT.mean() + 0.2


def test_the_released_threshold_drops_no_row():
    selector = quick(threshold="released").fit(X, GIVEN)
    assert kept(selector) == [len(X)]
    assert selector.stop_reason_ == "no row lies above the threshold"
    assert kept(quick().fit(X, GIVEN))[0] < 0.9 * len(X)


def test_stopping_ends_the_rounds_at_the_first_negative_threshold():
    guarded, free = (quick(stopping=s).fit(X, GIVEN) for s in (True, False))
    signs = [np.sign(entry["threshold"]) for entry in guarded.rounds_]
    assert signs == [1, -1]
    assert guarded.stop_reason_ == "rows at the threshold are memorised in most epochs"
    assert free.n_iter_ == 4
    assert free.stop_reason_ == "n_rounds=4 were done"
    assert kept(free)[0] == kept(guarded)[0]
    # Without it, right labels are lost.
    assert free.clean_mask_[RIGHT].mean() < guarded.clean_mask_[RIGHT].mean() - 0.15


def test_min_memorized_drops_rows_of_the_last_round():
    selectors = {s: quick(min_memorized=s, min_per_class=1).fit(X, GIVEN) for s in (0.0, 0.4, 1.0)}
    for share, selector in selectors.items():
        assert kept(selector)[0] == kept(selectors[0.0])[0]
        assert selector.clean_proba_[selector.clean_mask_].min() >= share
    n_left = [kept(selector)[-1] for selector in selectors.values()]
    assert n_left[0] == selectors[0.0].rounds_[-1]["n_rows"]
    assert n_left == sorted(n_left, reverse=True)
    assert n_left[2] < n_left[1] < n_left[0]


def test_a_first_round_that_is_the_last_one_drops_nothing():
    """If its threshold is negative, there is hardly any noise."""
    selector = quick(min_memorized=1.0, max_epochs=16).fit(X, CLEAN)
    assert selector.stop_reason_ == "rows at the threshold are memorised in most epochs"
    assert selector.n_iter_ == 1
    assert selector.clean_proba_.min() < 0.5
    assert selector.clean_mask_.all()


def test_n_rounds_bounds_the_rounds():
    for n_rounds in (1, 3):
        selector = quick(n_rounds=n_rounds, stopping=False).fit(X, GIVEN)
        assert selector.n_iter_ == len(selector.rounds_) == n_rounds
        assert selector.stop_reason_ == f"n_rounds={n_rounds} were done"


def test_min_per_class_rows_of_each_given_class_stay():
    """Without a guard, and to the last row that a class has."""
    low, high = (quick(stopping=False, n_rounds=6, min_per_class=n).fit(X, GIVEN) for n in (1, 45))
    assert np.bincount(GIVEN[low.sample_indices_]).min() < 45
    assert np.bincount(GIVEN[high.sample_indices_]).min() >= 45
    assert sum(entry["n_spared"] for entry in high.rounds_) > 0
    assert quick(min_per_class=len(X)).fit(X, GIVEN).clean_mask_.all()


def test_reset_begins_each_round_with_a_new_network():
    def first_losses(reset):
        selector = quick(reset=reset, stopping=False, n_rounds=2).fit(X, GIVEN)
        return [entry["history"][0, "train_loss"] for entry in selector.rounds_]

    anew, on = first_losses(True), first_losses(False)
    assert anew[0] == on[0]
    assert anew[1] > 0.7
    assert on[1] < 0.6 * anew[1]


class Ends(Callback):
    """Copies of the last layer at the begin and the end of each training."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return Ends(self.seen)

    def on_train_begin(self, net, **kwargs):
        self.seen.append(net.module_.fc.weight.detach().clone())

    on_train_end = on_train_begin


@pytest.mark.parametrize("reset", [True, False])
def test_without_reset_a_network_goes_on_where_it_was(reset):
    seen = []
    quick(reset=reset, callbacks=[Ends(seen)], stopping=False, n_rounds=2).fit(X, GIVEN)
    _, end, begin, _ = seen
    assert torch.equal(begin, end) == (not reset)


def test_warm_up_makes_the_first_round_longer():
    selector = quick(n_warmup_epochs=5, stopping=False, n_rounds=2).fit(X, GIVEN)
    assert [len(entry["history"]) for entry in selector.rounds_] == [13, 8]
    assert record(selector).bits_.shape[0] == 8


# --- the network --------------------------------------------------------------------------------


def one_round(**parameters):
    return quick(n_rounds=1, **parameters).fit(X, GIVEN)


def first(selector, name):
    return selector.rounds_[0]["history"][0, name]


def test_a_module_is_copied_for_each_round():
    module = nn.Linear(6, 3)
    start = module.weight.detach().clone()
    selector = quick(module=module, stopping=False, n_rounds=2, standardize=True).fit(X, GIVEN)
    assert type(selector.net_.module_) is nn.Linear
    assert selector.net_.module_ is not module
    assert torch.equal(module.weight, start)
    assert not torch.equal(selector.net_.module_.weight, start)
    assert not selector.net_.module_.training


def test_module_params_are_those_of_the_default_network():
    for width in (7, 16):
        module = one_round(module_params={"hidden": (width,)}).net_.module_
        assert module.fc.in_features == width


def test_optimizer_and_its_params():
    assert type(one_round(optimizer="adam").net_.optimizer_) is torch.optim.Adam
    (group,) = one_round(optimizer_params={"weight_decay": 0.25}).net_.optimizer_.param_groups
    assert (group["weight_decay"], group["momentum"]) == (0.25, 0.9)


def test_lr_and_its_schedule_begin_anew_with_each_round():
    selector = quick(lr=0.03, stopping=False, n_rounds=2).fit(X, GIVEN)
    for entry in selector.rounds_:
        rates = entry["history"][:, "event_lr"]
        assert rates[0] == pytest.approx(0.03)
        assert rates[-1] < 0.1 * rates[0]
    constant = one_round(lr_schedule="constant", lr=0.03)
    assert {g["lr"] for g in constant.net_.optimizer_.param_groups} == {0.03}
    assert one_round(lr=0.03).net_.optimizer_.param_groups[0]["lr"] < 0.01


def test_max_epochs_and_batch_size():
    selector = quick(max_epochs=5, batch_size=50, stopping=False, n_rounds=2).fit(X, GIVEN)
    batches = [entry["history"][:, "train_batch_count"] for entry in selector.rounds_]
    assert batches[0] == [4] * 5
    assert batches[1] == [-(-kept(selector)[0] // 50)] * 5


def test_augment_and_standardize_decide_what_the_network_sees():
    for standardize in (True, False):
        seen = []

        def see(rows, generator, seen=seen):
            seen.append(rows.clone())
            return rows

        selector = quick(n_rounds=1, max_epochs=1, augment=see, standardize=standardize)
        selector.fit(5 + 3 * X, GIVEN)
        rows = torch.cat(seen)[: len(X)]
        assert len(rows) == len(X)
        expected = (0, 1) if standardize else (5 + 3 * X.mean(), None)
        assert rows.mean().item() == pytest.approx(expected[0], abs=1e-4)
        assert not standardize or rows.var(0).mean().item() == pytest.approx(1, abs=0.01)


def test_a_device_that_is_not_there():
    assert one_round(device="cpu").net_.device == "cpu"
    with pytest.raises(ValueError, match="device='nowhere' cannot be used"):
        one_round(device="nowhere")


class Counts(Callback):
    """Counts epochs, its own and those of all copies."""

    everywhere = 0

    def __init__(self):
        self.n = 0

    def on_epoch_end(self, net, **kwargs):
        self.n += 1
        type(self).everywhere += 1


def test_each_round_has_copies_of_the_callbacks():
    Counts.everywhere = 0
    callback = Counts()
    selector = quick(callbacks=[callback], stopping=False, n_rounds=3).fit(X, GIVEN)
    assert selector.n_iter_ == 3
    assert Counts.everywhere == 24
    assert callback.n == 0
    assert selector.callbacks == [callback]
    (last,) = [cb for _, cb in selector.net_.callbacks_ if type(cb) is Counts]
    assert last.n == 8


def test_a_round_that_stops_early_is_a_round():
    """skorch's EarlyStopping stops as a user does, and is told from one."""
    stop = EarlyStopping("train_loss", patience=1, threshold=1e3, threshold_mode="abs")
    selector = quick(callbacks=[stop], stopping=False, n_rounds=2).fit(X, GIVEN)
    assert selector.n_iter_ == 2
    n_epochs = len(selector.rounds_[0]["history"])
    assert n_epochs < 8
    dropped = selector.memorization_ + selector.forgetting_
    assert set(dropped) == {n_epochs}
    assert selector.clean_proba_.max() <= 1


def test_progress_is_shown_when_asked_for(capfd):
    quick().fit(X, GIVEN)
    assert not capfd.readouterr().err
    selector = quick(verbose=1).fit(X, GIVEN)
    shown = capfd.readouterr().err
    assert "CleanSampleSelector" in shown
    assert f"kept={kept(selector)[-1]}" in shown
    assert (
        f"CleanSampleSelector: {kept(selector)[-1]} of 180 rows selected in 2 rounds: "
        "rows at the threshold are memorised in most epochs." in shown
    )


def test_the_random_state_decides_the_rows():
    selections = [quick(random_state=s).fit(X, GIVEN).sample_indices_ for s in (0, 1)]
    assert selections[0].tolist() != selections[1].tolist()
