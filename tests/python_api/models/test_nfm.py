from __future__ import annotations

import numpy as np
import torch

from debiasrec.models import MODELS, NFM


def model() -> NFM:
    rng = np.random.default_rng(0)
    covariates = [rng.random(shape).astype(np.float32) for shape in ((6, 3), (4, 2))]
    nfm = NFM(*covariates, 5, 7, seed=1, offset=2.5)
    with torch.no_grad():
        for table in nfm.tables().values():
            table.add_(0.3 * torch.from_numpy(rng.standard_normal(table.shape).astype(np.float32)))
    return nfm


def test_scores_sum_over_all_pairs_of_fields():
    nfm = model()
    t = {name: table.detach().double().numpy() for name, table in nfm.tables().items()}
    users, items = torch.tensor([0, 5, 5]), torch.tensor([3, 0, 3])
    expected = []
    for user, item in zip(users.tolist(), items.tolist(), strict=True):
        x = np.concatenate([nfm.user_covariates[user], nfm.item_covariates[item]]).astype(np.float64)
        fields = [t["user_factors"][user], t["item_factors"][item], *(x[:, None] * t["covariate_factors"])]
        pairs = sum(fields[a] * fields[b] for a in range(len(fields)) for b in range(a))
        hidden = np.maximum(t["hidden_weight"] @ pairs + t["hidden_bias"], 0)
        linear = t["user_bias"][user] + t["item_bias"][item] + x @ t["covariate_bias"]
        expected.append(2.5 + linear + t["output_weight"] @ hidden)
    np.testing.assert_allclose(nfm.score(users, items).detach().numpy(), expected, rtol=1e-5)


def test_a_blank_model_of_the_settings_takes_tables_and_covariates():
    nfm = model()
    blank = MODELS["nfm"].blank(**nfm.settings())
    for kind in ("tables", "constants"):
        for name, tensor in getattr(nfm, kind)().items():
            getattr(blank, name).data.copy_(tensor)
    pairs = torch.tensor([0, 1, 2]), torch.tensor([3, 2, 1])
    assert torch.equal(blank.score(*pairs), nfm.score(*pairs))


def test_best_ranks_every_unseen_item_by_score():
    nfm = model()
    offsets, seen = np.array([0, 1, 1, 1, 1, 1, 1]), np.array([2])
    scores, items = nfm.best(np.array([0, 4]), 4, seen=(offsets, seen))
    for row, user in enumerate((0, 4)):
        every = nfm.score(torch.full((4,), user), torch.arange(4)).detach().numpy()
        order = [item for item in np.argsort(-every, kind="stable") if not (user == 0 and item == 2)]
        assert items[row].tolist() == order + [-1] * (4 - len(order))
        np.testing.assert_allclose(scores[row][: len(order)], every[order], rtol=1e-6)
