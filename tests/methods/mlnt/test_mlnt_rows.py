"""MLNTClassifier: rows that are set aside, what it keeps, and its collapse."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_family import noisy_blobs

from sknoisy import MLNTClassifier
from sknoisy.exceptions import CollapseWarning
from sknoisy.methods.mlnt.epochs import validation_rows
from sknoisy.methods.mlnt.mentoring import believed_rows

X, Y, TRUSTED = noisy_blobs()
NAMES = np.array(["ape", "bee", "cat"], dtype=object)


def small(**parameters):
    settings = {"max_epochs": 3, "batch_size": 32, "n_synthetic": 2, "n_pretrain_epochs": 1}
    if "module" not in parameters:
        settings["module_params"] = {"hidden": (8,), "dropout": 0.0}
    return MLNTClassifier(**{"random_state": 0, **settings, **parameters})


def test_rows_that_do_not_count_are_never_validation_rows():
    labels = np.repeat([0, 1], 20)
    counted = labels == 1
    counted[:2] = True  # of class 0 two rows count
    for seed in range(5):
        drawn = validation_rows(labels, np.ones(40, bool), counted, np.random.RandomState(seed))
        assert not (drawn & ~counted).any()
        assert drawn[:20].sum() == 1  # a tenth of two, rounded up, but not both
        assert drawn[20:].sum() == 2


def test_a_class_that_the_mentor_doubts_is_named_as_the_user_names_it():
    labels = np.arange(30) % 3
    proba = np.full((30, 3), 0.1)
    proba[:, 0] = 0.8  # the mentor believes in class 0 alone
    none, every = np.zeros(30, bool), np.ones(30, bool)
    with pytest.warns(UserWarning, match=r"class \['bee', 'cat'\]"):
        kept = believed_rows(proba, labels, "auto", none, every, NAMES)
    assert_array_equal(np.bincount(labels[kept]), [10, 5, 5])


def test_labels_that_are_objects_pass_the_mentor():
    with pytest.warns(UserWarning, match="mentor believes hardly any label"):
        clf = small(n_iterations=2, mentor_threshold=0.99).fit(X, NAMES[Y])
    assert set(clf.predict(X)) <= set(NAMES)


def test_trusted_rows_of_weight_zero_do_not_choose_the_epoch():
    weights = np.where(TRUSTED, 0.0, 1.0)
    by_default = small().fit(X, Y, clean_mask=TRUSTED, sample_weight=weights)
    last = small(epoch_selection="last", predict_with="teacher")
    last.fit(X, Y, clean_mask=TRUSTED, sample_weight=weights)
    assert_array_equal(by_default.predict_proba(X), last.predict_proba(X))
    with pytest.raises(ValueError, match="none can be spared: trust rows of positive weight"):
        small(epoch_selection="trusted").fit(X, Y, clean_mask=TRUSTED, sample_weight=weights)


def test_a_pickle_holds_no_rows():
    many = np.tile(X, (40, 1))
    sizes = [
        len(pickle.dumps(small(max_epochs=1).fit(rows, np.resize(Y, len(rows)))))
        for rows in (X, many)
    ]
    per_row = (sizes[1] - sizes[0]) / (len(many) - len(X))
    assert per_row < 4 * 8  # clean_proba_ and little else; features of 8 columns take 32 more


def test_the_switches_of_cudnn_are_the_users():
    seen = []

    class Watching(torch.nn.Linear):
        def forward(self, x):
            seen.append(torch.backends.cudnn.deterministic)
            return super().forward(x)

    with torch.backends.cudnn.flags(deterministic=True):
        small(module=Watching(6, 3), first_order=False, max_epochs=1).fit(X, Y)
    assert len(seen) > 4
    assert all(seen)


def test_a_collapse_is_told():
    with pytest.warns(CollapseWarning, match="predicts one class .* Lower meta_lr, which is 1000"):
        small(meta_lr=1000.0, n_ramp_epochs=0, max_epochs=12).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        small().fit(X, Y)
