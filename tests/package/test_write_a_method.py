"""The classifier of the page "Write a method of your own", read from the page, and the seams."""

import doctest
import inspect
import pickle
import sys
from itertools import groupby
from pathlib import Path
from types import ModuleType
from unittest import SkipTest

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from torch.nn.functional import cross_entropy

from sknoisy._engine.batches import Batch
from sknoisy.base import NetworkClassifier
from sknoisy.datasets import load_noisy_digits

PAGE = Path(__file__).resolve().parents[2] / "docs" / "user_guide" / "write_a_method.rst"
MAX_LINES = 40

_WEIGHT_TWO = (
    "A weight of 2 is not a repeated row for a trainer that draws mini-batches; scikit-learn's "
    "own SGD estimators fail this check, too."
)
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": _WEIGHT_TWO,
    "check_sample_weight_equivalence_on_sparse_data": _WEIGHT_TWO,
}
# Runs only where SCIPY_ARRAY_API is set before scipy is imported.
MAY_SKIP = {"check_array_api_input"}


def first_code_block(text):
    """Return the examples of a page that come before the first prose after a prompt."""
    pieces = doctest.DocTestParser().parse(text)
    blocks = groupby(pieces, lambda piece: isinstance(piece, doctest.Example) or not piece.strip())
    block = next(list(pieces) for is_code, pieces in blocks if is_code)
    return "".join(piece.source for piece in block if isinstance(piece, doctest.Example))


