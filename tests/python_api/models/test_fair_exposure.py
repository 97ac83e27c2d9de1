from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.models import FairLists, MatrixFactorization, fair_places


def one_by_one(users, groups, scores, shares, generator, length=None):
    """The algorithm with a loop over places, users and items."""
    candidates = {u: sorted(np.flatnonzero(users == u), key=lambda row: -scores[row]) for u in sorted(set(users))}
    lengths = {u: min(len(rows), length or len(rows)) for u, rows in candidates.items()}
    discounts = 1 / np.log2(np.arange(2, 2 + max(lengths.values())))
    due = shares * sum(discounts[: lengths[u]].sum() for u in candidates)
    relevance = (scores - scores.min()) / np.ptp(scores)
    exposure, places, empty = np.zeros(len(shares)), np.full(len(users), -1), []
    dcg, ideal = dict.fromkeys(candidates, 0.0), dict.fromkeys(candidates, 0.0)
    order = [sorted(candidates)[k] for k in generator.permutation(len(candidates))]

    def take(user, place, allowed):
        for row in candidates[user]:
            if places[row] < 0 and allowed(groups[row]):
                places[row] = place
                exposure[groups[row]] += discounts[place]
                dcg[user] += discounts[place] * relevance[row]
                return True
        return False

    for place, discount in enumerate(discounts):
        turns = sorted(order, key=lambda u: dcg[u] / ideal[u] if ideal[u] else 0.0)
        for user in turns:
            if lengths[user] > place:
                if not take(user, place, lambda g, d=discount: exposure[g] + d <= due[g] + 1e-9 * d):
                    empty.append((user, place))
                ideal[user] += discount * relevance[candidates[user][place]]
    for user, place in empty:
        least = min(
            (g for row in candidates[user] if places[row] < 0 for g in [groups[row]]), key=lambda g: (exposure[g], g)
        )
        take(user, place, lambda g, least=least: g == least)
    return places


def test_three_users_share_two_groups():
    # All prefer their item of group 0. Exposure 3 (1 + 0.631) = 4.893, so each group is due 2.446: two first places.
    # The third user starts with group 1, and leaves the second place empty until the end, as 2.631 exceeds the due.
    users, groups = np.repeat([0, 1, 2], 2), np.tile([0, 1], 3)
    places = fair_places(users, groups, np.tile([1.0, 0.5], 3), np.array([0.5, 0.5]), np.random.default_rng(4))
    last = np.random.default_rng(4).permutation(3)[-1]
    for user in range(3):
        assert places[users == user].tolist() == ([1, 0] if user == last else [0, 1])


@pytest.mark.parametrize("length", [None, 3])
@pytest.mark.parametrize("seed", range(6))
def test_lists_are_those_of_one_choice_at_a_time(seed, length):
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 12, 90) * 3
    groups, scores = rng.integers(0, 4, 90), rng.standard_normal(90)
    shares = rng.dirichlet(np.ones(4))
    expected = one_by_one(users, groups, scores, shares, np.random.default_rng(seed), length)
    places = fair_places(users, groups, scores, shares, np.random.default_rng(seed), length)
    assert places.tolist() == expected.tolist()


def test_one_group_leaves_every_list_in_the_order_of_the_scores():
    rng = np.random.default_rng(2)
    users, scores = rng.integers(0, 5, 40), rng.standard_normal(40)
    places = fair_places(users, np.zeros(40, int), scores, np.ones(1), rng)
    for user in range(5):
        own = np.flatnonzero(users == user)
        assert places[own[np.argsort(-scores[own])]].tolist() == list(range(len(own)))


def test_no_rows_have_no_places():
    nothing = np.zeros(0, int)
    assert len(fair_places(nothing, nothing, nothing * 1.0, np.ones(1), np.random.default_rng(0))) == 0


@pytest.fixture
def model():
    base = MatrixFactorization(4, 6, 2, seed=1, offset=0.5)
    lists = FairLists(**base.settings(), n_groups=2, order_seed=3)
    with torch.no_grad():
        for name, table in lists.tables().items():
            table.copy_(base.tables()[name])
    lists.item_groups = torch.tensor([0, 0, 0, 1, 1, 1])
    return lists


def test_the_best_items_are_fair_lists_of_unseen_items(model):
    seen = np.array([0, 2, 2, 7, 7]), np.array([1, 3, 0, 1, 2, 3, 4])
    users = np.array([2, 0, 1])
    scores, items = model.best(users, 3, seen=seen)
    assert scores[0].tolist() == [-1.0, -np.inf, -np.inf]  # one unseen item
    assert items[0].tolist() == [5, -1, -1]
    assert scores[1:].tolist() == [[-1.0, -2.0, -3.0]] * 2
    for row, user in ((1, 0), (2, 1)):
        assert len(set(items[row])) == 3
        assert not set(items[row]) & set(seen[1][seen[0][user] : seen[0][user + 1]])


def test_scores_are_places_within_the_rows_of_each_user(model):
    users, items = torch.arange(4).repeat_interleave(6), torch.arange(6).repeat(4)
    scores = model.score(users, items).reshape(4, 6)
    assert torch.equal(scores.sort(1, descending=True).values, -torch.arange(1.0, 7.0).expand(4, 6))
    popular_first = (scores.argmax(1) < 3).sum()
    assert 1 <= popular_first <= 3
