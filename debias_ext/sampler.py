"""Random pairs of users and items."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from debias_ext._inputs import check_tensor, dtype_name, integer
from debias_ext._library import _C

_LARGEST_SEED = 2**64 - 1
Pairs = tuple[Tensor, Tensor]


class PairSampler:
    """Pairs (user, item) at random: any, or only those that were not observed.

    One stream of rows per sampler. What a row holds depends on the seed and on its position in the stream alone, so
    neither on the number of threads nor on how the rows are spread over calls: after the same calls before them,
    `unobserved(a)` and `unobserved(b)` together are `unobserved(a + b)`.

    Args:
        users, items: [N], int32 or int64 on the CPU: the observed pairs, in any order; repeats are fine.
        n_users, n_items: in [1, 2^31]; users and items lie below them.
        seed: in [0, 2^64).

    Raises:
        ValueError: a shape, dtype, device or number other than the above; the message names the argument.
        IndexError: a user or an item out of range; the message names the argument, the index and its position.

    Notes:
        Philox4x32-10, keyed by the seed, with (row, attempt) as its counter. A pair that was observed is drawn again; a
        row that was refused 16 times is chosen by its rank among the unobserved pairs instead, so that a nearly full
        matrix takes no longer. The probability of each user, item or rank differs from the uniform one by less than
        2^-64. Memory: 4 bytes an observed pair and 8 a user, and a bitmap of n_users x n_items bits while that is at
        most 64 MB; beyond, pairs are looked up by binary search. The GIL is released. Calls from several threads are
        safe; which rows a call gets is then a matter of chance.

    Source:
        Salmon, Moraes, Dror and Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3" (Philox). Bounded integers:
        Lemire 2019, "Fast Random Integer Generation in an Interval", without its rejection step.
    """

    def __init__(self, users: Tensor, items: Tensor, *, n_users: int, n_items: int, seed: int) -> None:
        observed = _indices("users", users), _indices("items", items)
        self.n_users, self.n_items = integer("n_users", n_users), integer("n_items", n_items)
        self._sampler = _C.PairSampler(
            observed[0].numpy(), observed[1].numpy(), self.n_users, self.n_items, _seed(seed)
        )

    def uniform(self, n: int) -> Pairs:
        """The next n rows as pairs of all n_users x n_items, each equally likely, observed or not.

        Args:
            n: at least 0.

        Returns:
            (users, items), int64 [n] on the CPU.

        Raises:
            ValueError: n is not a whole number, or negative.
        """
        pairs = _empty(integer("n", n, at_least=0))
        self._sampler.uniform(pairs[0].numpy(), pairs[1].numpy())
        return pairs

    def unobserved(self, n: int) -> Pairs:
        """The next n rows as pairs that were not observed, each of them equally likely, independent of each other.

        Args:
            n: at least 0.

        Returns:
            (users, items), int64 [n] on the CPU.

        Raises:
            ValueError: n is not a whole number, or negative; or every pair was observed.
        """
        pairs = _empty(integer("n", n, at_least=0))
        self._sampler.unobserved(pairs[0].numpy(), pairs[1].numpy())
        return pairs

    def negatives(self, users: Tensor, per_user: int) -> Pairs:
        """The next len(users) * per_user rows: items that the given users have not observed, each equally likely.

        Args:
            users: [n], int32 or int64 on the CPU, in [0, n_users), in any order; repeats are fine.
            per_user: at least 0. Items of one user are independent of each other, so they may repeat.

        Returns:
            (users, items), int64 [n * per_user] on the CPU; users as given, each repeated per_user times.

        Raises:
            ValueError: a shape, dtype or number other than the above, or a user who has observed every item; the
                message names the user.
            IndexError: a user out of range.
        """
        given = _indices("users", users)
        count = integer("per_user", per_user, at_least=0)
        pairs = _empty(given.numel() * count)
        self._sampler.negatives(given.numpy(), count, pairs[0].numpy(), pairs[1].numpy())
        return pairs

    def state_dict(self) -> dict[str, int]:
        """The seed and the position in the stream; the observed pairs are not part of it."""
        return {"seed": self._sampler.seed, "position": self._sampler.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues where `state_dict` was taken, by a sampler of the same observed pairs.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: a key is missing or unknown, or a value is not an integer in [0, 2^64).
        """
        if set(state) != {"seed", "position"}:
            raise ValueError(f"state must have the keys 'position' and 'seed', got {sorted(state)}")
        self._sampler.restore(_seed(state["seed"]), _seed(state["position"], "position"))

    def __repr__(self) -> str:
        place = ", ".join(f"{name}={value}" for name, value in self.state_dict().items())
        return f"PairSampler(n_users={self.n_users}, n_items={self.n_items}, {place})"


def _empty(n: int) -> Pairs:
    return torch.empty(n, dtype=torch.int64), torch.empty(n, dtype=torch.int64)


def _indices(name: str, value: Tensor) -> Tensor:
    check_tensor(name, value)
    if value.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, got {value.device}")
    if value.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{name} must be int32 or int64, got {dtype_name(value)}")
    if value.dim() != 1:
        raise ValueError(f"{name} must have 1 dimension, got shape {list(value.shape)}")
    return value.long().contiguous()


def _seed(value: int, name: str = "seed") -> int:
    seed = integer(name, value)
    if not 0 <= seed <= _LARGEST_SEED:
        raise ValueError(f"{name} must be in [0, 2^64), got {seed}")
    return seed