def load_classifier(source, name):
    """Execute source as a module that can be imported by name, as pickles do."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), vars(module))
    return module.GCEClassifier


SOURCE = first_code_block(PAGE.read_text(encoding="utf-8"))
GCEClassifier = load_classifier(SOURCE, "method_of_the_page")
SMALL = GCEClassifier(max_epochs=12, batch_size=64, random_state=0)


def test_the_whole_method_takes_at_most_40_lines():
    lines = SOURCE.splitlines()
    assert lines[0].startswith(("from ", "import "))
    assert "_parameter_constraints" in SOURCE
    assert len(lines) <= MAX_LINES


@parametrize_with_checks(
    [SMALL], expected_failed_checks=lambda _: EXPECTED_FAILURES, xfail_strict=True
)
def test_scikit_learn_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        if check.func.__name__ not in MAY_SKIP:
            pytest.fail(f"A check that nobody expected to skip itself did so: {reason}")
        raise


def test_at_least_55_checks_run():
    names = [check.func.__name__ for _, check in estimator_checks_generator(SMALL)]
    assert EXPECTED_FAILURES.keys() <= set(names)
    assert len([name for name in names if name not in {*EXPECTED_FAILURES, *MAY_SKIP}]) >= 55


def test_q_of_zero_is_cross_entropy_bit_for_bit(blobs, global_random_seed):
    X, y = blobs
    weights = np.linspace(0.5, 1.5, len(y))
    settings = {"max_epochs": 5, "batch_size": 32, "random_state": global_random_seed}
    off = GCEClassifier(q=0.0, **settings).fit(X, y, sample_weight=weights)
    plain = NetworkClassifier(**settings).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(off.predict_proba(X), plain.predict_proba(X))


def test_small_q_is_close_to_cross_entropy(blobs, global_random_seed):
    X, y = blobs
    settings = {"max_epochs": 5, "batch_size": 32, "random_state": global_random_seed}
    plain = NetworkClassifier(**settings).fit(X, y).predict_proba(X)
    distances = [
        np.abs(GCEClassifier(q=q, **settings).fit(X, y).predict_proba(X) - plain).max()
        for q in (0.1, 0.01, 1e-4)
    ]
    # The loss differs by q / 2 times the squared cross-entropy, to first order.
    assert distances[0] > 5 * distances[1] > 50 * distances[2]
    assert distances[2] < 1e-3


def test_q_withstands_wrong_labels(global_random_seed):
    gains = []
    for seed in range(global_random_seed, global_random_seed + 3):
        digits = load_noisy_digits(rate=0.4, random_state=seed)
        clf = GCEClassifier(
            lr=0.1,
            max_epochs=30,
            module_params={"hidden": (128,), "dropout": 0.0},
            random_state=seed,
        )
        scores = [
            clone(clf)
            .set_params(q=q)
            .fit(digits.data[:900], digits.target[:900])
            .score(digits.data[900:], digits.target_clean[900:])
            for q in (0.7, 0.0)
        ]
        gains.append(scores[0] - scores[1])
    assert min(gains) > 0
    assert np.mean(gains) > 0.02


def test_the_signature_contains_the_shared_parameters():
    own = inspect.signature(GCEClassifier).parameters
    shared = inspect.signature(NetworkClassifier).parameters
    assert list(own) == ["q", *shared]
    assert {name: own[name] for name in shared} == dict(shared)
    assert GCEClassifier(q=0.5, lr=0.1).get_params() == {
        **NetworkClassifier().get_params(),
        "q": 0.5,
        "lr": 0.1,
    }


def test_an_unknown_parameter_is_an_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'qq'"):
        GCEClassifier(qq=0.5)
    with pytest.raises(ValueError, match="Invalid parameter 'qq'"):
        GCEClassifier().set_params(qq=0.5)


def test_signatures_are_merged_along_several_classes():
    class Slower(GCEClassifier):
        def __init__(self, *, lr=0.01, patience=3, **shared):
            super().__init__(lr=lr, **shared)
            self.patience = patience

    class Explicit(Slower):
        def __init__(self, *, q=0.3):
            super().__init__(q=q)

    class Same(Slower):
        pass

    parameters = inspect.signature(Slower).parameters
    assert set(parameters) == {*inspect.signature(GCEClassifier).parameters, "patience"}
    assert parameters["lr"].default == 0.01
    assert clone(Slower(q=0.2)).get_params()["q"] == 0.2
    assert list(inspect.signature(Explicit).parameters) == ["q"]
    assert inspect.signature(Same) == inspect.signature(Slower)


def test_a_fit_can_be_pickled(blobs):
    X, y = blobs
    clf = clone(SMALL).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


class Recording(NetworkClassifier):
    """Writes down the seams in the order in which they are called."""

    def _prepare(self, problem):
        self.calls_ = ["_prepare"]
        return super()._prepare(problem)

    def _networks(self, data, rng):
        self.calls_.append("_networks")
        return super()._networks(data, rng)

    def _loss(self, data):
        self.calls_.append("_loss")
        return super()._loss(data)

    def _callbacks(self, data, random_state):
        self.calls_.append("_callbacks")
        return super()._callbacks(data, random_state)

    def _joint_step(self, nets, batch):
        self.calls_.append("_joint_step")
        return [net.train_step(batch) for net in nets]

    def _member_states(self):
        self.calls_.append("_member_states")
        return super()._member_states()

    def _finish(self, data):
        self.calls_.append("_finish")
        super()._finish(data)


def test_the_seams_are_called_in_the_order_of_the_page(blobs):
    clf = Recording(max_epochs=2, batch_size=64, random_state=0).fit(*blobs)
    called = list(dict.fromkeys(clf.calls_))
    text = PAGE.read_text(encoding="utf-8")
    table = text[: text.index("A loss\n------")]
    assert called == sorted(called, key=lambda name: table.index(f"\n``{name}``"))
    assert clf.calls_.count("_joint_step") == 4  # two epochs of two batches
    assert len(called) == 7


def test_a_joint_step_of_one_net_is_plain_training(blobs):
    X, y = blobs
    settings = {"max_epochs": 3, "batch_size": 32, "random_state": 0}
    joint = Recording(**settings).fit(X, y)
    plain = NetworkClassifier(**settings).fit(X, y)
    np.testing.assert_array_equal(joint.predict_proba(X), plain.predict_proba(X))
    assert joint.history_[:, "train_loss"] == plain.history_[:, "train_loss"]


class _Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("n_calls", torch.zeros((), dtype=torch.int64))

    def forward(self, batch):
        self.n_calls += 1
        scaled = batch.logits * self.log_scale.exp()
        return cross_entropy(scaled, batch.targets, reduction="none")


class _ScaledClassifier(NetworkClassifier):
    def _loss(self, data):
        return _Scaled()


def test_a_row_loss_may_be_a_module_that_learns_and_remembers(blobs):
    clf = _ScaledClassifier(max_epochs=2, batch_size=64, random_state=0).fit(*blobs)
    learned = clf.net_.criterion_.row_loss
    assert learned.n_calls == 4  # once for each batch: two epochs of two batches
    assert learned.log_scale != 0


@pytest.mark.parametrize("as_mask", [False, True])
def test_a_part_of_a_batch_keeps_what_belongs_to_its_rows(as_mask):
    X = torch.arange(8.0).reshape(4, 2)
    batch = Batch(X, torch.tensor([0, 1, 2, 3]), torch.tensor([7, 5, 3, 1]), torch.rand(4))
    index = torch.tensor([False, True, False, True]) if as_mask else torch.tensor([1, 3])
    part = batch.only(index)
    assert torch.equal(part[0], X[[1, 3]])
    assert part[1].tolist() == [1, 3]
    assert part.rows.tolist() == [5, 1]
    assert torch.equal(part.sample_weight, batch.sample_weight[[1, 3]])
    assert part.trusted is None
