"""Identities of label purification: label states, auxiliary classifier, features, beliefs."""

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.methods.dmlp import evidence as transition
from sknoisy.methods.dmlp.agreement import (
    Anchors,
    find_anchors,
    neighbourhood_votes,
    pseudo_clean_rows,
)
from sknoisy.methods.dmlp.auxiliary import (
    AuxiliaryClassifier,
    paper_loss,
    released_loss,
    write_back,
)
from sknoisy.methods.dmlp.frozen_features import split_views
from sknoisy.methods.dmlp.intrinsic import IntrinsicCorrection, entropy
from sknoisy.methods.dmlp.kernel_features import KernelFeatures
from sknoisy.methods.dmlp.soft_labels import LabelState, one_hot, to_simplex

OBJECTIVES = pytest.mark.parametrize("objective", ["paper", "released"])
PARAMS = pytest.mark.parametrize("param", ["softmax", "raw"])
EXACT = {"rtol": 0, "atol": 1e-12}


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def simplex(n, c=3, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet([2.0] * c, size=n))


def targets_of(n, c=3):
    return one_hot(torch.arange(n) % c, c, torch.float64)


# Labels


def label_state(param, optimizer="sgd", rate=1.0, labels=None):
    """Return the labels of 20 rows, of which two chunks of 8 are learned."""
    labels = simplex(20) if labels is None else labels
    chunks = [torch.arange(0, 8), torch.arange(8, 16)]
    return LabelState(labels, chunks, param, optimizer, [rate, rate])


@PARAMS
def test_labels_that_are_written_back_as_they_are_do_not_change(param):
    state = label_state(param, labels=targets_of(20))
    before = state.all()
    for _ in range(5):
        state.write(*write_back([state.all()], [simplex(20, seed=2)], 0.0, swap=True))
    assert_close(state.all(), before, **EXACT)


@pytest.mark.parametrize("swap", [False, True])
def test_write_back_mixes_with_the_outputs_of_the_view_before(swap):
    labels, outputs = ([simplex(7, seed=s + t) for t in range(3)] for s in (0, 5))
    sources = [outputs[2], outputs[0], outputs[1]] if swap else outputs
    for momentum, compare in ((0, labels), (1, sources)):
        written = write_back(labels, outputs, momentum, swap=swap)
        assert all(map(torch.equal, written, compare))
    mixed = write_back(labels, outputs, 0.25, swap=swap)
    for found, own, source in zip(mixed, labels, sources, strict=True):
        assert_close(found, 0.75 * own + 0.25 * source, **EXACT)


def test_a_full_write_back_holds_what_the_classifier_says_bit_for_bit():
    outputs = simplex(20, seed=2)
    state = label_state("raw")
    state.write(*write_back([state.all()], [outputs], 1.0, swap=True))
    assert torch.equal(state.all(), outputs)
    outputs.zero_()
    assert state.all().sum() > 19


def test_logits_of_certain_labels_are_finite_and_have_a_slope():
    state = label_state("softmax", labels=targets_of(20))
    before = state.all()
    assert torch.equal(before.argmax(dim=1), targets_of(20).argmax(dim=1))
    state.step(0, normal(8, 3))
    assert torch.isfinite(state.values[0]).all()
    assert (state.all() - before)[:8].abs().amax(dim=1).min() > 1e-4
    assert torch.equal(state.all()[8:], before[8:])


def test_steps_of_adam_are_those_of_its_formula():
    state = label_state("raw", "adam", 0.02)
    values, gradients = state.values[0].clone(), [normal(8, 3, seed=s) for s in (1, 2, 3)]
    first, second = torch.zeros_like(values), torch.zeros_like(values)
    for t, gradient in enumerate(gradients, 1):
        state.step(0, gradient.clone())
        decayed = gradient + 3e-4 * values
        first = 0.5 * first + 0.5 * decayed
        second = 0.999 * second + 0.001 * decayed**2
        scale = (second / (1 - 0.999**t)).sqrt() + 1e-8
        values = values - 0.02 * first / (1 - 0.5**t) / scale
        assert_close(state.values[0], values, rtol=0, atol=1e-10)


