"""Effect of each parameter of LabelPurifier, errors on bad input, and interrupted fits."""

import warnings

import numpy as np
import pytest
import torch
from purified_problems import noisy_blobs, quick, trust
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

import sknoisy.representation
from sknoisy import LabelPurifier
from sknoisy.exceptions import InterruptedFitWarning
from sknoisy.methods.dmlp import PurificationVariant
from sknoisy.methods.dmlp.judge import Judge, split_folds
from sknoisy.methods.dmlp.soft_labels import one_hot
from sknoisy.methods.dmlp.state import LabelledViews, PurificationSettings

X, GIVEN, CLEAN = noisy_blobs(0.35)
# No judge: every epoch is run.
FREE = {"n_folds": 0}


def varied(**options):
    """Return the parameter for a variant with these options."""
    return {"variant": PurificationVariant(**options)}


def distribution(**parameters):
    return quick(**parameters).fit(X, GIVEN).label_distribution_


def differ(first, second):
    return np.abs(distribution(**first) - distribution(**second)).max() > 1e-4


# --- features -----------------------------------------------------------------------------------


def test_kernel_features_have_the_width_and_the_views_that_were_asked_for():
    for n_components, n_views in [(64, 2), (96, 3), (40, 1)]:
        purifier = quick(n_components=n_components, n_views=n_views, **FREE).fit(X, GIVEN)
        assert purifier.representation_.transform(X).shape == (len(X), n_components)
        assert len(purifier.ridge_) == len(purifier.label_lr_) == n_views
    assert differ({"n_views": 1}, {"n_views": 2})


def test_a_transformer_is_cloned_and_sees_a_frame_by_its_names():
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcdef"))
    given = make_column_transformer(("passthrough", ["a", "b", "c"]))
    purifier = quick(representation=given).fit(frame, GIVEN)
    assert purifier.representation_ is not given
    assert not hasattr(given, "transformers_")
    alone = quick(representation=FunctionTransformer()).fit(X[:, :3], GIVEN)
    np.testing.assert_allclose(
        purifier.label_distribution_, alone.label_distribution_, rtol=0, atol=1e-5
    )


def test_a_transformer_without_a_seed_follows_the_random_state():
    for seed, expected in ((None, True), (3, False)):
        pca = PCA(2, svd_solver="randomized", random_state=seed)
        found = [
            quick(representation=pca, random_state=s).fit(X, GIVEN).representation_.random_state
            for s in (0, 1)
        ]
        assert (found[0] != found[1]) is expected


@pytest.mark.parametrize("name", ["simclr", "moco", "scarf"])
def test_a_name_stands_for_an_encoder(name, monkeypatch):
    attribute = {"simclr": "SimCLR", "moco": "MoCo", "scarf": "SCARF"}[name]
    made = []

    class Encoder(PCA):
        def __init__(self, *, device, verbose, random_state):
            super().__init__(n_components=3)
            made.append((device, verbose, random_state))

    monkeypatch.setattr(sknoisy.representation, attribute, Encoder)
    purifier = quick(representation=name, verbose=0).fit(X, GIVEN)
    assert isinstance(purifier.representation_, Encoder)
    ((device, verbose, seed),) = made
    assert (device, verbose) == ("cpu", 0)
    assert isinstance(seed, int)


# --- corrections --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        varied(objective="released"),
        varied(label_optimizer="adam"),
        varied(label_parameters="softmax"),
        varied(label_lr=1e-3),
        varied(ridge=5.0),
        varied(correction_momentum=0.5),
        varied(correction_period=10),
        {"variant": "paper"},
        {"variant": "released"},
        {"n_epochs": 10},
        {"chunk_size": 60},
        {"correction": "auxiliary"},
        {"random_state": 1},
    ],
    ids=str,
)
def test_each_option_changes_the_labels(changed):
    assert differ(FREE, {**FREE, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"classifier_lr": 0.05},
        {"entropy_sign": -1},
        {"entropy_sign": 0},
        {"objective": "released"},
    ],
    ids=str,
)
def test_each_option_of_the_classifier_changes_its_labels(changed):
    auxiliary = {**FREE, "correction": "auxiliary"}
    assert differ(auxiliary, {**auxiliary, **varied(**changed)})


