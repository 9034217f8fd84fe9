"""Ridge regression of labels on frozen features, in closed form (Eqs. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..._engine.indexing import row_blocks

__all__ = ["RidgeSystem", "meta_factor"]

_MAX_COLUMNS = 512  # of the product for several ridges
_LEAST_RIDGE = 1e-5
_ROWS = 2048  # in double precision at a time


class RidgeSystem:
    r"""Decomposition of the features F (n, d), computed once for every ridge and all labels.

    With :math:`F^\top F = V S V^\top` and :math:`A = F V`, all methods are products of these:

    .. math:: W^*(Y) = (F^\top F + \lambda I)^{-1} F^\top Y = V (S + \lambda)^{-1} A^\top Y .

    Directions in which the features do not vary are left out, so features of deficient rank need
    no ridge: `spectrum` (r,) has the positive eigenvalues S, `basis` (d, r) is V, and `rotated`
    (n, r) is A. The form "primal" decomposes :math:`F^\top F`, "dual" decomposes :math:`F F^\top`,
    and "auto" the smaller one; the results are the same.

    With the codes of `groups` (n,), rows are left out by group.
    """

    def __init__(self, features: Tensor, form: str = "auto", groups: Tensor | None = None):
        n, d = features.shape
        if form == "auto":
            form = "primal" if d <= n else "dual"
        gram = _gram(features) if form == "primal" else _gram(features.T)
        spectrum, vectors = torch.linalg.eigh(gram)
        least = spectrum[-1] * max(n, d) * torch.finfo(spectrum.dtype).eps
        spectrum, vectors = spectrum[spectrum > least], vectors[:, spectrum > least]
        dtype = features.dtype
        self.spectrum = spectrum.to(dtype)
        if form == "primal":
            self.basis = vectors.to(dtype)
            self.rotated = torch.empty(n, len(spectrum), dtype=dtype, device=features.device)
            for block in row_blocks(n, _ROWS):
                self.rotated[block] = _precise(features[block]) @ vectors
        else:
            self.basis = (_precise(features).T @ (vectors / spectrum.sqrt())).to(dtype)
            self.rotated = (vectors * spectrum.sqrt()).to(dtype)
        share = self.rotated.square() @ (1 / self.spectrum)
        self._interpolated = share > 1 - 1e-5
        self._interpolates = bool(self._interpolated.any())
        self._groups = None if groups is None else _by_size(groups)

    def solve(self, labels: Tensor, ridge: float) -> Tensor:
        """Return W*(Y), of shape (d, c), for labels of shape (n, c)."""
        return self.basis @ self._coefficients(labels, ridge)

    def predict(self, features: Tensor, labels: Tensor, ridge: float) -> Tensor:
        """Return the regression outputs of other rows, F_v W*(Y)."""
        return (features @ self.basis) @ self._coefficients(labels, ridge)

    def fitted(self, labels: Tensor, ridge: float) -> Tensor:
        """Return the regression outputs of the training rows, F W*(Y)."""
        return self.rotated @ self._coefficients(labels, ridge)

    def meta_matrix(self, features: Tensor, ridge: float) -> Tensor:
        r"""Return the matrix that maps training labels to predictions of other rows (Eq. 5).

        .. math:: M = F_v (F^\top F + \lambda I)^{-1} F^\top, \qquad \hat Y_v = M Y
        """
        return (features @ self.basis / (self.spectrum + ridge)) @ self.rotated.T

    def leave_one_out(self, labels: Tensor, ridge: float) -> Tensor:
        r"""Return the prediction of each row by the regression on all other rows.

        .. math:: \hat y_{-i} = \frac{\hat y_i - h_i y_i}{1 - h_i}, \quad
            h_i = f_i^\top (F^\top F + \lambda I)^{-1} f_i

        With groups, it is the prediction by the regression on all rows of other groups.
        """
        if self._groups is not None:
            return self._leave_group_out(labels, ridge)
        inverse = 1 / (self.spectrum + ridge)
        own = (self.rotated.square() @ inverse).clamp(max=1 - 1e-6)[:, None]
        outputs = (self.fitted(labels, ridge) - own * labels) / (1 - own)
        if not self._interpolates:
            return outputs
        # For rows that the features can interpolate, the residual and 1 - h both have the factor
        # λ. It is cancelled, since both are 0 without a ridge.
        unit = self.rotated / self.spectrum.sqrt()
        residual = (unit * inverse) @ (unit.T @ labels) / (unit.square() @ inverse)[:, None]
        return torch.where(self._interpolated[:, None], labels - residual, outputs)

    def leave_one_out_errors(self, labels: Tensor, ridges: Sequence[float]) -> Tensor:
        """Return the sum of squared leave-one-out errors for each ridge, of shape (n_ridges,).

        One product serves all ridges, for as many columns of the labels as memory allows. With
        groups, the errors are those of :meth:`leave_one_out` with groups.
        """
        if self._groups is not None:
            left_out = (self._leave_group_out(labels, ridge) for ridge in ridges)
            return torch.stack([(labels - outputs).square().sum() for outputs in left_out])
        inverse = 1 / (self.spectrum[:, None] + torch.as_tensor(ridges).to(self.spectrum))
        rest = 1 - (self.rotated.square() @ inverse).clamp(max=1 - 1e-6)
        exact = self._interpolated
        if self._interpolates:  # as in leave_one_out
            unit = self.rotated / self.spectrum.sqrt()
            rest[exact] = unit[exact].square() @ inverse
        errors = torch.zeros_like(rest)
        for part in labels.split(max(_MAX_COLUMNS // len(ridges), 1), dim=1):
            residuals = part[:, None] - _for_each_ridge(self.rotated, self.rotated, part, inverse)
            if self._interpolates:
                residuals[exact] = _for_each_ridge(unit[exact], unit, part, inverse)
            errors += residuals.square().sum(dim=2)
        return (errors / rest.square()).sum(dim=0)

    def _leave_group_out(self, labels: Tensor, ridge: float) -> Tensor:
        r"""Return the prediction of each row by the regression on all other groups.

        .. math:: \hat Y_{-G} = Y_G - (I - H_{GG})^{-1} (Y_G - \hat Y_G), \quad
            H = F (F^\top F + \lambda I)^{-1} F^\top

        A group that alone has some direction needs a ridge, which is at least 1e-5 of the
        spectrum here.
        """
        assert self._groups is not None
        ridge = max(ridge, _LEAST_RIDGE * float(self.spectrum[-1]))
        precise = labels.dtype if labels.device.type == "mps" else torch.float64
        scaled = self.rotated.to(precise) / (self.spectrum + ridge).to(precise).sqrt()
        labels_, outputs = labels.to(precise), torch.empty_like(labels, dtype=precise)
        residual = labels_ - scaled @ (scaled.T @ labels_)
        for members in self._groups:
            own = scaled[members]
            matrix = torch.eye(members.shape[1], dtype=precise, device=labels.device)
            matrix = matrix - own @ own.mT
            outputs[members] = labels_[members] - torch.linalg.solve(matrix, residual[members])
        return outputs.to(labels.dtype)

    def _coefficients(self, labels: Tensor, ridge: float) -> Tensor:
        return (self.rotated.T @ labels) / (self.spectrum + ridge)[:, None]


def meta_factor(features: Tensor, others: Tensor, ridge: float) -> tuple[Tensor, bool]:
    """Return a factor (n_others, d) of the meta matrix for the rows `others`, and True.

    The matrix, :meth:`RidgeSystem.meta_matrix`, is the product of the factor and the `features`
    (n, d) transposed. If there are fewer rows than features, the matrix itself, (n_others, n), and
    False are returned. Both come from a Cholesky decomposition of the smaller Gram matrix of the
    features, which the ridge must make positive definite.
    """
    is_primal = features.shape[1] <= features.shape[0]
    gram = _gram(features) if is_primal else _gram(features.T)
    gram.diagonal().add_(ridge)
    others = _precise(others)
    right = others.T if is_primal else _precise(features) @ others.T
    solved = torch.cholesky_solve(right, torch.linalg.cholesky(gram)).T.to(features.dtype)
    return solved, is_primal


def _for_each_ridge(left: Tensor, right: Tensor, labels: Tensor, inverse: Tensor) -> Tensor:
    """Return :math:`L D_k R^T Y` (n, n_ridges, c), where D_k has the k-th column of `inverse`."""
    coefficients = (right.T @ labels)[:, None] * inverse[:, :, None]
    return (left @ coefficients.flatten(1)).unflatten(1, coefficients.shape[1:])


def _gram(features: Tensor) -> Tensor:
    """Return F^T F in double precision, without a copy of all rows in it."""
    first, *others = features.split(_ROWS)
    gram = _precise(first).T @ _precise(first)
    for rows in map(_precise, others):
        gram += rows.T @ rows
    return gram


def _precise(features: Tensor) -> Tensor:
    return features if features.device.type == "mps" else features.double()


def _by_size(groups: Tensor) -> list[Tensor]:
    """Return the rows of the groups, of shape (n_groups, size) for each size of a group."""
    _, codes, sizes = groups.unique(return_inverse=True, return_counts=True)
    rows = codes.argsort(stable=True).split(sizes.tolist())
    return [
        torch.stack([own for own in rows if len(own) == size]) for size in sizes.unique().tolist()
    ]
