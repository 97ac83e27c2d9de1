"""The manners of the methods: parameters, errors, encode, predict, recommend, save and load."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from debiasrec import from_frame, load_model, methods
from debiasrec.data import load
from debiasrec.methods.hyperparameters import LoopParameters
from debiasrec.methods.options import check_options, ranges
from debiasrec.training import checkpoint as storage

QUICK = {"max_epochs": 3}


@pytest.mark.parametrize("name", list(methods.REGISTRY))
def test_parameters_survive_clone_get_set_and_repr(name):
    method = methods.make(name, target=ranges(methods.REGISTRY[name])["target"].choices[-1], seed=7)
    copy = clone(method)
    assert type(copy) is type(method)
    assert copy.get_params() == method.get_params()
    assert copy.set_params(seed=8).seed == 8
    assert method.seed == 7
    assert "seed=7" in repr(method)
    with pytest.raises(TypeError):
        type(method)(10)  # keyword-only


@pytest.mark.parametrize("cls", list(methods.REGISTRY.values()))
def test_every_method_says_what_it_is(cls):
    assert cls.summary
    assert "\n" not in cls.summary
    assert cls.source
    assert cls.needs_uniform in (True, False)
    documented = "".join(
        inspect.getdoc(parent) for parent in cls.__mro__ if issubclass(parent, (methods.Method, LoopParameters))
    )
    assert [option for option in cls._get_param_names() if option not in documented] == []


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(ValueError, match="unknown method 'mff'; did you mean 'mf"):
        methods.make("mff")
    with pytest.raises(ValueError, match="unknown option of ips 'clip_mn'; did you mean 'clip_min'"):
        methods.make("ips", clip_mn=0.1)
    with pytest.raises(ValueError, match="Invalid parameter 'lrr'"):
        methods.MF().set_params(lrr=0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mf", {"factors": 0}, "factors must be a whole number, at least 1, got 0"),
        ("mf", {"lr": -1.0}, r"lr must be a number above 0, got -1\.0"),
        ("mf", {"lr": float("nan")}, "lr must be a number above 0, got nan"),
        ("mf", {"l2": "high"}, "l2 must be a number, at least 0, got 'high'"),
        ("mf", {"optimizer": "adamw"}, "optimizer must be one of sgd, adam, adagrad, got 'adamw'"),
        ("mf", {"target": "stars5"}, "target must be one of signed, binary, stars"),
        ("mf", {"seed": 1.5}, "seed must be a whole number, at least 0"),
        ("mf", {"l2_rows": "block"}, 'l2_rows="block" needs batching="block"'),
        ("ips", {"propensity": "oracle"}, "propensity must be one of auto, naive_bayes"),
        ("ips", {"clip_min": 0.0}, "clip_min must be a number above 0"),
        ("snips", {"normaliser": "none"}, "normaliser must be one of full, batch"),
        ("dr", {"joint": "False"}, "joint must be true or false, got 'False'"),
        ("dr", {"imputation_lr": 0}, "imputation_lr must be a number above 0"),
    ],
)
def test_options_out_of_range_are_refused_before_training(split, name, options, message):
    method = methods.make(name, **options)
    with pytest.raises(ValueError, match=message):
        method.fit(split)
    assert not hasattr(method, "model_")


def test_a_learning_rate_that_diverges_is_reported(split):
    with pytest.raises(ValueError, match=r"diverged in epoch \d+: .*lr=1000.0.*Try a learning rate ten times smaller"):
        methods.MF(optimizer="sgd", lr=1000.0, reduction="sum", **{"max_epochs": 50}).fit(split)


def test_a_method_counts_as_fitted_only_after_fit(split):
    method = methods.MF(**QUICK)
    with pytest.raises(NotFittedError):
        method.predict([0], [0])
    method.fit(split)
    method.set_params(optimizer="sgd", lr=1000.0, reduction="sum", max_epochs=50)
    with pytest.raises(ValueError, match="diverged"):
        method.fit(split)
    with pytest.raises(NotFittedError):
        method.predict([0], [0])


def test_uniform_methods_say_that_they_need_uniform_ratings():
    frame = pd.DataFrame({"user": [0, 0, 1, 1] * 5, "item": range(20), "rating": [5, 1, 4, 2] * 5})
    split = from_frame(frame).split("interd", 0)
    for name in ("mf_uniform", "mf_combine"):
        assert methods.REGISTRY[name].needs_uniform
        with pytest.raises(ValueError, match=f"method {name} needs uniform training ratings"):
            methods.make(name).fit(split)
    assert "opularity" in methods.IPS(**QUICK).fit(split).propensity_.describe()


def test_training_rows_are_the_stated_parts_and_combine_concatenates(split):
    n_biased, n_uniform = len(split.train), len(split.uniform_train)
    rows = {name: methods.make(name, **QUICK).fit(split).n_rows_ for name in ("mf", "mf_uniform", "mf_combine")}
    assert rows == {"mf": n_biased, "mf_uniform": n_uniform, "mf_combine": n_biased + n_uniform}


@pytest.mark.parametrize(("target", "expected"), [("signed", [-1, 1, 1]), ("binary", [0, 1, 1]), ("stars", [3, 4, 5])])
def test_encode_gives_the_targets_of_the_training(split, target, expected):
    method = methods.MF(target=target, **QUICK).fit(split)
    coded = method.encode(np.array([3.0, 4.0, 5.0]))
    assert coded.dtype == np.float32
    assert coded.tolist() == expected


def test_star_targets_are_predicted_around_the_mean_rating(split):
    method = methods.MF(target="stars", criterion="mse", max_epochs=1).fit(split)
    scores = method.predict(split.train.users, split.train.items)
    assert method.offset_ == pytest.approx(float(split.train.ratings.mean()), abs=1e-5)
    assert abs(scores.mean() - split.train.ratings.mean()) < 0.5


def test_predict_gives_float32_scores_and_refuses_unknown_indices(split):
    method = methods.MF(**QUICK).fit(split)
    scores = method.predict(split.train.users, split.train.items)
    assert scores.dtype == np.float32
    assert scores.shape == (len(split.train),)
    with pytest.raises(IndexError, match="items"):
        method.predict(np.array([0]), np.array([split.dataset.n_items]))


def test_early_stopping_leaves_the_tables_of_the_best_epoch(split):
    method = methods.MF(lr=0.05, l2=0.0, max_epochs=40, patience=5).fit(split)
    assert method.stopped_by_ == "early_stopping"
    assert method.best_epoch_ == method.history_["validation"].idxmax() + 1
    assert len(method.history_) == method.best_epoch_ + 5
    until_best = methods.MF(lr=0.05, l2=0.0, max_epochs=method.best_epoch_, patience=5).fit(split)
    assert torch.equal(method.model_.user_factors, until_best.model_.user_factors)


@pytest.fixture(params=["strings", "integers"])
def named_split(request):
    rng = np.random.default_rng(0)
    keys = rng.choice(12 * 15, 100, replace=False)
    frame = pd.DataFrame({"user": keys // 15 + 100, "item": keys % 15 + 500, "rating": rng.integers(1, 6, 100)})
    if request.param == "strings":
        frame["user"], frame["item"] = "u" + frame["user"].astype(str), "é" + frame["item"].astype(str)
    return from_frame(frame).split("interd", 0)


@pytest.mark.parametrize("wrong", [[0.5], ["0"], [True]])
def test_predict_takes_integers_alone(split, wrong):
    method = methods.MF(**QUICK).fit(split)
    with pytest.raises(ValueError, match="users must be integers"):
        method.predict(wrong, [0])


@pytest.mark.parametrize("device", ["gpu", "meta", None])
def test_a_device_that_cannot_train_is_refused(split, device):
    with pytest.raises(ValueError, match="device must be cpu, cuda or cuda:N"):
        methods.MF(**QUICK).fit(split, device=device)


def test_cuda_that_does_not_work_here_is_refused_with_the_reason(split, monkeypatch):
    monkeypatch.setattr("debiasrec.methods.options.cuda_status", lambda: (False, "no NVIDIA driver was found"))
    with pytest.raises(ValueError, match="'cuda:0' cannot be used: no NVIDIA driver"):
        methods.MF(**QUICK).fit(split, device="cuda:0")


def test_a_whole_data_set_is_no_split(split):
    with pytest.raises(ValueError, match=r"expected a Split, .*got Dataset"):
        methods.MF(**QUICK).fit(split.dataset)


def test_recommend_gives_the_best_unseen_items_by_outside_ids(named_split):
    data = named_split.dataset
    method = methods.MF(**QUICK).fit(named_split)
    users = data.user_ids[[3, 0]]
    table = method.recommend(users, k=4)
    assert list(table.columns) == ["user", "item", "score", "rank"]
    for position, user in zip((3, 0), users, strict=True):
        rows = table[table["user"] == user]
        everything = method.predict(np.full(data.n_items, position), np.arange(data.n_items))
        everything[named_split.train.items[named_split.train.users == position]] = -np.inf
        best = np.argsort(-everything)[:4]
        assert rows["item"].tolist() == data.item_ids[best].tolist()
        assert rows["rank"].tolist() == [1, 2, 3, 4]
        np.testing.assert_allclose(rows["score"], everything[best], rtol=1e-5, atol=1e-6)


def test_recommend_never_repeats_what_was_rated_and_stops_at_the_last_unseen_item(named_split):
    data = named_split.dataset
    table = methods.MF(**QUICK).fit(named_split).recommend(data.user_ids, k=1000)
    seen = set(zip(data.user_ids[named_split.train.users], data.item_ids[named_split.train.items], strict=True))
    shown = list(zip(table["user"], table["item"], strict=True))
    assert not seen & set(shown)
    assert len(shown) == len(set(shown)) == data.n_users * data.n_items - len(seen)


def test_recommend_refuses_unknown_users_by_name_and_accepts_one_or_none(named_split):
    method = methods.MF(**QUICK).fit(named_split)
    with pytest.raises(ValueError, match=r"1 of 2 ids are not in the training data: 'nobody'"):
        method.recommend([named_split.dataset.user_ids[0], "nobody"])
    with pytest.raises(ValueError, match="k must be a whole number, at least 1"):
        method.recommend(named_split.dataset.user_ids[:1], k=0)
    assert len(method.recommend(named_split.dataset.user_ids[0], k=3)) == 3
    assert len(method.recommend([], k=3)) == 0


def tensors_in(value) -> bool:
    parts = value if isinstance(value, (tuple, list)) else [value, *getattr(value, "__dict__", {}).values()]
    return any(isinstance(part, torch.Tensor) or hasattr(part, "tables") for part in parts)


@pytest.mark.parametrize("name", list(methods.REGISTRY))
def test_a_saved_method_comes_back_whole(suited, tmp_path, made, name):
    split = suited(name)
    method = made(name, seed=2, **QUICK).fit(split)
    method.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded) is type(method)
    assert type(method.model_) is method.model_class
    assert not [key for key, value in vars(method).items() if key.startswith("_") and tensors_in(value)]
    assert loaded.get_params() == method.get_params()
    pairs = split.biased_test.users, split.biased_test.items
    assert np.array_equal(loaded.predict(*pairs), method.predict(*pairs))
    assert loaded.recommend([0, 5]).equals(method.recommend([0, 5]))
    pd.testing.assert_frame_equal(loaded.history_, method.history_)
    assert (loaded.best_epoch_, loaded.stopped_by_) == (method.best_epoch_, method.stopped_by_)


def test_numpy_numbers_are_fine_as_options(split, tmp_path):
    method = methods.MF(seed=np.int64(1), lr=np.float64(0.02), **QUICK)
    method.fit(split, checkpoint=tmp_path).save(tmp_path)
    assert load_model(tmp_path).get_params() == methods.MF(seed=1, lr=0.02, **QUICK).get_params()


def test_outside_ids_and_their_types_survive_saving(named_split, tmp_path):
    method = methods.MF(**QUICK).fit(named_split)
    method.save(tmp_path)
    users = named_split.dataset.user_ids[:2]
    pd.testing.assert_frame_equal(load_model(tmp_path).recommend(users), method.recommend(users))


def test_files_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model\.safetensors does not exist"):
        load_model(tmp_path)
    storage.write(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, {"format": 99})
    with pytest.raises(ValueError, match="has format 99, this version reads format 3"):
        load_model(tmp_path)


def test_presets_are_valid_for_their_methods():
    for name in methods.REGISTRY:
        for data in ("coat", "yahoo_r3"):
            for split in (None, "ltd", "implicit"):
                check_options(methods.make(name, **methods.preset(name, data, split)))
        assert methods.preset(name, "simulated") == {}


def test_no_preset_was_chosen_with_the_test_in_view():
    for name in methods.REGISTRY:
        for data in ("coat", "yahoo_r3"):
            for split in (None, "ltd", "interd", "implicit"):
                assert "test error" not in str(methods.preset_record(name, data, split))


def test_corrected_training_beats_the_naive_one_on_the_default_simulation():
    split = load("simulated").split("interd", 0)
    test = split.uniform_test
    positive = split.dataset.positives(test.ratings)

    def auc(method) -> float:
        return roc_auc_score(positive, method.fit(split).predict(test.users, test.items))

    naive = auc(methods.MF(max_epochs=40, lr=0.03))
    corrected = (
        methods.IPS(max_epochs=40, lr=0.03),
        methods.DR(max_epochs=40, lr=0.03),
        methods.AutoDebias(max_epochs=40),
    )
    for method in corrected:
        assert auc(method) > naive + 0.005, method.name