def test_the_projection_ends_on_the_simplex_and_leaves_its_points():
    outputs = 2 * normal(50, 4)
    projected = to_simplex(outputs)
    assert projected.min() > 0
    assert_close(projected.sum(dim=1), torch.ones(50).double(), **EXACT)
    some = outputs.max(dim=1).values > 1e-3
    assert torch.equal(projected[some].argmax(dim=1), outputs[some].argmax(dim=1))
    assert_close(to_simplex(simplex(50)), simplex(50), **EXACT)
    assert_close(to_simplex(targets_of(6)), targets_of(6), rtol=0, atol=1e-5)
    assert_close(to_simplex(double([[-1.0, -2.0]])), double([[0.5, 0.5]]), **EXACT)
    assert_close(
        to_simplex(double([[-1.0, 1.0, 3.0]])), double([[0, 0.25, 0.75]]), rtol=0, atol=1e-6
    )


# Auxiliary correction


def make_classifier(objective, sign, features, seed=0, lr=0.05):
    generator = torch.Generator().manual_seed(seed)
    return AuxiliaryClassifier(features.shape[1], 3, objective, sign, lr, features, generator)


def fitted(objective="paper", sign=0, seed=0, n_epochs=60, labels=None):
    features = normal(60, 5) + 2 * torch.eye(5).double()[torch.arange(60) % 3]
    labels = targets_of(60) if labels is None else labels
    classifier = make_classifier(objective, sign, features, seed)
    losses = [classifier.fit_epoch(features, labels) for _ in range(n_epochs)]
    return classifier.predict_proba(features), losses


def test_the_auxiliary_losses_are_those_of_the_sources():
    logits, labels = normal(9, 3), simplex(9)
    for sign in (-1, 0, 1):
        paper = F.cross_entropy(logits, labels) + 0.4 * sign * entropy(logits)
        assert_close(paper_loss(logits, labels, sign), paper, **EXACT)
        # The released classifier ends in a softmax. Its loss takes a second one for cross-entropy
        # and confidence, and a third one for the balance of the classes.
        once = logits.softmax(dim=1)
        twice = once.softmax(dim=1)
        confidence = (twice * twice.log()).sum(dim=1).mean()
        mean = twice.softmax(dim=1).mean(dim=0)
        released = -twice.log()[torch.arange(9), labels.argmax(dim=1)].mean()
        released = released - 2200 * (3 * mean).log().mean() - 0.4 * sign * confidence
        assert_close(released_loss(logits, labels, sign), released, rtol=1e-9, atol=1e-9)


def test_the_soft_labels_themselves_are_the_best_predictions():
    labels = simplex(9)
    logits = labels.log().requires_grad_()
    (slope,) = torch.autograd.grad(paper_loss(logits, labels, 0), logits)
    assert slope.abs().max() < 1e-15


@OBJECTIVES
def test_the_sign_of_the_entropy_sharpens_or_flattens(objective):
    noisy = 0.6 * targets_of(60) + 0.4 * simplex(60)
    entropies = []
    for sign in (1, 0, -1):
        proba, losses = fitted(objective, sign, labels=noisy)
        entropies.append(float(entropy(proba.log())))
        assert losses[-1] < losses[0]
    assert entropies == sorted(entropies)
    assert entropies[2] > entropies[0] + 1e-2


def test_classifiers_of_one_seed_are_the_same_and_need_no_swap():
    outputs = [fitted(n_epochs=3)[0], fitted(n_epochs=3)[0]]
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], fitted(n_epochs=3, seed=1)[0])
    labels = [simplex(60), simplex(60, seed=2)]
    swapped, own = (write_back(labels, outputs, 0.5, swap=swap) for swap in (True, False))
    assert all(map(torch.equal, swapped, own))


