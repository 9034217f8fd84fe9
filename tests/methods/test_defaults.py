"""The rules by which the default MLP follows the size of a table."""

import numpy as np
import pytest

from sknoisy import CLIDMUClassifier
from sknoisy.datasets import make_noisy_classification
from sknoisy.methods.clid_mu import class_balance
from sknoisy.networks import mlp_settings


def test_few_rows_and_columns_get_no_dropout():
    settings = mlp_settings(n_rows=799, n_columns=100, n_classes=5)
    assert (settings.dropout, settings.input_dropout) == (0.0, 0.0)


@pytest.mark.parametrize(("n_rows", "n_columns"), [(800, 30), (100, 101)])
def test_many_rows_or_columns_get_dropout(n_rows, n_columns):
    assert mlp_settings(n_rows, n_columns, n_classes=5).dropout == 0.3


def test_input_dropout_follows_the_columns_up_to_a_limit():
    dropout = [mlp_settings(1000, d, 2).input_dropout for d in (3, 30, 150, 900)]
    assert dropout == pytest.approx([0.01, 0.1, 0.5, 0.7])


def test_weight_decay_is_doubled_for_wide_tables():
    narrow, wide = (mlp_settings(1000, d, 2).weight_decay for d in (100, 101))
    assert wide == 2 * narrow


def test_hidden_layers_are_never_narrower_than_the_logits():
    assert mlp_settings(1000, 10, 2).hidden == (128, 128)
    assert mlp_settings(1000, 10, 500).hidden == (500, 500)


def test_the_classifier_follows_the_rules():
    X, y, _ = make_noisy_classification(n_samples=820, n_features=60, random_state=0)
    clf = CLIDMUClassifier(max_epochs=1, random_state=0).fit(X, y)
    settings = mlp_settings(820, 60, len(clf.classes_))
    drops = [m.p for m in clf.net_.module_.modules() if type(m).__name__ == "Dropout"]
    assert drops == [settings.input_dropout, settings.dropout, settings.dropout]
    assert clf.net_.optimizer_.param_groups[0]["weight_decay"] == settings.weight_decay
    assert clf.meta_lr_ == 0.2 * class_balance(np.unique(y, return_counts=True)[1])


@pytest.mark.parametrize("meta_every", [1, 2])
def test_meta_rate_knows_the_number_of_meta_steps(meta_every, monkeypatch):
    monkeypatch.setattr("sknoisy._engine.sizes._META_STEPS", 10)
    X, y, _ = make_noisy_classification(n_samples=900, n_features=3, random_state=0)
    params = {"module_params": {"hidden": ()}, "n_ensemble": 0, "random_state": 0}
    few = CLIDMUClassifier(max_epochs=1, **params).fit(X, y)
    many = CLIDMUClassifier(max_epochs=4, meta_every=meta_every, **params).fit(X, y)
    assert many.meta_lr_ * 36 / meta_every == pytest.approx(few.meta_lr_ * 10)


def test_meta_rate_knows_the_number_of_rows():
    X, y, _ = make_noisy_classification(n_samples=4000, n_features=3, random_state=0)
    params = {"module_params": {"hidden": ()}, "n_ensemble": 0, "max_epochs": 1}
    many = CLIDMUClassifier(**params, random_state=0).fit(X, y)
    balance = class_balance(np.unique(y, return_counts=True)[1])
    assert many.meta_lr_ == pytest.approx(0.2 * balance / 8)