def test_options_of_the_classifier_have_no_part_in_the_regression():
    assert not differ(FREE, {**FREE, **varied(classifier_lr=0.05, entropy_sign=0)})


def test_without_steps_and_write_backs_labels_stay_as_they_are():
    purifier = quick(**varied(label_lr=0, correction_momentum=0.0), **FREE).fit(X, GIVEN)
    np.testing.assert_allclose(purifier.label_distribution_, np.eye(3)[GIVEN], atol=1e-5)
    assert not purifier.changed_mask_.any()


def test_steps_lower_the_meta_loss():
    def losses(label_lr):
        variant = varied(label_lr=label_lr, correction_period=10, correction_momentum=0.0)
        history = quick(n_epochs=50, **variant, **FREE).fit(X, GIVEN).history_
        return [entry["meta_loss"] for entry in history]

    assert np.ptp(losses(0)) == 0
    falling = losses("auto")
    assert falling[0] < losses(0)[0]
    assert np.diff(falling).max() < 0


def test_epochs_fall_into_periods_of_which_the_last_may_be_shorter():
    history = quick(n_epochs=12, **varied(correction_period=5), **FREE).fit(X, GIVEN).history_
    assert [entry["epoch"] for entry in history] == [5, 10, 12]
    assert all(entry["intrinsic_steps"] for entry in history)
    assert {entry["likelihood"] for entry in history} == {None}


def test_what_auto_stood_for():
    found = quick(**FREE).fit(X, GIVEN)
    assert found.entropy_sign_ == 1
    assert set(found.ridge_) <= {0.03, 0.1, 0.3, 1.0, 3.0, 10.0}
    assert (found.label_lr_ > 0.01).all()
    variant = varied(ridge=2.5, label_lr=0.2, objective="released")
    given = quick(chunk_size=60, **variant, **FREE).fit(X, GIVEN)
    np.testing.assert_array_equal(given.ridge_, [2.5, 2.5])
    np.testing.assert_array_equal(given.label_lr_, np.full((2, 3), 0.2))
    assert given.entropy_sign_ == -1
    adam = quick(**varied(label_optimizer="adam"), **FREE).fit(X, GIVEN)
    assert adam.label_lr_.tolist() == [[0.01], [0.01]]


def test_a_name_stands_for_the_variant_of_its_source():
    """The values are those of section 4.1 of the paper, and those of the released script."""
    assert not differ({**FREE, "variant": "default"}, {**FREE, **varied()})
    sources = {
        "paper": {
            "objective": "paper",
            "label_parameters": "softmax",
            "label_optimizer": "sgd",
            "label_lr": 0.01,
            "entropy_sign": 1,
            "ridge": 1.0,
            "correction_period": 100,
            "correction_momentum": 1.0,
        },
        "released": {
            "objective": "released",
            "label_parameters": "raw",
            "label_optimizer": "adam",
            "label_lr": 0.01,
            "entropy_sign": -1,
            "ridge": 0.0,
            "correction_period": 20,
            "correction_momentum": 1.0,
        },
    }
    for name, options in sources.items():
        auxiliary = {**FREE, "correction": "auxiliary", "n_epochs": 25}
        assert not differ({**auxiliary, "variant": name}, {**auxiliary, **varied(**options)})


def test_the_better_correction_writes_back():
    found = quick(correction="auto").fit(X, GIVEN).history_[0]
    rivals = [quick(correction=c).fit(X, GIVEN).history_[0] for c in ("intrinsic", "auxiliary")]
    best = max(rivals, key=lambda entry: entry["likelihood"])
    assert found["correction"] == best["correction"]
    assert found["likelihood"] == pytest.approx(best["likelihood"], abs=0.05)


# --- the judge ----------------------------------------------------------------------------------


def test_the_round_of_the_largest_likelihood_is_taken():
    purifier = quick(n_epochs=100).fit(X, GIVEN)
    history = purifier.history_
    best = max(history, key=lambda entry: entry["likelihood"])
    assert purifier.n_iter_ == best["epoch"]
    assert len(history) == 20 or len(history) - history.index(best) == 4
    steps = [entry["intrinsic_steps"] for entry in history]
    assert steps == sorted(steps, reverse=True)  # once off, the steps stay off


