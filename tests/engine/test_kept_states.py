"""``weight_average`` and ``n_ensemble``: which states of the networks predict."""

import numpy as np
import pytest
import torch

from sknoisy import CLIDMUClassifier, FaMUSClassifier, MetaWeightNetClassifier, MLNTClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.callbacks import CheckpointEnsemble, CLIDScore, TeacherAverage

QUICK = {"max_epochs": 4, "batch_size": 32, "random_state": 0}
META = {"n_warmup_epochs": 1, **QUICK}


def members_of(classifier):
    return [network.state_dict() for network in classifier._members.networks]


def assert_equal_states(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


def callbacks_of(net):
    return dict(net.callbacks_)


@pytest.mark.parametrize("Classifier", [NetworkClassifier, MetaWeightNetClassifier])
def test_the_average_predicts_and_training_is_the_same(Classifier, blobs):
    X, y = blobs
    plain, averaged = (Classifier(weight_average=a, **QUICK).fit(X, y) for a in (None, 0.9))
    assert_equal_states(members_of(plain), [averaged.net_.module_.state_dict()])
    teacher = callbacks_of(averaged.net_)["weight_average"].teacher_
    assert_equal_states(members_of(averaged), [teacher.state_dict()])
    assert np.abs(plain.predict_proba(X) - averaged.predict_proba(X)).max() > 1e-4


def test_an_average_of_decay_0_is_the_network(blobs):
    X, y = blobs
    plain, averaged = (NetworkClassifier(weight_average=a, **QUICK).fit(X, y) for a in (None, 0.0))
    np.testing.assert_array_equal(plain.predict_proba(X), averaged.predict_proba(X))


def test_the_average_is_that_of_the_steps_of_training(blobs):
    class Track(TeacherAverage):
        pass

    own = Track(0.9)
    classifier = NetworkClassifier(weight_average=0.9, callbacks=[("own", own)], **QUICK)
    classifier.fit(*blobs)
    expected = callbacks_of(classifier.net_)["own"].teacher_.state_dict()
    assert_equal_states(members_of(classifier), [expected])


@pytest.mark.parametrize("Classifier", [NetworkClassifier, MetaWeightNetClassifier])
def test_epochs_of_lowest_clid_after_the_warmup_predict(Classifier, blobs):
    X, y = blobs
    classifier = Classifier(n_ensemble=2, **QUICK).fit(X, y)
    skipped = getattr(classifier, "n_warmup_epochs_", 2)
    scores = [epoch["clid"] for epoch in classifier.history_]
    later = range(skipped + 1, len(scores) + 1)
    best = sorted(later, key=lambda epoch: scores[epoch - 1])[:2]
    assert classifier.ensemble_epochs_ == best
    assert len(members_of(classifier)) == min(2, len(later))
    other = Classifier(n_ensemble=0, **QUICK).fit(X, y)
    assert other.ensemble_epochs_ == [QUICK["max_epochs"]]
    assert np.abs(classifier.predict_proba(X) - other.predict_proba(X)).max() > 1e-6


def test_members_of_both_networks_are_averaged(blobs):
    X, y = blobs
    classifier = FaMUSClassifier(n_ensemble=2, **META).fit(X, y)
    kept = [
        state for net in classifier.nets_ for *_, state in callbacks_of(net)["ensemble"].members_
    ]
    assert len(kept) == 4
    assert_equal_states(members_of(classifier), kept)
    averaged = FaMUSClassifier(weight_average=0.5, **META).fit(X, y)
    teachers = [callbacks_of(n)["weight_average"].teacher_.state_dict() for n in averaged.nets_]
    assert_equal_states(members_of(averaged), teachers)


@pytest.mark.parametrize("Classifier", [NetworkClassifier, CLIDMUClassifier])
def test_with_both_the_average_is_scored_and_kept(Classifier, blobs):
    X, y = blobs
    settings = {**QUICK, "max_epochs": 3, "n_ensemble": 1}
    classifier = Classifier(weight_average=0.8, **settings).fit(X, y)
    callbacks = callbacks_of(classifier.net_)
    [(score, epoch, state)] = callbacks["ensemble"].members_
    assert_equal_states(members_of(classifier), [state])
    if epoch == 3:
        assert_equal_states([state], [callbacks["weight_average"].teacher_.state_dict()])
    plain = Classifier(**settings).fit(X, y)
    assert [e["clid"] for e in classifier.history_] != [e["clid"] for e in plain.history_]
    assert score == classifier.history_[epoch - 1, "clid"]


def test_callbacks_of_the_user_may_monitor_clid(blobs):
    monitor = CheckpointEnsemble("clid", 1)
    classifier = MetaWeightNetClassifier(n_ensemble=1, callbacks=[("mine", monitor)], **QUICK)
    fitted = callbacks_of(classifier.fit(*blobs).net_)
    assert len(fitted["mine"].members_) == 1


def test_callbacks_of_the_user_do_not_predict(blobs):
    X, y = blobs
    callbacks = [("clid", CLIDScore(random_state=0)), ("ensemble", CheckpointEnsemble())]
    plain = NetworkClassifier(**QUICK).fit(X, y)
    watched = NetworkClassifier(callbacks=callbacks, **QUICK).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), watched.predict_proba(X))


@pytest.mark.parametrize("params", [{"weight_average": 0.9}, {"n_ensemble": 3}])
def test_mlnt_which_has_a_choice_of_its_own_refuses(params, blobs):
    with pytest.raises(ValueError, match="teacher_decay"):
        MLNTClassifier(**params, **QUICK).fit(*blobs)


def test_the_average_helps_late_in_training_on_wrong_labels(blobs):
    """On 60 noisy rows, the mean of many steps has memorised less than the last step."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    X = rng.normal(size=(400, 8)) + 2 * np.eye(8)[y]
    gains = []
    for seed in range(4):
        noise = np.random.default_rng(seed)
        noisy = np.where(noise.random(400) < 0.4, noise.integers(4, size=400), y)
        settings = {"max_epochs": 30, "lr_schedule": "constant", "lr": 0.2, "random_state": seed}
        scores = [
            NetworkClassifier(weight_average=a, **settings)
            .fit(X[:200], noisy[:200])
            .score(X[200:], y[200:])
            for a in (0.98, None)
        ]
        gains.append(scores[0] - scores[1])
    assert np.mean(gains) > 0, gains
