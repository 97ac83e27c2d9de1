"""Coat and Yahoo! R3: their files, real where a folder with them is set, made up otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from debiasrec.data import DATASETS, load
from debiasrec.errors import DebiasRecError, DebiasRecWarning

PUBLISHER = ("ydata-ymusic-rating-study-v1_0-train.txt", "ydata-ymusic-rating-study-v1_0-test.txt")
COMMA = ("user.txt", "random.txt")


def write_coat(root: Path, train: str = "5 0 1\n0 2 4\n", test: str = "0 3 0\n4 0 0\n") -> Path:
    (root / "train.ascii").write_text(train)
    (root / "test.ascii").write_text(test)
    return root


def write_yahoo(root: Path, files: tuple[str, str], separator: str, first: int, last_line: str = "") -> Path:
    biased, uniform = [(0, 0, 5), (0, 3, 1), (15399, 999, 2)], [(7, 1, 4), (9, 1, 1)]
    for file, rows in zip(files, (biased, uniform), strict=True):
        lines = [separator.join(map(str, (user + first, item + first, rating))) for user, item, rating in rows]
        (root / file).write_text("\n".join(lines) + "\n" + last_line)
    return root


def test_coat_has_the_published_facts(data_root):
    with pytest.warns(DebiasRecWarning, match=r"366 of 4,640 uniform rows are also biased rows \(all with equal"):
        data = load("coat", data_root / "coat")
    assert (data.n_users, data.n_items, len(data.biased), len(data.uniform)) == (290, 300, 6960, 4640)
    assert (np.bincount(data.biased.users) == 24).all()
    assert (np.bincount(data.uniform.users) == 16).all()
    assert data.user_features.shape == (290, 14)
    assert data.item_features.shape == (300, 33)
    assert (data.user_features.sum(axis=1) == 4).all()
    assert (data.item_features.sum(axis=1) == 4).all()
    assert data.given_propensities.shape == (290, 300)
    assert data.given_propensities.mean() == pytest.approx(0.08, abs=5e-5)
    on_train = data.given_propensities[data.biased.users, data.biased.items]
    assert (1 / on_train).sum() == pytest.approx(90_486, abs=1)


def test_coat_without_the_overlap(data_root):
    data = load("coat", data_root / "coat", drop_overlap=True)
    assert (len(data.biased), len(data.uniform)) == (6960, 4640 - 366)
    assert not set(data.biased.pairs(300)) & set(data.uniform.pairs(300))


def test_coat_splits_have_the_published_sizes(data_root):
    with pytest.warns(DebiasRecWarning):
        data = load("coat", data_root / "coat")
    counts = data.split("autodebias").counts().set_index("part")["rows"]
    assert counts.to_dict() == {"train": 6960, "uniform_train": 232, "uniform_validation": 232, "uniform_test": 4176}


def test_yahoo_has_the_published_facts(data_root):
    data = load("yahoo_r3", data_root / "yahoo_r3")
    assert (data.n_users, data.n_items, len(data.biased), len(data.uniform)) == (15400, 1000, 311704, 54000)
    per_user = np.bincount(data.uniform.users, minlength=15400)
    assert (per_user > 0).sum() == 5400
    assert (per_user[per_user > 0] == 10).all()
    assert not np.isin(data.uniform.pairs(1000), data.biased.pairs(1000)).any()
    counts = data.split("autodebias").counts().set_index("part")["rows"]
    assert counts.to_dict() == {
        "train": 311704,
        "uniform_train": 2700,
        "uniform_validation": 2700,
        "uniform_test": 48600,
    }


def test_coat_needs_neither_features_nor_propensities(tmp_path):
    data = load("coat", write_coat(tmp_path))
    assert data.biased.pairs(3).tolist() == [0, 2, 4, 5]
    assert data.uniform.ratings.tolist() == [3, 4]
    assert data.user_features is None
    assert data.given_propensities is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": "5 0 1\n0 2\n"}, r"train\.ascii, line 2: expected 3 numbers, got 2"),
        ({"train": "5 0 1\n0 two 4\n"}, r"train\.ascii, line 2: expected numbers, got '0 two 4'"),
        ({"test": "0 3\n4 0\n"}, r"test\.ascii: expected 2 x 3 numbers, got 2 x 2"),
        ({"test": ""}, r"test\.ascii: expected 2 x 3 numbers, got 0 x 0"),
        ({"train": "7 0 1\n0 2 4\n"}, r"ratings must lie in 1\.\.5, 1 row outside.*\(0, 0, 7\)"),
    ],
)
def test_a_malformed_coat_matrix_is_named_with_its_line(tmp_path, files, message):
    with pytest.raises(DebiasRecError, match=message):
        load("coat", write_coat(tmp_path, **files))


def test_coat_feature_columns_must_agree_with_their_names(tmp_path):
    folder = write_coat(tmp_path) / "user_item_features"
    folder.mkdir()
    (folder / "user_features.ascii").write_text("1 0\n0 1\n")
    (folder / "user_features_map.txt").write_text("gender:men\n")
    with pytest.raises(DebiasRecError, match=r"has 2 columns, user_features_map\.txt names 1"):
        load("coat", tmp_path)


@pytest.mark.parametrize(
    ("files", "separator", "first", "found"),
    [(PUBLISHER, "\t", 1, "publisher's tab-separated"), (COMMA, ",", 0, "comma-separated files, ids from 0")],
)
def test_yahoo_reads_both_layouts_to_the_same_inside_ids_and_says_which(tmp_path, files, separator, first, found):
    data = load("yahoo_r3", write_yahoo(tmp_path, files, separator, first))
    assert data.biased.pairs(1000).tolist() == [0, 3, 15_399_999]
    assert data.uniform.users.tolist() == [7, 9]
    assert data.user_ids[0] == first
    assert data.item_ids[-1] == 999 + first
    assert found in data.notes[0]


@pytest.mark.parametrize(
    ("last_line", "message"),
    [
        ("3,4\n", r"user\.txt, line 4: expected user','item','rating"),
        ("3,4,5,6\n", r"user\.txt, line 4: expected"),
        ("3,four,5\n", r"user\.txt, line 4: expected .* got '3,four,5'"),
        ("3,4,2.5\n", r"user\.txt, line 4: expected"),
        ("\n3,4,5\n", r"user\.txt, line 4: expected .* got ''"),
        ("15400,4,5\n", r"user\.txt, line 4: user must lie in 0\.\.15399, got 15400 \(1 such lines\)"),
        ("3,-1,5\n", r"user\.txt, line 4: item must lie in 0\.\.999, got -1"),
        ("3,99999999999999999999,1\n", r"user\.txt, line 4: expected"),
        ("3,4,0\n", r"user\.txt, line 4: rating must lie in 1\.\.5, got 0"),
    ],
)
def test_a_malformed_yahoo_line_is_named_by_file_and_number(tmp_path, last_line, message):
    root = write_yahoo(tmp_path, COMMA, ",", 0)
    with (root / "user.txt").open("a") as file:
        file.write(last_line)
    with pytest.raises(DebiasRecError, match=message):
        load("yahoo_r3", root)


def test_an_empty_yahoo_file_is_refused(tmp_path):
    root = write_yahoo(tmp_path, COMMA, ",", 0)
    (root / "random.txt").write_text("")
    with pytest.raises(DebiasRecError, match=r"random\.txt is empty"):
        load("yahoo_r3", root)


@pytest.mark.parametrize(
    ("name", "files"), [("coat", ["train.ascii", "test.ascii"]), ("yahoo_r3", [*PUBLISHER, *COMMA])]
)
def test_missing_files_are_listed(tmp_path, name, files):
    (tmp_path / "other.csv").write_text("")
    for root, expected in ((tmp_path, "found other.csv"), (tmp_path / "none", "no folder"), (None, "pass root=")):
        with pytest.raises(DebiasRecError, match=expected) as error:
            load(name, root)
        assert all(re.search(re.escape(file), str(error.value)) for file in files)


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(DebiasRecError, match=r"unknown data set 'yahoo'; did you mean 'yahoo_r3'.*coat, .*simulated"):
        load("yahoo")
    with pytest.raises(DebiasRecError, match="option of data set coat 'drop_overlaps'; did you mean 'drop_overlap'"):
        load("coat", "anywhere", drop_overlaps=True)
    assert set(DATASETS) == {"simulated", "semi_synthetic", "coat", "yahoo_r3", "ml_100k", "ml_1m", "amazon"}