def test_folds_are_in_shares_and_leave_out_no_lone_row():
    classes = torch.tensor([0] * 40 + [1] * 19 + [2])
    trusted = torch.zeros(60, dtype=torch.bool)
    trusted[[0, 1, 2, 40]] = True
    rows = LabelledViews([torch.zeros(60, 1)], one_hot(classes, 3, torch.float32), trusted)
    folds = split_folds(rows, 3, torch.Generator().manual_seed(0))
    held = torch.cat([h for _, h in folds])
    assert sorted(held.tolist()) == [i for i in range(60) if i not in (40, 59)]
    for train, left_out in folds:
        assert sorted([*train.tolist(), *left_out.tolist()]) == list(range(60))
        assert int(trusted[left_out].sum()) == 1
        assert 12 <= int((classes[left_out] == 0).sum()) <= 14


def test_trusted_rows_weigh_as_their_class_does():
    rng = np.random.default_rng(0)
    classes = torch.as_tensor(rng.permutation([0] * 180 + [1] * 20))
    trusted = torch.zeros(200, dtype=torch.bool)
    for k in (0, 1):
        trusted[(classes == k).nonzero()[:9, 0]] = True
    view = torch.as_tensor(rng.normal(size=(200, 3)), dtype=torch.float32)
    rows = LabelledViews([view], one_hot(classes, 2, torch.float32), trusted)
    judge = Judge(rows, PurificationSettings(), ["intrinsic"], 3, torch.Generator().manual_seed(0))
    held = torch.cat([h.given.argmax(dim=1) for h in judge.held])
    mask = torch.cat([h.trusted for h in judge.held])
    weights = judge._weights
    assert torch.equal(weights[~mask], torch.ones(int((~mask).sum())))
    ratio = weights[mask & (held == 0)].mean() / weights[mask & (held == 1)].mean()
    assert ratio == pytest.approx(9, rel=0.15)


# --- bad input ----------------------------------------------------------------------------------


class Returns(TransformerMixin, BaseEstimator):
    """A transformer that applies a function to X."""

    def __init__(self, function):
        self.function = function

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return self.function(X)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X: np.where(X > 3, np.nan, X), "NaN or infinite features for .* rows"),
        (lambda X: X[:, :, None], r"shape \(180, 6, 1\) for 180 rows.*Flatten or pool"),
        (lambda X: X[:-1], r"shape \(179, 6\) for 180 rows"),
        (lambda X: X[:, :0], r"shape \(180, 0\)"),
    ],
    ids=["NaN", "3-D", "rows", "no columns"],
)
def test_features_that_cannot_be_used(function, message):
    with pytest.raises(ValueError, match=f"representation=Returns returned.*{message}"):
        quick(representation=Returns(function)).fit(X, GIVEN)


def test_features_of_a_rank_below_their_width():
    twice = Returns(lambda X: np.hstack([X, X]))
    for ridge in (0.0, 1.0):
        narrow, wide = (
            quick(representation=r, **varied(ridge=ridge), **FREE)
            .fit(X, GIVEN)
            .label_distribution_
            for r in (FunctionTransformer(), twice)
        )
        np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-3)


def test_rows_that_are_all_alike():
    purifier = quick().fit(np.ones((30, 2)), np.arange(30) % 3)
    assert not purifier.changed_mask_.any()


@pytest.mark.parametrize("n", [3, 4, 7])
def test_rows_too_few_to_judge(n):
    purifier = quick().fit(np.arange(n)[:, None] * 1.0, np.arange(n) % 2)
    assert np.isfinite(purifier.label_distribution_).all()


def test_all_rows_trusted():
    purifier = quick().fit(X, GIVEN, clean_mask=np.ones(len(X), bool))
    np.testing.assert_array_equal(purifier.clean_proba_, 1)
    assert not purifier.changed_mask_.any()


