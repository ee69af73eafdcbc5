"""The loader: the facts that are known of the data, and every way in which files can be wrong."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from recgym.errors import ConfigError, FitError
from recgym.logs import Interactions, read_open_bandit

ROOT = Path(__file__).parent.parent
TINY = Path(__file__).parent / "data" / "open_bandit_tiny"
FULL = Path(os.environ.get("RECGYM_OPEN_BANDIT", ROOT.parent / "shared" / "data" / "open_bandit"))
needs_logs = pytest.mark.skipif(
    not (FULL / "random_all_all.csv.gz").is_file(),
    reason="needs the small release of the Open Bandit Dataset, its folder in the variable RECGYM_OPEN_BANDIT",
)

LOG = "timestamp,item_id,position,click,propensity_score,user_feature_0\n"
ITEMS = "item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n1,0.5,b,c,d\n0,-1,a,c,e\n"
ROW = "2019-11-24 00:00:17.004101+00:00,1,2,0,0.5,u\n"


def write(folder: Path, log: str = LOG + ROW, items: str = ITEMS, policy: str = "random") -> Path:
    """The published layout, one campaign."""
    place = folder / policy / "men"
    place.mkdir(parents=True, exist_ok=True)
    (place / "men.csv").write_text(log)
    (place / "item_context.csv").write_text(items)
    return folder


def read(folder: Path, policies: tuple[str, ...] = ("random",)) -> Interactions:
    return read_open_bandit(folder, "men", policies)


@needs_logs
@pytest.mark.parametrize(
    ("campaign", "policy", "items", "impressions", "clicks"),
    [
        ("all", "random", 80, (3322, 3412, 3266), (13, 14, 11)),
        ("all", "bts", 80, (3362, 3317, 3321), (11, 15, 16)),
        ("men", "random", 34, (3284, 3388, 3328), (10, 22, 14)),
        ("men", "bts", 34, (3339, 3262, 3399), (30, 21, 18)),
        ("women", "random", 46, (3329, 3374, 3297), (15, 15, 16)),
        ("women", "bts", 46, (3288, 3360, 3352), (17, 17, 12)),
    ],
)
def test_known_facts(campaign, policy, items, impressions, clicks):
    logs = read_open_bandit(FULL, campaign, [policy])
    assert len(logs) == 10_000
    assert logs.n_items == items
    shown, clicked = logs.counts()
    assert tuple(shown.sum(axis=0)) == impressions
    assert tuple(clicked.sum(axis=0)) == clicks
    assert logs.timestamp.min() >= np.datetime64("2019-11-24")
    assert logs.timestamp.max() < np.datetime64("2019-12-01")
    if policy == "random":  # a uniform policy over the items, position by position
        np.testing.assert_allclose(logs.propensity, 1 / items)


@needs_logs
def test_policies_follow_each_other_and_share_the_items():
    both, random, bts = (read_open_bandit(FULL, "all", p) for p in (("random", "bts"), ("random",), ("bts",)))
    np.testing.assert_array_equal(both.item, np.r_[random.item, bts.item])
    np.testing.assert_array_equal(both.policy, np.r_[np.zeros(10_000), np.ones(10_000)])
    # The hashes of the two files differ, their levels do not.
    for name, values in random.items.items():
        np.testing.assert_array_equal(values, bts.items[name])
    assert [int(both.items[f"item_feature_{k}"].max()) + 1 for k in (1, 2, 3)] == [12, 21, 7]
    assert abs(both.items["item_feature_0"].mean()) < 1e-6  # standardised
    assert both.items["item_feature_0"][12] == 3.1583352064559223


def test_fixture():
    logs = read_open_bandit(TINY)
    assert len(logs) == 600
    assert logs.n_items == 80
    assert logs.policies == ("random", "bts")
    assert [int(logs.click[logs.policy == k].sum()) for k in (0, 1)] == [38, 42]
    dtypes = [getattr(logs, name).dtype for name in ("timestamp", "item", "position", "click", "propensity", "policy")]
    assert dtypes == [np.dtype(t) for t in ("datetime64[us]", "int32", "int32", "bool", "float64", "int32")]
    assert set(np.unique(logs.position)) == {0, 1, 2}
    contexts = [gzip.decompress((TINY / f"{p}_all_item_context.csv.gz").read_bytes()) for p in logs.policies]
    assert contexts[0] != contexts[1]  # other hashes of the same categories
    assert set(logs.source["sha256"]) == {f"{p}_all_{w}.csv.gz" for p in logs.policies for w in ("all", "item_context")}


def test_one_row_by_hand(tmp_path):
    logs = read(write(tmp_path, items=ITEMS + "2,2,b,e,c\n"))
    row = [getattr(logs, name)[0] for name in ("timestamp", "item", "position", "click", "propensity", "policy")]
    assert row == [np.datetime64("2019-11-24T00:00:17.004101"), 1, 1, False, 0.5, 0]
    # Items in the order of their ids, levels in the order of the items.
    assert {name: values.tolist() for name, values in logs.items.items()} == {
        "item_feature_0": [-1.0, 0.5, 2.0], "item_feature_1": [0, 1, 1], "item_feature_2": [0, 0, 1],
        "item_feature_3": [0, 1, 2],
    }  # fmt: skip
    assert list(logs.source["sha256"]) == ["random/men/men.csv", "random/men/item_context.csv"]


def test_counts_of_selected_rows(tmp_path):
    rows = ROW + ROW.replace(",1,2,0,", ",0,3,1,") + ROW.replace(",1,2,0,", ",1,2,1,")
    logs = read(write(tmp_path, LOG + rows))
    impressions, clicks = logs.counts()
    assert impressions.tolist() == [[0, 0, 1], [0, 2, 0]]
    assert clicks.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert logs.counts(np.array([True, False, False]))[0].tolist() == [[0, 0, 0], [0, 1, 0]]


def test_chunks_do_not_show(tmp_path, monkeypatch):
    whole = read_open_bandit(TINY)
    monkeypatch.setattr("recgym.logs.open_bandit.CHUNK", 7)
    parts = read_open_bandit(TINY)
    for name in ("timestamp", "item", "position", "click", "propensity", "policy"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    log = LOG + ROW * 20 + ROW.replace(",2,0,", ",4,0,")
    with pytest.raises(FitError, match="line 22: position"):
        read(write(tmp_path, log))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",2,0,", ",0,0,", r"men.csv, line 3: position must be 1, 2 or 3, got '0'"),
        (",2,0,", ",4,0,", r"line 3: position must be 1, 2 or 3, got '4'"),
        (",2,0,", ",1.5,0,", r"line 3: position must be 1, 2 or 3, got '1.5'"),
        (",2,0,", ",2,2,", r"line 3: click must be 0 or 1, got '2'"),
        (",2,0,", ",2,,", r"line 3: click must be 0 or 1, got ''"),
        (",1,2,", ",2,2,", r"line 3: item_id must be one of the 2 items of the item context, got '2'"),
        (",1,2,", ",-1,2,", r"line 3: item_id must be one of the 2 items"),
        (",0.5,", ",0,", r"line 3: propensity_score must be in \(0, 1\], got '0'"),
        (",0.5,", ",1.01,", r"line 3: propensity_score must be in \(0, 1\], got '1.01'"),
        (",0.5,", ",nan,", r"line 3: propensity_score must be in \(0, 1\], got 'nan'"),
        ("2019-11-24", "2019-13-24", r"line 3: timestamp must be an ISO 8601 time in UTC, got '2019-13-24 .*'"),
        ("+00:00", "+09:00", r"line 3: timestamp must be an ISO 8601 time in UTC"),
        ("2019-11-24 00:00:17.004101+00:00", "noon", r"line 3: timestamp must be an ISO 8601 time in UTC, got 'noon'"),
        (",2,0,0.5,u", "", r"men.csv, line 3: has 2 fields, and the header 6"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(tmp_path, old, new, message):
    assert old in ROW
    with pytest.raises(FitError, match=message):
        read(write(tmp_path, LOG + ROW + ROW.replace(old, new)))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (ITEMS.replace("item_feature_2", "colour"), "item_context.csv: lacks the columns item_feature_2; needed are"),
        (ITEMS.replace("0,-1", "1,-1"), "item_context.csv: item_id must name each item from 0 to 1 once"),
        (ITEMS.replace("0,-1", "2,-1"), r"line 3: item_id must be a whole number in \[0, 2\), got '2'"),
        (ITEMS.replace("0,-1", "0,inf"), "line 3: item_feature_0 must be a finite number, got 'inf'"),
        (ITEMS.splitlines()[0], "item_context.csv: has no rows"),
    ],
)
def test_wrong_item_context_is_named(tmp_path, items, message):
    with pytest.raises(FitError, match=message):
        read(write(tmp_path, items=items))


def test_missing_columns_and_rows(tmp_path):
    with pytest.raises(FitError, match=r"men.csv: lacks the columns click, propensity_score; needed are timestamp"):
        read(write(tmp_path, "timestamp,item_id,position\n"))
    with pytest.raises(FitError, match=r"men.csv: lacks the columns timestamp"):
        read(write(tmp_path, ""))
    with pytest.raises(FitError, match=r"men.csv: has no rows"):
        read(write(tmp_path, LOG))


def test_missing_files_say_what_is_expected(tmp_path):
    with pytest.raises(FitError, match=r"item context of policy 'bts' and campaign 'men'; expected one of bts_men_"):
        read(write(tmp_path), ("random", "bts"))
    (tmp_path / "random" / "men" / "men.csv").unlink()
    with pytest.raises(FitError, match=r"no log of .*expected one of random_men_men.csv.gz, .*random/men/men.csv$"):
        read(tmp_path)


def test_unreadable_files(tmp_path):
    folder = write(tmp_path)
    (folder / "random_men_men.csv.gz").write_bytes(gzip.compress(b"x" * 1000)[:-20])
    with pytest.raises(FitError, match=r"random_men_men.csv.gz: cannot be read"):
        read(folder)
    (folder / "random_men_men.csv.gz").write_bytes(b"plain text")
    with pytest.raises(FitError, match=r"random_men_men.csv.gz: cannot be read"):
        read(folder)
    (folder / "random_men_men.csv.gz").unlink()
    (folder / "random" / "men" / "men.csv").write_bytes(LOG.encode() + b"\xff\xfe\n")
    with pytest.raises(FitError, match=r"men.csv: cannot be read"):
        read(folder)


def test_policies_must_agree_on_the_items(tmp_path):
    write(tmp_path)
    renamed = ITEMS.replace(",a,", ",z,").replace(",b,", ",y,")  # another salt of the same hash
    assert len(read(write(tmp_path, items=renamed, policy="bts"), ("random", "bts"))) == 2
    merged = ITEMS.replace(",b,", ",a,")
    with pytest.raises(FitError, match="item_feature_1 contradicts the item context of policy 'random'"):
        read(write(tmp_path, items=merged, policy="bts"), ("random", "bts"))
    with pytest.raises(FitError, match="item_feature_0 contradicts"):
        read(write(tmp_path, items=ITEMS.replace("0.5", "0.6"), policy="bts"), ("random", "bts"))


def test_unknown_names_get_the_nearest():
    with pytest.raises(ConfigError, match=r"campaign: .*Did you mean 'women'"):
        read_open_bandit(TINY, "wmen")
    with pytest.raises(ConfigError, match=r"policies: .*Did you mean 'random'"):
        read_open_bandit(TINY, policies=["randm"])
    for policies in ([], ["bts", "bts"], "bts"):
        with pytest.raises(ConfigError, match="policies: must be a list of names"):
            read_open_bandit(TINY, policies=policies)


def table(**changes) -> Interactions:
    columns = dict(
        timestamp=np.array(["2020-01-01", "2020-01-02"], "datetime64[us]"), item=np.array([0, 1], np.int32),
        position=np.array([0, 0], np.int32), click=np.array([True, False]), propensity=np.array([0.5, 1.0]),
        policy=np.zeros(2, np.int32), policies=("mine",), n_items=2, n_positions=1, items={"price": np.ones(2)},
    )  # fmt: skip
    return Interactions(**(columns | changes))  # type: ignore[arg-type]


def test_a_table_checks_itself():
    assert len(table()) == 2
    for change, message in [
        (dict(click=np.array([True])), "click: must have the 2 rows of item, got 1"),
        (dict(item=np.array([0, 2])), r"item: must lie in \[0, 2\), got 0 to 2"),
        (dict(position=np.array([-1, 0])), r"position: must lie in \[0, 1\)"),
        (dict(policy=np.array([0, 1])), r"policy: must lie in \[0, 1\)"),
        (dict(propensity=np.array([0.0, 1.0])), r"propensity: must lie in \(0, 1\]"),
        (dict(items={"price": np.ones(3)}), r"items\['price'\]: must have shape \(2,\)"),
    ]:
        with pytest.raises(FitError, match=message):
            table(**change)


def test_what_other_programs_write_is_read(tmp_path):
    """A byte-order mark, Z for UTC, empty lines, Windows' ends of lines: none of it changes what the file says."""
    plain = read(write(tmp_path / "plain"))
    log = "\ufeff" + LOG + "\n" + ROW.replace("+00:00", "Z") + "\n\n"
    other = read(write(tmp_path / "other", log.replace("\n", "\r\n"), "\ufeff" + ITEMS + "\n"))
    for name in ("timestamp", "item", "position", "click", "propensity"):
        assert np.array_equal(getattr(plain, name), getattr(other, name))


@pytest.mark.parametrize(("old", "new", "message"), [
    (",1,2,", ",1_0,2,", r"line 4: item_id .* got '1_0'"),
    (",1,2,", ",\u0661,2,", "line 4: item_id"),
    (",0.5,", ",0x1,", "line 4: propensity_score"),
    (",0.5,", ",1e400,", "line 4: propensity_score"),
    (",2,0,", ",2," + "9" * 500 + ",", r"line 4: click .*\.\.\."),
    (",u\n", ",u,v\n", "line 4: has 7 fields, and the header 6"),
    ("17.004101", "17.0041012", "line 4: timestamp"),
    ("2019", "\u0662\u0660\u0661\u0669", "line 4: timestamp"),
    ("+00:00", "", None),
])  # fmt: skip
def test_lines_are_counted_as_an_editor_does(tmp_path, old, new, message):
    folder = write(tmp_path, LOG + ROW + "\n" + ROW.replace(old, new))
    if message is None:
        assert len(read(folder)) == 2
        return
    with pytest.raises(FitError, match=message):
        read(folder)


def test_a_column_that_is_there_twice(tmp_path):
    with pytest.raises(FitError, match="click twice"):
        read(write(tmp_path, LOG.replace("user_feature_0", "click") + ROW))
