"""The frozen networks of a fitted classifier."""

import pickle

import pytest
import torch
from torch import nn

from sknoisy._engine import members as members_file
from sknoisy._engine.evaluation import copied_state
from sknoisy._engine.members import Members
from sknoisy._engine.rows import TensorRows
from sknoisy.networks import MLP

CPU = torch.device("cpu")


class KeepsItsLastPass(nn.Linear):
    """Torch does not copy what it keeps: a tensor with a graph."""

    def forward(self, x):
        self.kept = super().forward(x)
        return self.kept


def test_a_module_may_keep_tensors_of_its_training():
    module, x = KeepsItsLastPass(4, 3), torch.randn(5, 4)
    expected = module(x).detach().double()
    members = Members(module, [copied_state(module)], CPU, 2)
    assert torch.equal(members.logits(TensorRows(x)), expected)
    assert module.kept.requires_grad


def test_members_are_frozen_and_share_their_memory_with_the_states_alone():
    """Callbacks keep the states: an ensemble of five takes the memory of five, not of ten."""
    module = MLP(4, 3, hidden=(8,))
    states = [copied_state(module) for _ in range(2)]
    members = Members(module, states, CPU, 100)
    for network, state in zip(members.networks, states, strict=True):
        assert not any(part.training for part in network.modules())
        for (name, p), own in zip(network.named_parameters(), module.parameters(), strict=True):
            assert not p.requires_grad
            assert p.data_ptr() == state[name].data_ptr() != own.data_ptr()


def test_weights_and_blocks_of_two_names_stay_one():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    module.append(module[1])
    members = Members(module, [copied_state(module)], CPU, 100)
    for network in (*members.networks, *pickle.loads(pickle.dumps(members)).networks):
        assert network[0].weight is network[2].weight
        assert network[1] is network[3]


def test_a_device_that_is_not_there_is_replaced_by_the_cpu():
    module, x = MLP(4, 3, hidden=(8,)), torch.randn(5, 4)
    members = Members(module, [copied_state(module)], CPU, 100)
    state = members.__getstate__()
    other = Members.__new__(Members)
    other.__setstate__({**state, "device": torch.device("cuda", 99)})
    assert other.device == CPU
    assert torch.equal(other.logits(TensorRows(x)), members.logits(TensorRows(x)))


def test_passes_of_any_size_give_all_rows():
    module, x = MLP(4, 3, hidden=(8,)), torch.randn(23, 4)
    expected = module.eval()(x).detach().double()
    for rows_per_pass in (1, 7, 23, 100):
        members = Members(module, [copied_state(module)], CPU, rows_per_pass)
        # Passes of other sizes round otherwise, in float32.
        torch.testing.assert_close(members.logits(TensorRows(x)), expected, rtol=1e-5, atol=1e-6)
        assert members.features(TensorRows(x)).shape == (23, 8)


# --- blocks of rows -----------------------------------------------------------------------------


def two_members():
    module = MLP(4, 3, hidden=(8,))
    states = [copied_state(MLP(4, 3, hidden=(8,))) for _ in range(2)]
    return Members(module, states, CPU, 5)


def test_blocks_of_rows_give_what_all_rows_give(monkeypatch):
    members, rows = two_members(), TensorRows(torch.randn(23, 4))
    whole = [members.logits(rows), members.proba(rows), members.features(rows)]
    monkeypatch.setattr(members_file, "_BLOCK_ROWS", 10)
    for output, method in zip(
        whole, (members.logits, members.proba, members.features), strict=True
    ):
        assert torch.equal(method(rows), output)
    assert torch.equal(whole[0].softmax(dim=1), whole[1])
    mean = sum(network(rows.tensor).double() for network in members.networks) / 2
    assert torch.allclose(whole[0], mean, rtol=1e-5, atol=1e-6)  # passes of 5 rows and of 23


def test_outputs_of_one_block_at_a_time_are_kept(monkeypatch):
    """Only the result has all rows, however many members predict."""
    members, rows, seen = two_members(), TensorRows(torch.randn(40, 4)), []
    cat = torch.cat

    def watched(parts):
        seen.append(sum(map(len, parts)))
        return cat(parts)

    monkeypatch.setattr(members_file, "_BLOCK_ROWS", 10)
    monkeypatch.setattr(members_file.torch, "cat", watched)
    members.proba(rows)
    assert seen == [10] * 2 * 4


def test_the_error_names_the_row_in_a_later_block(monkeypatch):
    x = torch.randn(23, 4)
    x[17, 0] = torch.inf
    monkeypatch.setattr(members_file, "_BLOCK_ROWS", 10)
    for method in (two_members().proba, two_members().features):
        with pytest.raises(ValueError, match="for row 17 of X is not finite"):
            method(TensorRows(x))