@PARAMS
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@OBJECTIVES
def test_right_labels_of_separable_rows_stay(objective, optimizer, param):
    classes = torch.arange(60) % 3
    features = 0.1 * normal(60, 5) + 2 * torch.eye(5).double()[classes]
    rows, validation = list(torch.arange(48).split(24)), torch.arange(48, 60)
    correction = IntrinsicCorrection(features, rows, validation, targets_of(12), objective, 0.1)
    rates = correction.rates("auto", optimizer)
    state = LabelState(targets_of(60), rows, param, optimizer, rates)
    classifier = make_classifier(objective, 0, features)
    for _ in range(40):
        for k in range(2):
            correction.step(state, k)
        classifier.fit_epoch(features, state.all())
    assert torch.equal(state.all().argmax(dim=1), classes)
    written = write_back([state.all()], [classifier.predict_proba(features)], 0.5, swap=True)
    assert torch.equal(written[0].argmax(dim=1), classes)


# Features


def test_kernel_features_have_the_inner_products_of_a_gaussian_kernel():
    X = normal(40, 3).numpy() * [1, 20, 0.1] + 5
    rows = StandardScaler().fit_transform(X)
    distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)[np.triu_indices(40, 1)]
    expected = rbf_kernel(rows, gamma=1 / np.median(distances))
    squares = []
    for seed in range(5):
        kernel = KernelFeatures(8000, n_views=2, random_state=seed).fit(X)
        assert kernel.gamma_ == pytest.approx(1 / np.median(distances), rel=1e-4)
        views = [view.astype(np.float64) for view in np.split(kernel.transform(X), 2, axis=1)]
        errors = [view @ view.T - expected for view in views]
        for error in errors:
            assert np.abs(np.diag(error)).max() < 1e-5
        squares.append([np.mean(e**2) for e in (*errors, sum(errors) / 2)])
    *of_views, of_mean = np.mean(squares, axis=0)
    # cos has a variance of at most 1/2 around its mean, over 2000 frequencies
    assert min(of_views) > 1e-6
    assert max(of_views) < 0.5 / 2000
    # The draws are independent, so their mean has half the squared error.
    assert of_mean < 0.7 * np.mean(of_views)


def test_kernel_features_know_no_units_and_take_sparse_rows():
    X = normal(40, 3).numpy()
    X[::3] = 0
    sparse = scipy.sparse.csr_matrix(X)
    dense, rescaled, compressed = (
        KernelFeatures(64, n_views=1, random_state=0).fit(x).transform(x)
        for x in (X, 10 * X - 3, sparse)
    )
    np.testing.assert_allclose(rescaled, dense, atol=1e-4)
    # Sparse rows are not centred: the features differ, their inner products do not.
    assert np.abs(compressed - dense).max() > 0.1
    np.testing.assert_allclose(compressed @ compressed.T, dense @ dense.T, atol=1e-4)


@pytest.mark.parametrize(
    ("n_components", "n_views", "width"), [(12, 1, 12), (10, 3, 12), (7, 1, 8)]
)
def test_views_of_a_kernel_are_equal_blocks_of_pairs(n_components, n_views, width):
    X = normal(9, 2).numpy()
    kernel = KernelFeatures(n_components, n_views=n_views, random_state=0).fit(X)
    features = torch.from_numpy(kernel.transform(X))
    assert features.shape == (9, width)
    views = split_views(features, n_views, kernel=True)
    assert_close(torch.cat(views, dim=1), features)
    for view in views:
        assert_close(view.square().sum(dim=1), torch.ones(9))


def test_other_features_are_seen_whole_without_place_or_unit():
    features = normal(30, 4)
    first, second = split_views(features, 2, kernel=False)
    assert torch.equal(first, second)
    assert torch.equal(first[:, -1], torch.ones(30).double())
    assert_close(first[:, :-1].mean(dim=0), torch.zeros(4).double(), **EXACT)
    assert float(first[:, :-1].square().sum(dim=1).mean()) == pytest.approx(1)
    (moved,) = split_views(50 * features - 7, 1, kernel=False)
    assert_close(moved, first, **EXACT)