def test_one_trusted_row_of_a_class_cannot_judge():
    given, mask = trust(GIVEN, CLEAN, 6)
    mask[np.flatnonzero(mask & (given == 2))[1:]] = False
    with pytest.warns(UserWarning, match=r"only one row of class \[2\].*at least two") as caught:
        quick().fit(X, given, clean_mask=mask)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(n_folds=0).fit(X, given, clean_mask=mask)


def test_one_trusted_row_of_each_class():
    given, mask = trust(GIVEN, CLEAN, 1)
    with pytest.warns(UserWarning, match=r"class \[0, 1, 2\]"):
        purifier = quick().fit(X, given, clean_mask=mask)
    assert {entry["trusted_accuracy"] for entry in purifier.history_} == {None}


def test_fewer_trusted_rows_than_classes():
    with pytest.raises(ValueError, match=r"no trusted row of class .* trust at least one row"):
        quick().fit(X, GIVEN, clean_mask=np.arange(len(X)) == 0)


def test_a_mask_of_indices():
    with pytest.raises(ValueError, match="clean_mask must be boolean"):
        quick().fit(X, GIVEN, clean_mask=np.arange(5))


def test_one_class():
    with pytest.raises(ValueError, match=r"on one class: y holds only 'a'.*at least 2"):
        quick().fit_resample(X, ["a"] * len(X))


def test_nothing_to_compete_by():
    with pytest.raises(ValueError, match=r'correction="auto".*n_folds=0.*n_folds=3'):
        quick(correction="auto", n_folds=0).fit(X, GIVEN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("representation", "pca"),
        ("representation", object()),
        ("n_folds", 1),
        ("variant", "code"),
        ("variant", {"ridge": 1.0}),
        ("n_views", 0),
        ("chunk_size", 1),
        ("n_epochs", 0),
    ],
)
def test_values_that_are_not_taken(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of LabelPurifier must be"):
        quick(**{name: value}).fit(X, GIVEN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("objective", "code"),
        ("label_parameters", "logits"),
        ("label_optimizer", "adamw"),
        ("correction_momentum", 1.5),
        ("correction_period", 0),
        ("entropy_sign", 2),
        ("ridge", -1.0),
        ("label_lr", "fast"),
        ("classifier_lr", 0.0),
    ],
)
def test_values_that_a_variant_does_not_take(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of PurificationVariant must be"):
        PurificationVariant(**{name: value})


def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device='nowhere' cannot be used"):
        quick(device="nowhere").fit(X, GIVEN)


# --- progress and Ctrl-C ------------------------------------------------------------------------


def test_progress_is_shown_when_asked_for(capfd):
    quick().fit(X, GIVEN)
    assert "LabelPurifier" not in capfd.readouterr().err
    purifier = quick(verbose=1).fit(X, GIVEN)
    shown = capfd.readouterr().err
    assert f"/{len(purifier.history_)}" in shown or "round" in shown
    assert f"{len(purifier.validation_rows_)} pseudo-clean validation rows" in shown
    assert f"labels of epoch {purifier.n_iter_} taken" in shown


class CtrlC(Judge):
    """Interrupts the rounds after the given number of them."""

    after = 2

    def plan_round(self):
        if len(self.likelihoods) == self.after:
            raise KeyboardInterrupt
        return super().plan_round()


@pytest.mark.parametrize("after", [0, 2])
def test_an_interrupted_fit_has_the_labels_of_the_rounds_before(monkeypatch, after):
    monkeypatch.setattr("sknoisy.methods.dmlp.judged_rounds.Judge", CtrlC)
    monkeypatch.setattr(CtrlC, "after", after)
    message = f"interrupted in round {after + 1} of 4; the labels are those of epoch"
    with pytest.warns(InterruptedFitWarning, match=message) as caught:
        purifier = quick().fit(X, GIVEN)
    assert caught[0].filename == __file__
    assert len(purifier.history_) == after
    monkeypatch.undo()
    if after:
        shorter = quick(n_epochs=10).fit(X, GIVEN)
        np.testing.assert_array_equal(purifier.label_distribution_, shorter.label_distribution_)
    else:
        assert purifier.n_iter_ == 0
        assert not purifier.changed_mask_.any()
    assert isinstance(clone(purifier), LabelPurifier)
