"""Lists of items in which groups of items share the exposure fairly."""

from __future__ import annotations

import numpy as np

_SLACK = 1e-9  # of a place, for the rounding of a share that is met exactly


def fair_places(
    users: np.ndarray,
    groups: np.ndarray,
    scores: np.ndarray,
    shares: np.ndarray,
    generator: np.random.Generator,
    length: int | None = None,
) -> np.ndarray:
    """The place of each row in the list of its user, from 0; -1 without one.

    Place k exposes its item by 1 / log2(k + 2), and group g is due the share g of the exposure of all lists. Place by
    place the users choose: in random order at place 0, then those first whose DCG so far is the smallest part of the
    best possible one. Each takes the remaining item of the highest score whose group stays within its due, or leaves
    the place empty. At last the empty places are filled, place by place, with the best item of the group that has the
    least exposure among those that the user still has items of.

    Args:
        users: [n]; the rows of a user are the candidates for that user's list.
        groups: [n], the group of each row's item, in 0..G-1.
        scores: float [n]; relevance in the DCG is the score, rescaled to [0, 1] over all rows.
        shares: [G], with a sum of 1.
        generator: for the order of the users.
        length: places of a list at most; None for as many as there are candidates.

    Returns:
        int64 [n].

    Source: Wu et al. 2021, TFROM, offline scenario with uniform fairness.
    """
    lists = _Lists(users, groups, scores, shares, length)
    order = generator.permutation(len(lists.lengths))
    for place in range(len(lists.discounts)):
        turns = order[np.argsort(lists.satisfaction[order], kind="stable")]
        lists.choose(place, turns[lists.lengths[turns] > place])
    lists.fill()
    return lists.places


class _Lists:
    """Lists under construction. A cell is a list and a group; its rows are taken in falling order of their scores."""

    def __init__(
        self, users: np.ndarray, groups: np.ndarray, scores: np.ndarray, shares: np.ndarray, length: int | None
    ) -> None:
        owners = np.unique(users, return_inverse=True)[1]
        counts = np.bincount(owners)
        self.n_groups = len(shares)
        self.lengths = counts if length is None else np.minimum(counts, length)
        self.discounts = 1.0 / np.log2(np.arange(2, 2 + max(self.lengths, default=0)))
        self.due = shares * np.concatenate([[0.0], np.cumsum(self.discounts)])[self.lengths].sum()
        self.exposure = np.zeros(self.n_groups)
        self.places = np.full(len(users), -1)
        self.empty: list[tuple[int, np.ndarray]] = []

        cells = owners * self.n_groups + groups
        self.rows = np.lexsort((-scores, cells))
        self.scores = scores[self.rows]
        self.ends = np.cumsum(np.bincount(cells, minlength=len(counts) * self.n_groups))
        self.next = np.concatenate([[0], self.ends])[:-1]

        relevance = (scores - scores.min(initial=0)) / max(np.ptp(scores), 1e-30) if len(scores) else scores
        self.relevance = relevance[self.rows]
        self.best = relevance[np.lexsort((-scores, owners))]
        self.starts = np.cumsum(counts) - counts
        self.dcg, self.ideal = np.zeros(len(counts)), np.zeros(len(counts))
        self.satisfaction = np.zeros(len(counts))

    def choose(self, place: int, turns: np.ndarray) -> None:
        """The lists take their items for a place, one after the other.

        Groups only close while a place is given out, so the choices of many lists are made at once, up to the first one
        that would find its group closed.
        """
        discount, waiting = self.discounts[place], turns
        filled = np.zeros(len(self.lengths), dtype=bool)
        while len(waiting):
            room = np.floor((self.due - self.exposure) / discount + _SLACK)
            heads = self._heads(waiting, room > 0)
            group = heads.argmax(1)
            able = heads[np.arange(len(waiting)), group] > -np.inf
            waiting, group = waiting[able], group[able]
            ordinal = np.cumsum(group[:, None] == np.arange(self.n_groups), axis=0)[np.arange(len(group)), group]
            late = ordinal > room[group]
            stop = int(late.argmax()) if late.any() else len(late)
            self._take(place, waiting[:stop], group[:stop])
            filled[waiting[:stop]] = True
            waiting = waiting[stop:]
        self.ideal[turns] += discount * self.best[self.starts[turns] + place]
        self.satisfaction[turns] = self.dcg[turns] / np.maximum(self.ideal[turns], 1e-30)
        self.empty.append((place, turns[~filled[turns]]))

    def fill(self) -> None:
        """Fill the places that were left empty."""
        for place, owners in self.empty:
            for owner in owners:
                cells = owner * self.n_groups + np.arange(self.n_groups)
                left = self.next[cells] < self.ends[cells]
                group = np.where(left, self.exposure, np.inf).argmin()
                self._take(place, np.array([owner]), np.array([group]))

    def _heads(self, owners: np.ndarray, opened: np.ndarray) -> np.ndarray:
        """The best remaining score of every open group in these lists, [n, G]; minus infinity without one."""
        cells = owners[:, None] * self.n_groups + np.arange(self.n_groups)
        first = self.next[cells]
        available = (first < self.ends[cells]) & opened
        return np.where(available, self.scores[np.minimum(first, len(self.scores) - 1)], -np.inf)

    def _take(self, place: int, owners: np.ndarray, groups: np.ndarray) -> None:
        """Each list takes the best remaining item of a group."""
        cells = owners * self.n_groups + groups
        first = self.next[cells]
        self.places[self.rows[first]] = place
        self.next[cells] += 1
        self.dcg[owners] += self.discounts[place] * self.relevance[first]
        self.exposure += self.discounts[place] * np.bincount(groups, minlength=self.n_groups)
