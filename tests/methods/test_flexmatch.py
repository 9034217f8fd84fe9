"""FlexMatch: lower thresholds for classes that are learned late."""

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from sknoisy import FixMatchClassifier, FlexMatchClassifier


def late_class(seed):
    """Return three classes, one of which is close to another and has the fewest labels."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(600) % 3)
    X = rng.normal(size=(600, 6))
    X[:, :2] += np.array([[6, 0], [0, 0], [0, 3.5]])[y]
    first = np.concatenate([np.flatnonzero(y == c)[:n] for c, n in enumerate((8, 8, 4))])
    return X, y, ~np.isin(np.arange(600), first)


def test_a_class_that_is_learned_late_gets_more_pseudo_labels():
    scores = {FixMatchClassifier: [], FlexMatchClassifier: []}
    for seed in range(4):
        X, y, mask = late_class(seed)
        for cls, found in scores.items():
            clf = cls(max_epochs=15, random_state=seed).fit(X, y, unlabeled_mask=mask)
            found.append(balanced_accuracy_score(y, clf.predict(X)))
    assert np.mean(scores[FlexMatchClassifier]) > np.mean(scores[FixMatchClassifier])