# Transition matrix and posterior


def test_a_diagonally_dominant_transition_stays_and_others_become_one():
    dominant = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    assert_close(transition.diagonally_dominant(dominant), dominant)
    others = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.2, 0.4, 0.4]])
    found = transition.diagonally_dominant(others)
    assert_close(found, torch.tensor([[5 / 13, 5 / 13, 3 / 13], [0.1, 0.6, 0.3], [0.2, 0.4, 0.4]]))
    assert (found.diagonal() >= found.amax(dim=1)).all()


def test_anchors_count_the_labels_that_they_carry():
    given = one_hot(torch.tensor([0] * 9 + [1] * 5), 2, torch.float64)
    anchors = [torch.tensor([0, 1, 2, 9]), torch.tensor([10, 11])]  # 3:1 and 0:2
    surest = torch.tensor([[0, 0], [9, 0]])  # one of two agrees: level 0.5
    # Each class gets two pseudo-counts at that level, (1, 1).
    expected = double([[4 / 6, 2 / 6], [1 / 4, 3 / 4]])
    assert_close(transition.anchor_transition(anchors, surest, given), expected, **EXACT)
    trusting = transition.anchor_transition(anchors, surest[:1], given)
    assert_close(trusting, torch.eye(2).double(), **EXACT)


def test_the_surest_anchors_set_the_level_of_agreement():
    generator = np.random.default_rng(0)
    given = one_hot(torch.from_numpy(generator.integers(0, 3, 90)), 3, torch.float64)
    anchors = [torch.arange(0, 40), torch.arange(40, 90), torch.arange(0)]
    surest = torch.stack([torch.arange(10), given[:10].argmax(dim=1)], dim=1)
    surest[0, 1] = (surest[0, 1] + 1) % 3
    found = transition.anchor_transition(anchors, surest, given)
    assert_close(found.sum(dim=1), torch.ones(3).double(), **EXACT)
    assert found.min() >= 0
    agreement = (40 * found[0, 0] + 50 * found[1, 1]) / 90
    assert float(agreement) == pytest.approx(0.9)
    assert found[2, 0] == found[2, 1]  # no anchors: any other class is as likely


def test_the_transition_of_hard_labels_is_their_shares():
    truth, given = one_hot(torch.tensor([0] * 4 + [1] * 2), 2, torch.float64), targets_of(6, 2)
    truth, given = truth.repeat(1000, 1), given.repeat(1000, 1)
    given[0] = double([0, 1])  # 1999 of 4000
    expected = double([[1999.1 / 4000.2, 2001.1 / 4000.2], [0.5, 0.5]])
    assert_close(transition.learned_transition(truth, given), expected, **EXACT)


def test_the_posterior_is_that_of_bayes_and_trusted_rows_are_certain():
    noise = double([[0.7, 0.3], [0.1, 0.9]])
    proba = double([[0.5, 0.5], [0.2, 0.8], [0.0, 1.0]])
    given = double([[1, 0], [0, 1], [1, 0]])
    evidence = transition.label_evidence(noise, given, torch.tensor([False, False, True]))
    assert_close(evidence, double([[0.7, 0.1], [0.3, 0.9], [1, 0]]), **EXACT)
    expected = double([[7 / 8, 1 / 8], [0.06 / 0.78, 0.72 / 0.78], [1, 0]])
    assert_close(transition.label_posterior(proba, evidence), expected, **EXACT)
    likelihood = transition.log_likelihood(proba, evidence).exp()
    assert_close(likelihood, double([0.4, 0.78, 1e-12]), **EXACT)


