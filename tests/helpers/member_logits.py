"""Logits of a network of a fitted classifier, pass by pass as the classifier computes them."""

import torch
from torch.func import functional_call

from sknoisy._engine.evaluation import rows_per_pass


@torch.no_grad()
def member_logits(clf, X, module, state):
    """Return the float64 logits of the rows X by a module at a state."""
    rows = clf._rows(X)
    passes = torch.arange(len(rows)).split(rows_per_pass(clf.net_))
    return torch.cat(
        [functional_call(module, state, (rows.take(part),)).double() for part in passes]
    )
