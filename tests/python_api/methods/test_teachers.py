"""Teachers are fitted once, also by processes that share a folder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from python_api.methods.click_cases import click_split

import debiasrec
from debiasrec import DebiasRecError, methods
from debiasrec.data import load
from debiasrec.methods.base import Method
from debiasrec.methods.teacher_files import keeping_teachers
from debiasrec.methods.teachers import fitted_teacher

QUICK = {"factors": 2, "max_epochs": 3}


def fresh():
    """The same data in new objects, as another process has them."""
    return load("simulated", n_users=80, n_items=40, density=0.2, uniform_per_user=20).split("interd")


def students():
    teachers = {"biased_teacher": methods.MFCombine(**QUICK), "debiased_teacher": methods.AutoDebias(**QUICK)}
    block = {"batching": "block", "published": True}
    return {"interd": methods.InterD(**QUICK, **teachers), "published": methods.InterD(**QUICK, **block, **teachers)}


@pytest.fixture
def fits(monkeypatch):
    """The names of the methods that were fitted, in order."""
    names, fit = [], Method.fit

    def counted(self, *arguments, **options):
        names.append(self.name)
        return fit(self, *arguments, **options)

    monkeypatch.setattr(Method, "fit", counted)
    return names


def test_a_second_comparison_in_a_folder_fits_no_teacher(fits, tmp_path):
    chosen = {"interd": students()["interd"]}
    once = debiasrec.compare(fresh(), chosen, seeds=1, out=tmp_path)
    assert fits == ["interd", "mf_combine", "autodebias"]
    again = debiasrec.compare(fresh(), chosen, seeds=1, out=tmp_path)
    assert fits[3:] == ["interd"]
    assert again.results.equals(once.results)
    debiasrec.compare(fresh(), chosen, seeds=2, out=tmp_path, resume=True)
    assert fits[4:] == ["interd"]


def test_a_second_search_in_a_folder_fits_no_teacher(fits, tmp_path):
    options = {"max_epochs": 3, "biased_teacher": "mf", "debiased_teacher": "mf_uniform"}
    for _ in range(2):
        debiasrec.tune("interd", fresh(), trials=1, options=options, out=tmp_path)
    assert fits == ["interd", "mf", "mf_uniform", "interd"]


def test_a_comparison_in_another_folder_writes_the_teachers_there_too(fits, tmp_path):
    split, chosen = fresh(), {"interd": students()["interd"]}
    for name in ("one", "two"):
        debiasrec.compare(split, chosen, seeds=1, out=tmp_path / name)
    assert fits == ["interd", "mf_combine", "autodebias", "interd"]
    files = [sorted(file.name for file in (tmp_path / name / "teachers").iterdir()) for name in ("one", "two")]
    assert files[0] == files[1]
    assert len(files[0]) == 2


def test_published_targets_take_no_saved_teacher_as_its_weights_are_not_saved(fits, tmp_path):
    for _ in range(2):
        debiasrec.compare(fresh(), {"published": students()["published"]}, seeds=1, out=tmp_path)
    assert fits == ["interd", "mf_combine", "autodebias", "interd", "autodebias"]


def test_students_of_saved_teachers_of_groups_are_the_same_to_the_bit(fits, tmp_path):
    options = {"base": "deepfm", "groups": 2, "factors": 4, "max_epochs": 1}
    with keeping_teachers(tmp_path):
        first, second = (methods.CausalD(**options).fit(click_split()) for _ in range(2))
    assert fits == ["causald", "deepfm", "deepfm", "causald"]
    for name, table in first.model_.tables().items():
        assert torch.equal(table, second.model_.tables()[name])


def changed_truth(split):
    truth = replace(split.dataset.truth, exposure=split.dataset.truth.exposure / 2)
    return replace(split, dataset=replace(split.dataset, truth=truth))


def changed_rating(split):
    ratings = split.train.ratings.copy()
    ratings[0] = 6 - ratings[0]
    return replace(split, train=replace(split.train, ratings=ratings))


@pytest.mark.parametrize(
    ("option", "change"),
    [
        ({"lr": 0.02}, lambda split: split),
        ({"seed": 1}, lambda split: split),
        ({}, changed_truth),
        ({}, changed_rating),
        ({}, lambda split: replace(split, seed=1)),
        ({}, lambda split: replace(split, uniform_train=split.uniform_train.take(slice(3)))),
    ],
)
def test_another_option_or_other_data_is_another_teacher(fits, tmp_path, option, change):
    teacher = methods.MFCombine(**QUICK)
    with keeping_teachers(tmp_path):
        fitted_teacher(teacher, fresh())
        fitted_teacher(teacher, fresh())
        assert len(fits) == 1
        fitted_teacher(teacher.set_params(**option), change(fresh()))
    assert len(fits) == 2


def test_outside_of_a_folder_nothing_is_written(fits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with keeping_teachers(tmp_path / "out"):
        pass
    with keeping_teachers(None):
        fitted_teacher(methods.MF(**QUICK), fresh())
    fitted_teacher(methods.MF(**QUICK), fresh())
    assert len(fits) == 2
    assert not list(tmp_path.iterdir())


def test_a_damaged_teacher_or_another_one_is_refused_by_name(tmp_path):
    def fit(**options):
        with keeping_teachers(tmp_path):
            return fitted_teacher(methods.MF(**QUICK, **options), fresh())

    fit()
    (path,) = (tmp_path / "teachers").iterdir()
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[-1] ^= 1
    for content in (whole[:-1], bytes(broken)):
        path.write_bytes(content)
        with pytest.raises(DebiasRecError, match=rf"{path.name} is (not a readable file|damaged)"):
            fit()
    path.write_bytes(whole)
    fit(seed=1)
    (other,) = set((tmp_path / "teachers").iterdir()) - {path}
    other.replace(path)
    with pytest.raises(DebiasRecError, match=rf"{path.name} holds another teacher"):
        fit()


def test_a_loaded_teacher_predicts_the_same(tmp_path):
    with keeping_teachers(tmp_path):
        first, second = (fitted_teacher(methods.MF(**QUICK), fresh()) for _ in range(2))
    assert first is not second
    users, items = np.arange(40), np.arange(40)
    assert np.array_equal(first.predict(users, items), second.predict(users, items))
