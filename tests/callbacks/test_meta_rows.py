"""Rows that callbacks name are rows of the X given to fit, also behind a split or in folds."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.model_selection import cross_val_score
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset, ValidSplit
from small_nets import (
    DEFAULTS,
    D,
    Spy,
    fit_device_net,
    fit_stock_net,
    make_module,
    training_data,
    update,
)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Subset

from sknoisy.callbacks import (
    CLIDScore,
    CollapseGuard,
    MetaUpdate,
    PerSampleCrossEntropy,
    RowLoader,
)
from sknoisy.meta import CrossEntropyObjective, LabelCorrector, TransitionCorrector, WNet

N = 60


def numbered(n=N):
    """X whose first column is the number of the row."""
    X = np.random.default_rng(0).normal(size=(n, D))
    X[:, 0] = np.arange(n)
    return X, np.arange(n) % 3


class HeldOut(ValidSplit):
    """A split that takes given rows for validation, in two steps."""

    def __init__(self, rows, nested=False):
        super().__init__(5)
        self.rows, self.nested = rows, nested

    def __call__(self, dataset, y=None, groups=None):
        kept = np.setdiff1d(np.arange(len(dataset)), self.rows)[::-1].tolist()
        if self.nested:
            inner = Subset(dataset, np.arange(len(dataset))[::-1].tolist())
            kept = [len(dataset) - 1 - row for row in kept]
            return Subset(inner, kept), Subset(dataset, self.rows)
        return Subset(dataset, kept), Subset(dataset, self.rows)


def rows_seen(spy):
    return sorted({int(x) for problem in spy.problems for x in problem.meta_x[:, 0]})


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("as_mask", [False, True])
@pytest.mark.parametrize("X_is", ["array", "Subset"])
def test_rows_behind_a_split_are_rows_of_X(nested, as_mask, X_is):
    spy, named = Spy(), np.arange(30, 45)
    rows = np.isin(np.arange(N), named) if as_mask else named
    meta = update(gradient=spy, meta_rows=rows)
    split = HeldOut(np.arange(0, 30, 3), nested)
    X, y = numbered()
    data, shift = (X, y), 0
    if X_is == "Subset":  # its own row 0 is row 7 of the data below it
        X, y = numbered(N + 7)
        data, shift = (Subset(Dataset(X, y), list(range(7, N + 7))), None), 7
    fit_stock_net(meta, data=data, train_split=split)
    assert rows_seen(spy) == [row + shift for row in named]
    assert_array_equal(np.sort(meta.meta_rows_), named)


def test_the_default_split_takes_some_of_the_named_rows_and_says_so():
    X, y = numbered()
    meta = update(meta_rows=np.arange(8, 45))
    message = r"meta_rows holds rows 8, 9, 10, 11 of X, which the train_split.*validation"
    with pytest.raises(ValueError, match=message):
        fit_stock_net(meta, data=(X, y), train_split=ValidSplit(5, stratified=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: update(meta_rows=rows),
        lambda rows: CLIDScore(rows),
        lambda rows: CollapseGuard(1, rows=rows),
    ],
    ids=["MetaUpdate", "CLIDScore", "CollapseGuard"],
)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3, N], r"rows holds row 60, but the 60 rows of X have the numbers 0 to 59"),
        ([-1, 3], r"rows holds row -1"),
        ([0, 8], r"rows holds row 8 of X, which the train_split"),
        (np.ones(N - 1, bool), r"rows is a mask of shape \(59,\), but X has 60 rows"),
        ([0.5, 1.5], r"rows must be row numbers or a mask, got float64"),
        ([], r"rows is empty"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_by_name(make, rows, message):
    with pytest.raises(ValueError, match=message):
        fit_stock_net(make(rows), data=numbered(), train_split=HeldOut([8, 9]))


def test_drawn_rows_come_from_the_training_part_and_are_reported_as_rows_of_X():
    spy, split = Spy(), HeldOut(np.arange(40))
    meta = update(gradient=spy, meta_rows=12)
    fit_stock_net(meta, data=numbered(), train_split=split)
    assert rows_seen(spy) == sorted(meta.meta_rows_)
    assert min(meta.meta_rows_) >= 40


def test_trust_in_meta_rows_follows_them_behind_a_split():
    spy = Spy()
    rows = np.arange(30, 45)

    def corrector(n_features, n_classes):
        return LabelCorrector(n_features, n_classes, n_embedding=2, trust_meta_rows=True)

    meta = update(corrector, gradient=spy, meta_rows=rows)
    split = HeldOut(np.arange(0, 30, 3))
    net = fit_stock_net(meta, data=numbered(), train_split=split, iterator_train=RowLoader)
    for problem in spy.problems:
        assert_array_equal(problem.trusted, np.isin(problem.x[:, 0], rows))
    weights = meta.weigh_rows(net, Dataset(*numbered()))
    assert_array_equal(weights == 1, np.isin(np.arange(N), rows))


# In cross-validation


def flagged(X, y):
    """The rows whose last column is 1."""
    return X[:, -1] == 1


class WithoutFlag(nn.Module):
    """A module that does not see the last column."""

    def __init__(self):
        super().__init__()
        self.module = make_module().float()

    def forward(self, x):
        return self.module(x[:, :-1])


SEEN = []


class KeepMetaRows(Spy):
    def __call__(self, problem):
        SEEN.append(problem.meta_x.numpy())
        return super().__call__(problem)


@pytest.mark.parametrize("train_split", [None, HeldOut([0, 1, 2])])
def test_a_flag_in_X_names_the_meta_rows_of_each_fold(train_split):
    SEEN.clear()
    X, y = numbered()
    flag = np.arange(N) % 4 == 0
    if train_split is not None:  # the split of a fold does not take flagged rows
        flag[:8] = flag[20:24] = False
    X = np.column_stack([X, flag]).astype(np.float32)
    meta = MetaUpdate(gradient=KeepMetaRows(), meta_rows=flagged, random_state=0)
    net = NeuralNetClassifier(
        WithoutFlag(),
        criterion=PerSampleCrossEntropy,
        train_split=train_split,
        callbacks=[("meta", meta)],
        **DEFAULTS,
    )
    scores = cross_val_score(net, X, y.astype(np.int64), cv=3, error_score="raise")
    assert np.isfinite(scores).all()
    seen = np.concatenate(SEEN)
    assert (seen[:, -1] == 1).all()
    assert set(seen[:, 0]) == set(np.flatnonzero(flag))


def test_a_callable_is_called_with_X_and_y_of_fit():
    X, y = numbered()
    asked = []

    def of_class_0(X, y):
        asked.append((X, y))
        return y == 0

    meta = update(meta_rows=of_class_0)
    fit_stock_net(meta, data=(X, y))
    assert asked[0][0] is X
    assert_array_equal(meta.meta_rows_, np.flatnonzero(y == 0))


# Work that nobody reads


def test_meta_batches_are_taken_for_updates_only():
    taken = []

    def augment(X, generator):
        taken.append(len(X))
        return X

    for meta_every, n_meta in ((1, 6), (3, 2)):
        taken.clear()
        data = training_data(augment=augment, generator=torch.Generator())
        fit_device_net(update(meta_every=meta_every, meta_rows=5), data=data)
        assert taken.count(5) == n_meta  # of six batches


class Calls(TorchDispatchMode):
    """Count the calls of operations by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", [WNet, partial(TransitionCorrector, trust_meta_rows=True)])
def test_no_batch_waits_for_the_device(model):
    """Numbers are read, and rows searched, as often with many batches as with few."""
    counts = []
    for batch_size in (20, 5):
        meta = update(model, CrossEntropyObjective(), meta_rows=10)
        with Calls() as calls:
            fit_device_net(meta, data=training_data(40), max_epochs=1, batch_size=batch_size)
        counts.append([calls.counts[name] for name in ("_local_scalar_dense", "isin", "any")])
    assert counts[0] == counts[1]
    zeros = training_data(40, sample_weight=torch.arange(40.0).double())
    with Calls() as calls:
        meta = update(model, CrossEntropyObjective(), meta_rows=10)
        fit_device_net(meta, data=zeros, max_epochs=1, batch_size=5)
    assert calls.counts["any"] >= 8  # where a batch may have no weight, each is checked