def test_sharpening_is_a_power_and_is_calibrated_to_the_labels():
    proba = double([[0.8, 0.2]] * 10 + [[0.1, 0.9]] * 10)
    assert_close(transition.raise_to_power(proba, 1.0), proba, **EXACT)
    assert_close(transition.raise_to_power(proba, 2.0)[0], double([16 / 17, 1 / 17]), **EXACT)
    assert_close(
        transition.raise_to_power(transition.raise_to_power(proba, 0.5), 2.0), proba, **EXACT
    )
    classes = torch.tensor([0] * 8 + [1] * 2 + [0] + [1] * 9)  # in the shares of the probabilities
    evidence = one_hot(classes, 2, torch.float64)
    for exponent in (1.0, 1.5, 2.0, 3.0, 4.0):
        flattened = transition.raise_to_power(proba, 1 / exponent)
        assert transition.calibrate_exponent(flattened, evidence) == exponent
    assert transition.calibrate_exponent(torch.full_like(proba, 0.5), evidence) == 1.0


def test_classes_keep_their_shares():
    proba = simplex(50) * double([3.0, 1.0, 0.3])
    proba = proba / proba.sum(dim=1, keepdim=True)
    sharpened, shares = transition.raise_to_power(proba, 3.0), proba.mean(dim=0)
    assert (sharpened.mean(dim=0) - shares).abs().max() > 0.03
    kept = transition.raise_to_power(sharpened * transition.keep_shares(sharpened, shares), 1.0)
    assert_close(kept.mean(dim=0), shares, rtol=0, atol=1e-3)
    assert_close(transition.keep_shares(proba, shares), torch.ones(3).double(), **EXACT)


# Pseudo-clean rows


@pytest.mark.parametrize("n", [6, 1100])
def test_votes_are_those_of_the_nearest_other_rows(n):
    features, given = normal(n, 3), targets_of(n)
    k = min(10, n - 1)
    nearest = NearestNeighbors(n_neighbors=k).fit(features.numpy()).kneighbors()[1]
    expected = given[torch.from_numpy(nearest)].sum(dim=1)
    assert torch.equal(neighbourhood_votes(features, given), expected)


def test_anchors_are_the_surest_rows_that_the_neighbourhood_confirms():
    confidence = torch.linspace(0.6, 0.99, 40).double()
    proba = torch.stack([confidence, 1 - confidence], dim=1)
    votes, candidates = double([[6, 4]]).repeat(40, 1), torch.ones(40, dtype=torch.bool)
    votes[39] = double([4, 6])
    candidates[38] = False
    anchors = find_anchors(proba, votes, candidates)
    assert anchors.by_class[0].tolist() == list(range(37, 25, -1))  # 0.3 of 38, rounded up
    assert anchors.by_class[1].tolist() == []
    assert anchors.strictest.tolist() == [[row, 0] for row in (37, 36, 35, 34)]
    free = find_anchors(proba, None, candidates)
    assert free.by_class[0][0] == 39
    against = find_anchors(proba, votes.flip(1), candidates & (torch.arange(40) < 39))
    assert against.by_class[0][:2].tolist() == [37, 36]  # no row is confirmed


def test_pseudo_clean_rows_carry_the_label_of_their_class():
    proba, given = simplex(12), torch.tensor([0, 1, 2, 1] * 3)
    anchors = Anchors([torch.tensor([8, 1, 4, 0]), torch.tensor([3]), torch.tensor([5])], None)
    own = torch.tensor([2, 6, 10])
    believed = int(own[proba[own, 2].argmax()])
    found = pseudo_clean_rows(anchors, proba, given, 6)
    assert found.tolist() == sorted([8, 4, 3, believed])
    assert len(pseudo_clean_rows(anchors, proba, given, 1)) == 3


def test_a_class_that_no_row_carries_has_no_pseudo_clean_row():
    anchors = Anchors([torch.tensor([0, 2]), torch.tensor([1]), torch.tensor([4])], None)
    found = pseudo_clean_rows(anchors, simplex(6), torch.tensor([0, 1] * 3), 6)
    assert found.tolist() == [0, 1, 2]
