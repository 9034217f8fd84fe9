"""Collective operations of the processes that train one network together.

Each process, called a rank, holds a copy of the network and passes its share of the rows of a
batch through it. The outputs of all rows are gathered, so that losses, weights and meta objectives
see the whole batch. The own rows keep their graph to the parameters, and the gradients of all
ranks add up to the gradient of one process.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from .functional import RandomState

__all__ = ["Ranks", "common_draws", "current_ranks", "is_first_rank"]


def current_ranks() -> Ranks | None:
    """Return the processes of ``torch.distributed``; None if it is not in use, or has one."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    return Ranks() if distributed.get_world_size() > 1 else None


def is_first_rank() -> bool:
    """Return whether this process shows progress and writes files: rank 0, or the only one."""
    ranks = current_ranks()
    return ranks is None or ranks.rank == 0


class Ranks:
    """The processes of the default group of ``torch.distributed``.

    All ranks must call each method at the same point of their programs. The results, except the
    own rows of :meth:`whole`, are equal bit for bit on all ranks.

    Attributes
    ----------
    n : int
        Number of ranks.
    rank : int
        Number of this process, from 0.
    """

    def __init__(self) -> None:
        self.n, self.rank = distributed.get_world_size(), distributed.get_rank()
        self._common: RandomState | None = None

    # --- rows -------------------------------------------------------------------------------

    def share(self, n_rows: int) -> slice:
        """Return the rows of a batch that this rank passes through its network.

        They are those of ``torch.tensor_split``: the first ranks have one row more if the rows
        cannot be divided evenly.
        """
        stops = self._stops(n_rows)
        return slice(stops[self.rank], stops[self.rank + 1])

    def _stops(self, n_rows: int) -> list[int]:
        size, rest = divmod(n_rows, self.n)
        return [rank * size + min(rank, rest) for rank in range(self.n + 1)]

    def whole(self, n_rows: int, *own: Tensor) -> list[Tensor]:
        """Gather outputs (n_own, ...) of the ranks, and return those of the whole batch.

        `n_rows` is the number of rows of the whole batch. The own rows keep their graph; those of
        other ranks are constants. A function of all rows thus has the gradient of the own rows,
        and its gradients on all ranks add up to the whole one.
        """
        share, stops = self.share(n_rows), self._stops(n_rows)
        parts = [part.detach().flatten(1) for part in own]
        joined = torch.cat(parts, dim=1)
        received = self.stack(F.pad(joined, (0, 0, 0, stops[1] - len(joined))))
        sizes = [stop - start for start, stop in pairwise(stops)]
        gathered = torch.cat([rows[:size] for rows, size in zip(received, sizes, strict=True)])
        columns = gathered.split([part.shape[1] for part in parts], dim=1)
        return [_spliced(part, rows, share) for part, rows in zip(own, columns, strict=True)]

    def stack(self, own: Tensor) -> Tensor:
        """Return the tensors of all ranks, of one shape, stacked along a new first axis."""
        own = own.detach().contiguous()
        received = [torch.empty_like(own) for _ in range(self.n)]
        distributed.all_gather(received, own)
        return torch.stack(received)

    # --- gradients and states ---------------------------------------------------------------

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sum of each tensor over the ranks, in its dtype and memory layout."""
        if not tensors:
            return []
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [
            torch.empty_like(tensor).copy_(part.view(tensor.shape))
            for tensor, part in zip(tensors, parts, strict=True)
        ]

    def sum_gradients(self, module: nn.Module) -> None:
        """Replace the gradients of a module by their sums over the ranks."""
        parameters = [p for p in module.parameters() if p.grad is not None]
        sums = self.sum([p.grad for p in parameters if p.grad is not None])
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total

    def of_all(self, value: Any) -> list[Any]:
        """Return the values of all ranks, any that can be pickled, by rank."""
        values = [None] * self.n
        distributed.all_gather_object(values, value)
        return values

    def of_first(self, value: Any) -> Any:
        """Return the value of rank 0, any that can be pickled."""
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def copy_from_first(self, module: nn.Module) -> None:
        """Give a module the parameters and buffers that it has on rank 0."""
        state = {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in module.state_dict().items()
        }
        module.load_state_dict(self.of_first(state))

    def check_copies(self, module: nn.Module) -> None:
        """Raise RuntimeError if the ranks have different parameters or buffers."""
        sums = [
            value.sum()
            for value in module.state_dict().values()
            if isinstance(value, Tensor) and value.is_floating_point()
        ]
        if len({repr(values) for values in self.of_all([value.item() for value in sums])}) > 1:
            raise RuntimeError(
                f"The copies of {type(module).__name__} differ between the {self.n} processes of "
                "torch.distributed. The cause may be a buffer that a forward pass changes, or a "
                "callback that draws random numbers. Leave it out, or fit in one process."
            )

    # --- random streams ---------------------------------------------------------------------

    def part_streams(self, device: torch.device) -> None:
        """Give each rank global generators of its own, for dropout; the common ones are kept.

        Until then, the global generators must be in the same state on all ranks. A second call
        changes nothing.
        """
        if self._common is not None:
            return
        self._common = RandomState(device)
        seed = int(torch.randint(2**31 - 1, ())) + self.rank
        torch.manual_seed(seed)
        random.seed(seed)
        numpy_random: Any = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed(seed)

    def join_streams(self) -> None:
        """Set the global generators of all ranks to the common state again."""
        if self._common is not None:
            self._common.restore()
            self._common = None

    @contextlib.contextmanager
    def common_draws(self) -> Iterator[None]:
        """Draw the same numbers on all ranks within the context."""
        if self._common is None:  # the global generators are common
            yield
            return
        own = RandomState(self._common.device)
        self._common.restore()
        try:
            yield
        finally:
            self._common = RandomState(own.device)
            own.restore()


def common_draws(ranks: Ranks | None) -> contextlib.AbstractContextManager[None]:
    """Return a context of :meth:`Ranks.common_draws`; None stands for one process."""
    return contextlib.nullcontext() if ranks is None else ranks.common_draws()


def _spliced(own: Tensor, gathered: Tensor, share: slice) -> Tensor:
    """Return gathered rows with the own ones, and their graph, in their place."""
    rows = gathered.to(own.dtype).view(len(gathered), *own.shape[1:])
    return torch.cat([rows[: share.start], own, rows[share.stop :]])
