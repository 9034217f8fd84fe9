"""One fit on two processes is the fit of one process, and wrong sums would be noticed."""

import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import rank_cases
import torch
from numpy.testing import assert_allclose, assert_array_equal
from rank_cases import ESTIMATORS, STEP_CASES, fit_all, train
from skorch.callbacks import Callback
from small_nets import make_module, training_data

from sknoisy._engine.batches import Batches
from sknoisy._engine.net import DeviceNet
from sknoisy.callbacks import MetaUpdate, PerSampleCrossEntropy
from sknoisy.meta.collectives import Ranks, current_ranks, is_first_rank

TOLERANCE = 1e-12

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch has no torch.distributed"
)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What two processes found, by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    results = [folder / f"{rank}.pickle" for rank in range(2)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, rank_cases.__file__, str(rank), str(folder / "store"), str(path)],
            env=environment,
            stderr=path.with_suffix(".log").open("w"),
        )
        for rank, path in enumerate(results)
    ]
    try:
        for process in processes:
            process.wait(timeout=900)
    finally:
        for process in processes:
            process.kill()
    logs = [path.with_suffix(".log").read_text()[-2000:] for path in results]
    assert [process.returncode for process in processes] == [0, 0], logs
    return [pickle.loads(path.read_bytes()) for path in results]


@pytest.fixture(scope="module")
def one_process():
    return {name: train(name) for name in STEP_CASES}


def distance(one, two):
    return max((one[key] - two[key]).abs().max().item() for key in one if key != "moved")


@pytest.mark.parametrize("name", STEP_CASES)
def test_two_ranks_learn_what_one_process_learns(name, two_ranks, one_process):
    first, second = (found["steps"][name] for found in two_ranks)
    assert distance(one_process[name], first) < TOLERANCE
    assert distance(first, second) == 0
    assert one_process[name]["moved"] > 1e-4


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("wnet", "v averaged"),
        ("wnet", "CLID of each rank"),
        ("wnet", "weights of each rank"),
        ("vri", "draws of each rank"),
    ],
)
def test_a_wrong_sum_is_noticed(name, wrong, two_ranks, one_process):
    found = two_ranks[0]["wrong"][name, wrong]
    assert (
        min((one_process[name][key] - found[key]).abs().max() for key in ("w", "theta"))
        > 10 * TOLERANCE
    )


def test_estimators_predict_what_they_predict_after_one_process(two_ranks, tmp_path):
    here = fit_all(tmp_path)
    assert set(here) > set(ESTIMATORS)
    for name, proba in here.items():
        first, second = (found["proba"][name] for found in two_ranks)
        assert_array_equal(first, second)
        assert_allclose(first, proba, atol=1e-4, err_msg=name)
    assert_array_equal(two_ranks[0]["proba"]["memory map"], two_ranks[0]["proba"]["cross-entropy"])


def test_ranks_agree_with_dropout_and_without_a_seed(two_ranks):
    first, second = two_ranks
    assert first["n_ranks"] == second["n_ranks"] == 2
    assert_array_equal(*first["dropout"])
    assert_array_equal(first["dropout"], second["dropout"])
    assert_array_equal(first["unseeded"], second["unseeded"])


def test_dropout_is_drawn_by_each_rank_and_the_rest_by_all(two_ranks):
    first, second = two_ranks
    assert not torch.equal(first["own draw"], second["own draw"])
    whole = torch.rand(6, generator=torch.Generator().manual_seed(0))
    for found in two_ranks:
        assert torch.equal(torch.cat([found["common draw"], found["next draw"]]), whole)


def test_rank_0_alone_shows_progress(two_ranks):
    assert [found["bars"] for found in two_ranks] == [1, 0]


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("two networks", "NotImplementedError", "CoTeachingClassifier trains several networks"),
        ("own step", "NotImplementedError", "FixMatchClassifier"),
        ("rounds", "NotImplementedError", "MILDClassifier"),
        ("iterations", "NotImplementedError", "MLNTClassifier"),
        ("purification", "NotImplementedError", "DMLPClassifier"),
        ("gradient", "NotImplementedError", "ReverseGradient works in one process"),
        ("checkpoint", "NotImplementedError", "Pass checkpoint=None"),
        ("limit of time", "NotImplementedError", "Pass max_time=None"),
        ("batch norm", "ValueError", "WithSyncBatchNorm contains SyncBatchNorm"),
        ("own batch norm", "RuntimeError", "The copies of BatchNormNetwork differ"),
        ("small batch", "ValueError", "batch_size=3 with 121 rows is too small for 2"),
        ("small meta batch", "ValueError", "A meta batch has 3 rows"),
        ("other labels", "ValueError", "called fit with different rows, labels"),
        ("other settings", "ValueError", "called fit with different"),
        ("DDP", "TypeError", "MetaUpdate cannot be used under DistributedDataParallel"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(name, error, text, two_ranks):
    for found in two_ranks:
        assert found["refused"][name][0] == error
        assert text in found["refused"][name][1]


def ranks_of(n, rank):
    """One of n ranks, without torch.distributed."""
    ranks = object.__new__(Ranks)
    ranks.n, ranks.rank = n, rank
    return ranks


@pytest.mark.parametrize("n_rows", [6, 7, 100, 101])
def test_shares_are_those_of_tensor_split(n_rows):
    rows = torch.arange(n_rows)
    for rank, part in enumerate(rows.tensor_split(3)):
        assert torch.equal(rows[ranks_of(3, rank).share(n_rows)], part)


@pytest.mark.parametrize(("n_rows", "n_batches"), [(24, 2), (25, 2), (26, 3)])
def test_no_rank_gets_fewer_than_two_rows(n_rows, n_batches):
    data = training_data(n_rows)
    parts = [[*Batches(data, 10, ranks=ranks_of(3, rank))] for rank in range(3)]
    assert [len(batches) for batches in parts] == [n_batches] * 3
    assert min(len(X) for batches in parts for X, _ in batches) == 2 + (n_batches == 2)
    for shares in zip(*parts, strict=True):
        assert torch.equal(torch.cat([X for X, _ in shares]), data.rows.tensor[shares[0].rows])
        assert len(shares[0][1]) == sum(len(X) for X, _ in shares)


def test_an_interruption_on_several_ranks_goes_on():
    class Interruption(Callback):
        def on_batch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    net = DeviceNet(make_module(), PerSampleCrossEntropy, callbacks=[Interruption()])
    net.ranks = ranks_of(2, 0)
    net.ranks.copy_from_first = net.ranks.part_streams = lambda what: None  # the other is missing
    with pytest.raises(KeyboardInterrupt):
        net.fit(training_data())


def test_accelerate_with_several_processes_is_refused():
    net = SimpleNamespace(
        module_=torch.nn.Linear(2, 2), accelerator=SimpleNamespace(num_processes=2)
    )
    with pytest.raises(TypeError, match="accelerate with several processes"):
        MetaUpdate().on_train_begin(net)


def test_one_process_has_no_ranks():
    assert current_ranks() is None
    assert is_first_rank()
    X, y = rank_cases.make_xy()
    assert ESTIMATORS["cross-entropy"].fit(X, y).n_ranks_ == 1
    assert np.isfinite(ESTIMATORS["cross-entropy"].predict_proba(X)).all()
