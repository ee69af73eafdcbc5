"""Readers of logs: files of exactly the published schemas, and every way in which files can be wrong."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recgym.__main__ import main
from recgym.errors import ConfigError, FitError, OptionError, RecgymError
from recgym.logs import READERS, Clock, Logs, read, read_open_bandit, register_reader
from recgym.logs.fold import folded
from recgym.logs.ledger import Ledger
from recgym.logs.privacy import hashed
from recgym.logs.text import Text

pl = pytest.importorskip("polars")

from log_files import EVENTS, ITEMS, ROWS, START, USERS, VISITS, WRITERS, events, movielens, write, zipped  # noqa: E402
from test_logs import FULL, TINY, needs_logs  # noqa: E402

OURS = {
    name: reader for name, reader in READERS.items() if reader.__module__.startswith("recgym.")
}  # others are of other tests
HEADER = "user,item,time,click\n"
ROW = "u1,i1,2024-01-01 10:00:00,1\n"


def rows(n: int) -> str:
    """Good rows, times a minute apart."""
    start = datetime(2024, 1, 1)
    return "".join(f"u{k % 3},i{k % 5},{start + timedelta(minutes=k)},{k % 2}\n" for k in range(n))


def csv(folder: Path, content: str | bytes, name: str = "a.csv", **how: Any) -> Logs:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read("csv", file, keep_ids=True, **how)


def as_written(logs: Logs, *columns: str) -> list[tuple[Any, ...]]:
    """Rows with ids in the place of codes."""
    frame = logs.events.with_columns(
        user=pl.Series(logs.users["id"]).gather(logs.events["user"]),
        item=pl.Series(logs.items["id"]).gather(logs.events["item"]),
    )
    return frame.select(columns).rows()


def attribute(logs: Logs, table: str, id: str, name: str) -> Any:
    frame = getattr(logs, table)
    return frame.filter(pl.col("id") == id)[name].item()


# ---- all formats


@pytest.mark.parametrize("format", [name for name in WRITERS if name != "open-bandit"])
def test_what_was_written_is_read(tmp_path, format):
    """Every row, user, item, click and time of the files, by the ids that they have there."""
    path, options = write(format, tmp_path)
    logs = read(format, path, keep_ids=True, **options)
    of_sessions = format in ("uci-eshop", "yoochoose")  # a session is a user there
    assert logs.n_users == (USERS * VISITS if of_sessions else USERS)
    assert logs.n_items == ITEMS
    extra = 1 if format == "kuailive" else 0  # a gift without a visit
    assert len(logs) == EVENTS + extra
    assert logs.dropped == {}
    if format != "vk-lsvd":
        assert logs.n_sessions == USERS * VISITS
    prefix = {"csv": ("c", "p"), "mind": ("U", "N"), "uci-eshop": ("", "A")}.get(format, ("", ""))
    found = {
        (user[len(prefix[0]) :], item[len(prefix[1]) :], time)
        for user, item, time in as_written(logs, "user", "item", "time")
    }
    expected = set()
    for e in events():
        user = str(e["user"] * 10 + e["visit"]) if of_sessions else str(e["user"])
        expected.add(
            (user, str(e["item"]), e["time"] - timedelta(minutes=e["k"]) if format in ("csv", "mind") else e["time"])
        )
    if format in ("vk-lsvd", "uci-eshop", "yambda", "kuairec", "yoochoose"):  # times of their own, below
        found, expected = {pair[:2] for pair in found}, {pair[:2] for pair in expected}
    assert found - expected == ({("1", "1", START - timedelta(seconds=1))} if extra else set())
    assert expected <= found
    clicks = logs.events["click"].sum()
    alone = {"tsv", "movielens", "recbole", "uci-eshop", "retailrocket", "yoochoose", "otto"}
    assert logs.impressions == (format not in alone)
    assert clicks == (EVENTS if format in alone else EVENTS // 3 + extra + (format == "yambda"))
    assert json.loads(json.dumps(logs.source))["format"] == format
    for name, digest in logs.source["files"].items():
        assert re.fullmatch(r"[0-9a-f]{64}", digest), name
    logs.save(tmp_path / "kept")
    assert Logs.load(tmp_path / "kept").events.equals(logs.events, null_equal=True)


def test_all_readers_have_files():
    assert set(WRITERS) == set(OURS)


@pytest.mark.parametrize(
    "format", ["kuairand", "mind", "movielens", "recbole", "uci-eshop", "retailrocket", "kuailive"]
)
def test_gzipped_files_are_the_same(tmp_path, format):
    plain, options = write(format, tmp_path / "plain")
    path, _ = write(format, tmp_path / "zipped")
    for file in list(path.rglob("*.*")):
        zipped(file)
    a, b = (read(format, p, keep_ids=True, **options) for p in (plain, path))
    for name in ("events", "items", "users"):
        assert getattr(a, name).equals(getattr(b, name), null_equal=True)


def test_ids_are_hashed_unless_they_are_to_be_kept(tmp_path):
    path, _ = write("csv", tmp_path)
    kept, salted, again, random_salt, other = (
        read("csv", path, **how)
        for how in ({"keep_ids": True}, {"salt": "s"}, {"salt": "s"}, {}, {})  # type: ignore[arg-type]
    )
    assert salted.users["id"].to_list() == list(hashed(kept.users["id"].to_list(), "s"))
    assert salted.items["id"].to_list() == again.items["id"].to_list()
    assert random_salt.users["id"].to_list() != other.users["id"].to_list()
    for logs in (kept, salted, random_salt):  # codes say nothing of ids, and are the same
        assert logs.events.equals(kept.events, null_equal=True)
    text = json.dumps([salted.source, random_salt.source])
    assert "salt" in text
    assert '"s"' not in text
    assert "as in the files" in kept.describe()


def test_the_hash_is_that_of_salt_and_id():
    import hashlib

    assert list(hashed(["c1", "ü"], "pepper")) == [
        hashlib.sha256(f"pepper{id}".encode()).hexdigest()[:16] for id in ("c1", "ü")
    ]


# ---- data sets


def test_open_bandit_counts_are_those_of_the_strict_reader():
    logs, old = read("open-bandit", TINY, keep_ids=True), read_open_bandit(TINY)
    check_open_bandit(logs, old)
    assert logs.source["files"] == old.source["sha256"]
    assert "session" in logs.missing()


@needs_logs
def test_open_bandit_counts_of_the_real_files():
    for campaign in ("all", "men", "women"):
        check_open_bandit(read("open-bandit", FULL, campaign=campaign), read_open_bandit(FULL, campaign))


def check_open_bandit(logs: Logs, old: Any) -> None:
    assert len(logs) == len(old) == logs.n_users
    assert logs.n_items == old.n_items
    cells = logs.events.group_by("item", "position").agg(pl.len(), pl.col("click").sum())
    impressions, clicks = np.zeros((2, old.n_items, 3))
    index = cells["item"].to_numpy(), cells["position"].to_numpy()
    impressions[index], clicks[index] = cells["len"].to_numpy(), cells["click"].to_numpy()
    for ours, theirs in zip((impressions, clicks), old.counts(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name, values in old.items.items():
        np.testing.assert_array_equal(logs.items[name].to_numpy(), values)
    order = np.argsort(old.timestamp, kind="stable")
    np.testing.assert_array_equal(logs.events["propensity"].to_numpy(), old.propensity[order])
    np.testing.assert_array_equal(logs.events["time"].dt.replace_time_zone(None).to_numpy(), old.timestamp[order])
    assert logs.events["policy"].cast(pl.String).to_list() == [old.policies[k] for k in old.policy[order]]


def test_open_bandit_is_strict(tmp_path):
    with pytest.raises(FitError, match="holds no item context of policy 'random'"):
        read("open-bandit", tmp_path)
    with pytest.raises(ConfigError, match=r"campaign: .*Did you mean 'women'"):
        read("open-bandit", TINY, campaign="wmen")


def test_mind(tmp_path):
    path, _ = write("mind", tmp_path)
    logs = read("mind", path, keep_ids=True)
    assert logs.n_slates == EVENTS // ROWS
    assert not logs.has("position")
    assert attribute(logs, "items", "N3", "topic") == "sports"
    assert attribute(logs, "items", "N3", "title") == 'The "3'
    # Several parts, whose impressions have the same numbers.
    for part in ("MINDsmall_train", "MINDsmall_dev"):
        write("mind", tmp_path / "both" / part)
    both = read("mind", tmp_path / "both", keep_ids=True, duplicates="keep")
    assert (both.n_slates, len(both)) == (2 * EVENTS // ROWS, 2 * EVENTS)
    (path / "behaviors.tsv").write_text("1\tU1\t11/15/2019 8:55:22 AM\t\tN1-0 N2 N3-2\n")
    with pytest.raises(FitError, match=r"line 1: impressions must be news ids with -1 or -0 for a click, got 'N2'"):
        read("mind", path)


def test_kuairand(tmp_path):
    path, _ = write("kuairand", tmp_path)
    logs = read("kuairand", path, keep_ids=True)
    assert set(as_written(logs, "policy", "click", "share", "dwell")) <= {
        (p, c, c, 5.0 if c else 0.0) for p in ("random", "standard 1") for c in (True, False)
    }
    assert (logs.events["policy"].cast(pl.String) == "random").sum() == EVENTS // VISITS
    assert (attribute(logs, "items", "1", "topic"), attribute(logs, "items", "2", "topic")) == ("12", None)
    assert attribute(logs, "users", "1", "follow_user_num_range") == "(0,10]"


def test_kuairec(tmp_path):
    path, _ = write("kuairec", tmp_path)
    logs = read("kuairec", path, keep_ids=True)
    assert set(as_written(logs, "click", "dwell")) == {(True, 8.0), (False, 2.0)}
    assert logs.events["time"].dt.millisecond().unique().to_list() == [438]
    assert attribute(logs, "items", "4", "topic") == "4"
    assert len(read("kuairec", path, matrix="small")) == EVENTS // 2
    (path / "big_matrix.csv").write_text((path / "big_matrix.csv").read_text().replace(".438,1.2\n", ".438,1.2\n", 1))
    text = (path / "big_matrix.csv").read_text().splitlines()
    text[3] = re.sub(r"\d+\.438", "", text[3])
    (path / "big_matrix.csv").write_text("\n".join(text))
    with pytest.raises(FitError, match=r"big_matrix.csv, line 4: time must be given, got ''"):
        read("kuairec", path)
    assert read("kuairec", path, tolerance=0.05).dropped == {"time must be given": 1}


def test_kuailive(tmp_path):
    path, _ = write("kuailive", tmp_path)
    logs = read("kuailive", path, keep_ids=True)
    gifts = [row for row in as_written(logs, "user", "item", "gift", "like", "click") if row[2]]
    assert gifts == [("1", "1", 88.0, False, True), ("1", "1", 5.0, True, True)]
    assert logs.source["of their own"] == {"gift": 1}
    assert attribute(logs, "items", "1", "topic") == "Relationship"
    rooms = read("kuailive", path, keep_ids=True, item="room")
    assert attribute(rooms, "items", "101", "topic") == "shop"
    (path / "negative.csv").unlink()
    assert not read("kuailive", path).impressions
    for file in path.glob("*.csv"):  # an earlier release
        file.write_text(file.read_text().replace("streamer_id", "author_id"))
    (path / "streamer.csv").rename(path / "author.csv")
    assert attribute(read("kuailive", path, keep_ids=True), "items", "1", "topic") == "Relationship"


def test_vk_lsvd(tmp_path):
    path, _ = write("vk-lsvd", tmp_path)
    logs = read("vk-lsvd", path, keep_ids=True)
    week = timedelta(days=7)
    times = dict(zip([(e["user"], e["item"]) for e in events()], range(EVENTS), strict=False))
    assert len(times) < EVENTS
    zero = datetime(1970, 1, 1, tzinfo=UTC)
    expected = sorted(
        zero + (k // (EVENTS // 2)) * week + (k % (EVENTS // 2)) / (EVENTS // 2) * week for k in range(EVENTS)
    )
    assert sorted(time for (time,) in as_written(logs, "time")) == [
        pytest.approx(t, abs=timedelta(milliseconds=1))
        for t in expected  # type: ignore[arg-type]
    ]
    assert not logs.has("session")
    assert "topic" in logs.missing()
    assert (attribute(logs, "items", "1", "duration"), attribute(logs, "users", "1", "age")) == (20, 30)
    for file in (path / "metadata").iterdir():
        file.unlink()
    assert not read("vk-lsvd", path).has("click")  # nothing says how long a video is


def test_yambda(tmp_path):
    path, _ = write("yambda", tmp_path)
    logs = read("yambda", path, keep_ids=True)
    liked = [row for row in as_written(logs, "user", "item", "dwell", "policy", "click", "like") if row[-1]]
    assert liked == [("1", "2", 40.0, "recommended", True, True)]
    assert logs.span is not None
    assert logs.span[0] == datetime(1970, 1, 1, tzinfo=UTC)
    listens = pl.read_parquet(path / "listens.parquet").with_columns(event_type=pl.lit("listen"))
    more = listens[:2].with_columns(pl.Series("event_type", ["like", "dislike"]), pl.col("timestamp") + 5)
    pl.concat([listens, more]).write_parquet(path / "multi_event.parquet")
    together = read("yambda", path, keep_ids=True)
    assert together.events["like"].sum() == 1
    assert together.dropped == {"an event that is neither listen nor like is left out": 1}


@pytest.mark.parametrize("release", ["latest", "1m", "100k"])
def test_movielens(tmp_path, release):
    movielens(tmp_path, release)
    logs = read("movielens", tmp_path, keep_ids=True)
    assert (len(logs), logs.n_users, logs.n_items) == (EVENTS, USERS, ITEMS)
    assert attribute(logs, "items", "1", "title") == "Misérables, Les (1995)"
    assert (attribute(logs, "items", "1", "topic"), attribute(logs, "items", "1", "genres")) == (
        "Drama",
        "Drama|Musical",
    )
    if release != "latest":
        assert attribute(logs, "users", "3", "zip") in ("03067", "03711")
    first = as_written(logs, "user", "item", "rating", "time")[0]
    assert first == ("1", "1", 1.0, START)


def test_recbole(tmp_path):
    path, _ = write("recbole", tmp_path)
    logs = read("recbole", path, keep_ids=True)
    assert logs.vectors("items", "embedding_") == ["embedding_0", "embedding_1", "embedding_2"]
    assert [attribute(logs, "items", "2", f"embedding_{k}") for k in range(3)] == pytest.approx([2.5, -1.0, 0.002])
    assert (attribute(logs, "items", "1", "topic"), attribute(logs, "items", "1", "movie_title")) == ("Drama", 'The "1')
    assert attribute(logs, "users", "1", "zip_code") == "01711"
    file = path / "ml-tiny.inter"
    assert len(read("recbole", file, columns={"dwell": "rating"})) == EVENTS
    text = file.read_text()
    file.write_text(text.replace("rating:float", "label:float").replace("user_id", "uid"))
    file.write_text(re.sub(r"\t[2-5](\t\d+)$", r"\t0\1", file.read_text(), flags=re.MULTILINE))
    labelled = read("recbole", path)
    assert labelled.impressions
    assert labelled.events["click"].sum() == -(-EVENTS // 5)
    for header, message in [
        ("rating:floats", r"line 1: a column must be name:type, with a type of \['token', .*got 'rating:floats'"),
        ("rating", "line 1: a column must be name:type"),
    ]:
        file.write_text(text.replace("rating:float", header))
        with pytest.raises(FitError, match=message):
            read("recbole", path)
    file.write_text(text.replace("timestamp:float", "when:float"))
    with pytest.raises(FitError, match="no column has a usual name for time; say which one it is"):
        read("recbole", path)
    assert len(read("recbole", path, columns={"time": "when"})) == EVENTS
    (path / "other.inter").write_text(text)
    with pytest.raises(FitError, match=r"must hold one file .inter, got \['ml-tiny.inter', 'other.inter'\]"):
        read("recbole", path)


def test_uci_eshop(tmp_path):
    path, _ = write("uci-eshop", tmp_path)
    logs = read("uci-eshop", path, keep_ids=True)
    first = as_written(logs, "user", "item", "time", "position", "price")[0]
    assert first == ("10", "A1", datetime(2008, 4, 1, tzinfo=UTC), 0, 21.0)
    assert as_written(logs, "time")[1] == (datetime(2008, 4, 1, 0, 0, 1, tzinfo=UTC),)
    assert (attribute(logs, "items", "A1", "topic"), attribute(logs, "users", "10", "country")) == ("2", 29)
    file = path / "e-shop clothing 2008.csv"
    file.write_text(file.read_text().replace("2008;4;1;2;", "2008;4;31;2;", 1))
    with pytest.raises(FitError, match=r"line 3: year, month, day and order must be a day .* got '2008;4;31;2'"):
        read("uci-eshop", path)
    file.write_text(file.read_text().replace(";", ","))
    with pytest.raises(FitError, match=r"line 1: has one field by the delimiter ';'; ',' gives 14"):
        read("uci-eshop", path)


def test_retailrocket_yoochoose_and_otto(tmp_path):
    path, _ = write("retailrocket", tmp_path / "r")
    logs = read("retailrocket", path, keep_ids=True)
    assert logs.events["cart"].sum() == logs.events["purchase"].sum() == EVENTS // 3
    assert attribute(logs, "items", "1", "topic") == "339"  # the last one
    path, _ = write("yoochoose", tmp_path / "y")
    logs = read("yoochoose", path, keep_ids=True)
    assert logs.events["purchase"].sum() == EVENTS // 3
    assert (attribute(logs, "items", "1", "topic"), attribute(logs, "items", "2", "topic")) == ("S", None)
    assert set(logs.items["price"]) <= {12462.0, None}
    path, _ = write("otto", tmp_path / "o")
    file = path / "otto-recsys-train.jsonl"
    assert read("otto", file, sessions=1).n_users == 1
    for line in ("{", '{"session": 1}', '{"session": 1, "events": [{"aid": 1, "ts": "x", "type": "clicks"}]}',
                 '{"session": 1, "events": [{"aid": 1, "ts": 1, "type": "views"}]}', "[" * 100_000):  # fmt: skip
        file.write_text(file.read_text().splitlines()[0] + "\n" + line)
        with pytest.raises(
            FitError, match=r"otto-recsys-train.jsonl, line 2: must be a session with events of aid, ts and type"
        ):
            read("otto", file)


# ---- plain tables


def test_csv_by_hand(tmp_path):
    text = (
        "who,what,when,slot,shown_in,seen,sort,old\n"
        "b,y,2024-01-02 00:00:30,2,s,no,hats,17\na,x,2024-01-01 00:00:00,1,t,yes,,\nb,x,2024-01-02 00:00:00,1,s,1,shoes,18\n"
    )
    columns = {"user": "who", "item": "what", "time": "when", "click": "seen", "slate": "shown_in", "item.topic": "sort",
               "user.age": "old"}  # fmt: skip
    logs = csv(tmp_path, text, columns=columns)
    assert as_written(logs, "user", "item", "session", "slate", "position", "click") == [
        ("a", "x", 0, 0, 0, True), ("b", "x", 1, 1, 0, True), ("b", "y", 1, 1, 1, False)
    ]  # fmt: skip
    assert logs.users["id"].to_list() == ["a", "b"]  # in the order of their first events
    assert logs.events["time"].to_list()[1:] == [datetime(2024, 1, 2, tzinfo=UTC)] * 2  # that of the slate
    assert (attribute(logs, "items", "x", "topic"), attribute(logs, "users", "b", "age")) == ("shoes", 17)
    assert logs.source["guessed"] == {"position": "slot"}
    assert not logs.source.get("unused")
    assert logs.source["columns"]["user"] == "who"
    assert not csv(tmp_path, text, columns=columns | {"position": ""}).has("position")


def test_guesses_are_said(tmp_path):
    path, _ = write("csv", tmp_path)
    logs = read("csv", path)
    assert logs.source["guessed"]["user"] == "customer_id"
    assert "user = customer_id, item = product_id, time = ts" in logs.describe()
    assert logs.source["unused"] == ["note"]
    assert logs.source["position"] == "counted from 1 in the file"


def test_columns_that_are_not_there(tmp_path):
    text = "customer_id,product_id,ts\n1,2,3\n"
    for columns, message in [
        ({"usr": "customer_id"}, "columns: got 'usr'. Did you mean 'user'"),
        (
            {"user": "custmer_id"},
            r"columns\['user'\]: a.csv has no such column: got 'custmer_id'. Did you mean 'customer_id'",
        ),
        ({"item.": "ts"}, "columns: got 'item.'"),
        ({"item.id": "ts"}, "columns: got 'item.id'"),
        ({"user": 1}, r"columns\['user'\]: must be a name, got 1"),
        ("user=a", "columns: must be names"),
    ]:
        with pytest.raises(ConfigError, match=message):
            csv(tmp_path, text, columns=columns)
    with pytest.raises(
        FitError, match=r"no column has a usual name for item; say which one it is, columns=\{'item': ...\}"
    ):
        csv(tmp_path, "customer_id,thing,ts\n1,2,3\n")
    with pytest.raises(ConfigError, match="columns: the format movielens has columns of its own"):
        read("movielens", tmp_path, columns={"user": "u"})


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["1704103200", "1704103260.5"], "seconds since 1970"),
        (["1704103200000", "1704103260500"], "milliseconds since 1970"),
        (["1704103200000000", "1704103260500000"], "microseconds since 1970"),
        (["1704103200000000000", "1704103260500000000"], "nanoseconds since 1970"),
        (["1.7041032e9", "1.7041032605e9"], "seconds since 1970"),
        (["2024-01-01 10:00:00", "2024-01-01 10:01:00.5"], "like '2024-01-31 13:45:00'"),
        (["2024-01-01T10:00:00Z", "2024-01-01T10:01:00.500000Z"], "like '2024-01-31T13:45:00'"),
        (["2024-01-01T10:00:00+00:00", "2024-01-01T10:01:00.5+00:00"], None),
        (["2024-01-01T12:00:00+02:00", "2024-01-01T05:01:00.5-05:00"], None),
    ],
)
def test_times(tmp_path, texts, unit):
    logs = csv(tmp_path, "user,item,time\n" + "".join(f"u,i,{text}\n" for text in texts))
    start = datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert logs.events["time"].to_list() == [start, start + timedelta(seconds=60.5)]
    assert unit is None or unit in logs.source["time"]


@pytest.mark.parametrize(
    ("text", "how", "time"),
    [
        ("2024-01-31", {}, datetime(2024, 1, 31)), ("20240131", {}, datetime(2024, 1, 31)), ("2024/01/31", {}, datetime(2024, 1, 31)),
        ("31.01.2024 13:45:10", {}, datetime(2024, 1, 31, 13, 45, 10)), ("2024-01-31 13:45", {}, datetime(2024, 1, 31, 13, 45)),
        ("1/31/2024 1:45:10 PM", {}, datetime(2024, 1, 31, 13, 45, 10)),
        ("Jan 31 2024", {"time": "%b %d %Y"}, datetime(2024, 1, 31)), ("60", {"time": "ms"}, datetime(1970, 1, 1, 0, 0, 0, 60_000)),
    ],
)  # fmt: skip
def test_more_times(tmp_path, text, how, time):
    logs = csv(tmp_path, f"user,item,time\nu,i,{text}\n", **how)
    assert logs.events["time"].to_list() == [time.replace(tzinfo=UTC)]


def test_a_clock_keeps_to_what_it_found(tmp_path):
    clock = Clock()
    assert clock.texts(pl.Series(["2024-01-31", None])).to_list() == [1_706_659_200_000_000, None]
    assert clock.texts(pl.Series(["1706659200", "2024-02-30"])).null_count() == 2


def test_events_by_name_are_joined(tmp_path):
    text = (
        "visitor,product,ts,event_type,price\n"
        "a,x,100,view,5\na,y,110,view,7\na,x,200,addtocart,\na,x,300,purchase,5\nb,x,100,purchase,4\na,x,90000,view,5\n"
    )
    logs = csv(tmp_path, text)
    assert as_written(logs, "user", "item", "click", "cart", "purchase") == [
        ("a", "x", True, True, True), ("a", "y", True, False, False), ("a", "x", True, False, False), ("b", "x", True, False, True),
    ]  # fmt: skip
    assert not logs.impressions
    assert "of their own, for lack of one: 1 purchase" in logs.source["events"]
    with_shown = text.replace("b,x,100,purchase,4", "b,x,90,impression,4\nb,y,90,impression,4\nb,x,100,click,4")
    shown = csv(tmp_path, with_shown)
    assert shown.impressions
    assert ("b", "y", False) in as_written(shown, "user", "item", "click")
    assert ("b", "x", True) in as_written(shown, "user", "item", "click")
    odd = text.replace("addtocart", "hover")
    with pytest.raises(FitError, match=r"line 4: event must be one that is known .* got 'hover'"):
        csv(tmp_path, odd)
    assert csv(tmp_path, odd, events={"Hover": None}).dropped == {"event was to be left out": 1}
    assert csv(tmp_path, odd, events={"hover": "cart"}).events["cart"].sum() == 1
    with pytest.raises(ConfigError, match=r"events\['hover'\]: must be one of"):
        csv(tmp_path, odd, events={"hover": "bought"})
    with pytest.raises(ConfigError, match="events: needs a column 'event'"):
        csv(tmp_path, HEADER + ROW, events={"hover": "cart"})


def test_folding_leaves_out_what_is_too_old():
    minute = 60_000_000
    frame = pl.DataFrame(
        {"user": ["a"] * 4, "item": ["x"] * 4, "time": [0, 29 * minute, 31 * minute, 100 * minute], "kind": ["click", "cart", "purchase", "cart"]}
    )  # fmt: skip
    done, alone = folded(frame, 30)
    assert done.sort("time").select("time", "cart", "purchase").rows() == [
        (0, True, False), (31 * minute, False, True), (100 * minute, True, False),
    ]  # fmt: skip
    assert alone == {"cart": 1, "purchase": 1}


def test_attributes_from_files_of_their_own(tmp_path):
    (tmp_path / "items.csv").write_text(
        "item,category,price,title,empty\ni1,a,1.5,007,\ni2,b,2,x,\ni9,c,3,y,\ni1,z,9,z,\n"
    )
    pl.DataFrame({"id": ["u1"], "age": [30], "tags": [["a"]]}).write_parquet(tmp_path / "users.parquet")
    logs = csv(tmp_path, HEADER + ROW, items=tmp_path / "items.csv", users=tmp_path / "users.parquet")
    assert logs.items.select("id", "topic", "price").rows() == [("i1", "a", 1.5), ("i2", "b", 2.0), ("i9", "c", 3.0)]
    assert logs.users.columns == ["user", "id", "age"]
    assert logs.dropped == {"has an id that an earlier row has": 1}
    assert set(logs.source["files"]) == {"a.csv", "items.csv", "users.parquet"}
    with pytest.raises(FitError, match=r"items: .*nowhere.csv is not there"):
        csv(tmp_path, HEADER + ROW, items=tmp_path / "nowhere.csv")
    (tmp_path / "items.csv").write_text("thing,price\nx,1\n")
    with pytest.raises(FitError, match=r"items.csv: has no column 'item' with the ids of items"):
        csv(tmp_path, HEADER + ROW, items=tmp_path / "items.csv")


def test_scales(tmp_path):
    text = "user,item,time,play_time_ms\nu,i,1,1500\n"
    assert csv(tmp_path, text).events["dwell"].item() == 1.5
    assert csv(tmp_path, text, scale={"dwell": 2}).events["dwell"].item() == 3000
    for scale in ({"dwell": 0}, {"price": 1.0}, {"dwell": True}):
        with pytest.raises(ConfigError, match="scale"):
            csv(tmp_path, text, scale=scale)


def test_delimiters(tmp_path):
    for delimiter in ",;\t|":
        assert len(csv(tmp_path, (HEADER + ROW).replace(",", delimiter))) == 1
    with pytest.raises(FitError, match=r"a.csv, line 1: has one field by the delimiter ';'; ',' gives 4"):
        csv(tmp_path, HEADER + ROW, delimiter=";")
    with pytest.raises(FitError, match=r"a.csv, line 1: no delimiter of .* splits it, got 'user:item:time'"):
        csv(tmp_path, "user:item:time\n1:2:3\n")
    (tmp_path / "a.tsv").write_text(HEADER + ROW)
    with pytest.raises(FitError, match=r"by the delimiter '\\t'; ',' gives 4"):
        read("tsv", tmp_path / "a.tsv")


def test_parquet_types(tmp_path):
    file = tmp_path / "a.parquet"

    def made(**columns: Any) -> Logs:
        base: dict[str, Any] = {
            "user": [1, 2],
            "item": ["x", "y"],
            "time": [datetime(2024, 1, 1), datetime(2024, 1, 2)],
        }
        pl.DataFrame(base | columns).write_parquet(file)
        return read("parquet", file, keep_ids=True)

    assert made().users["id"].to_list() == ["1", "2"]
    assert made(user=[1.0, 2.0]).users["id"].to_list() == ["1", "2"]
    assert made(time=[1_704_067_200_000, 1_704_153_600_000]).events["time"].equals(made().events["time"])
    assert made(time=pl.Series(["2024-01-01", "2024-01-02"]).str.to_date()).events["time"].equals(made().events["time"])
    zone = pl.Series([datetime(2024, 1, 1, 1), datetime(2024, 1, 2, 1)]).dt.replace_time_zone("Europe/Paris")
    assert made(time=zone).events["time"].equals(made().events["time"])
    assert made(click=[1, 0]).events["click"].to_list() == [True, False]
    assert made(price=[1, None]).events["price"].to_list() == [1.0, None]
    assert made(price=[1.0, float("nan")]).events["price"].to_list() == [1.0, None]
    for columns, message in [
        (dict(user=[1.5, 2.0]), r"a.parquet, line 1: user must be text or a whole number, got 1.5"),
        (dict(user=[1, None]), r"a.parquet, line 2: user must be given, got nothing"),
        (dict(click=[1, 2]), r"line 2: click must be 0 or 1, true or false, yes or no, got 2"),
        (dict(price=[1.0, float("inf")]), "line 2: price must be a finite number, not negative, got inf"),
        (dict(propensity=[0.0, 1.0]), r"line 1: propensity must be a number in \(0, 1\], got 0.0"),
        (dict(price=[[1], [2]]), "the column 'price' must have plain values, got List"),
        (dict(time=[True, False]), "line 1: time must be a time"),
    ]:
        with pytest.raises(FitError, match=message):
            made(**columns)
    file.write_bytes(b"PAR1 nonsense")
    with pytest.raises(FitError, match=r"a.parquet must be a Parquet file"):
        read("parquet", file)
    pl.DataFrame({"user": [], "item": [], "time": []}).write_parquet(file)
    with pytest.raises(FitError, match=r"a.parquet: has no rows"):
        read("parquet", file)


# ---- what is wrong


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u1,i1,noon,1", r"time must be a time \(like '2024-01-31 13:45:00'\), 1970 to 2261, got 'noon'"),
        ("u1,i1,2024-02-30 10:00:00,1", "time must be a time"),
        ("u1,i1,1969-12-31 10:00:00,1", "time must be a time"),
        ("u1,i1,,1", "time must be given, got ''|time must be given, got nothing"),
        (",i1,2024-01-01 10:00:00,1", "user must be given"),
        ("u1,NULL,2024-01-01 10:00:00,1", "item must be given, got 'NULL'"),
        ("u1,i1,2024-01-01 10:00:00,2", "click must be 0 or 1, true or false, yes or no, got '2'"),
        ("u1,i1,2024-01-01 10:00:00", r"must have 4 fields, got "),
        ("u1,i1,2024-01-01 10:00:00,1,5", r"must have 4 fields, got "),
        ('u1,i1,2024-01-01 10:00:00,"1",', r"must have 4 fields, got "),
        ("u1,i\0,2024-01-01 10:00:00,1", "must not have a NUL character"),
        ("u" * 2000 + ",i1,2024-01-01 10:00:00,1", r"user must be at most 1,024 bytes, got 'uuu.*\.\.\."),
    ],
)
def test_wrong_rows_are_named_counted_and_left_out(tmp_path, row, message):
    text = HEADER + rows(300) + row + "\n" + rows(2).replace("2024", "2025")
    with pytest.raises(
        FitError, match=f"a.csv, line 302: ({message}).* 1 of 303 rows .0.33%. cannot be used, and tolerance is 0.00%"
    ):
        csv(tmp_path, text, tolerance=0)
    logs = csv(tmp_path, text)
    assert len(logs) == 302
    (problem,) = logs.problems
    assert (problem.file, problem.line) == ("a.csv", 302)
    assert logs.dropped == {problem.rule: 1}
    assert f"1: {problem.rule}" in logs.describe()


def test_latin_1_is_found_out(tmp_path):
    text = HEADER + rows(10) + "José,i1,2024-01-01 10:00:00,1\n"
    with pytest.raises(FitError, match=r"a.csv, line 12: must be utf-8 \(encoding=... reads others\), got 'Jos.*,i1"):
        csv(tmp_path, text.encode("latin-1"))
    logs = csv(tmp_path, text.encode("latin-1"), encoding="latin-1")
    assert "José" in logs.users["id"]
    for encoding in ("latin1x", "utf-16", "rot13", 5, "utf-7"):
        with pytest.raises(ConfigError, match="encoding: must be"):
            csv(tmp_path, text, encoding=encoding)


def test_a_row_counts_once_and_the_first_rows_are_shown(tmp_path):
    text = HEADER + rows(10) + ",,noon,7\n" * 30
    with pytest.raises(
        FitError, match=r"line 12: user must be .*line 13: .*line 14: .*; and 27 more. 30 of 40 rows \(75.00%\)"
    ):
        csv(tmp_path, text)
    logs = csv(tmp_path, text, tolerance=1)
    assert logs.dropped == {"user must be given": 30}
    assert len(logs.problems) == 20
    with pytest.raises(FitError, match=r"line 2: user must be given.*; no row can be used"):
        csv(tmp_path, HEADER + ",,noon,7\n" * 30, tolerance=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.csv: is empty"),
        (b"\n\n  \n", "a.csv: is empty"),
        (b"\xef\xbb\xbf", "a.csv: is empty"),
        (HEADER.encode(), "a.csv: has no rows after the first line"),
        (HEADER.encode() + b"\n\n", "a.csv: has no rows after the first line"),
        (b"user,item,time,user\n1,2,3,4\n", "a.csv, line 1: has the column 'user' twice"),
        (b"user,item,,time\n1,2,3,4\n", "a.csv, line 1: has a column without a name"),
        ((HEADER + ROW).encode("utf-16"), "a.csv: must be text in utf-8, plain or gzipped, got UTF-16"),
        (b"PK\x03\x04rest", "got a zip archive"),
        (b"\x28\xb5\x2f\xfdrest", "got compressed by zstd"),
        (b"PAR1rest", "got Parquet"),
        (gzip.compress((HEADER + rows(5000)).encode(), mtime=0)[:-300], "a.csv, line .* or after: the file is torn"),
        (gzip.compress(b"x" * 10, mtime=0)[:12], "a.csv, line 1 or after: the file is torn"),
        ((HEADER + ROW + '"' + "x" * 200_000).encode(), r"a.csv, line 3: cannot be split into fields: field larger than .*is a quote not closed"),
        ((HEADER + ROW + "u,i," + "9" * 200_000 + ",1\n").encode(), "a.csv, line 3: cannot be split into fields: field larger"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path, content, message):
    with pytest.raises(FitError, match=message):
        csv(tmp_path, content)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FitError, match=r"nowhere.csv: is not there"):
        read("csv", tmp_path / "nowhere.csv")
    (tmp_path / "a.csv.gz").write_text(HEADER + ROW)
    with pytest.raises(FitError, match=r"a.csv.gz: must be gzipped, as its name says"):
        read("csv", tmp_path / "a.csv.gz")
    with pytest.raises(FitError, match="cannot be read: Is a directory"):
        read("csv", tmp_path)
    for format in sorted(set(OURS) - {"csv", "tsv", "parquet", "open-bandit"}):
        with pytest.raises(FitError, match=r"holds no .* got \['a.csv.gz'\]"):
            read(format, tmp_path)


def test_a_column_of_a_data_set_is_missing(tmp_path):
    path, _ = write("movielens", tmp_path)
    file = path / "ratings.csv"
    file.write_text(file.read_text().replace("movieId", "movieID"))
    with pytest.raises(
        FitError, match=r"ratings.csv: lacks the column 'movieId': got 'movieId'. Did you mean 'movieID'"
    ):
        read("movielens", path)


def test_what_other_programs_write_is_read(tmp_path):
    """A byte-order mark, ends of lines of Windows and of old Macs, empty lines, quotes, blanks, none of it changes what is there."""
    plain = csv(tmp_path, HEADER + rows(20))
    text = HEADER + rows(20)
    quoted = "".join(",".join(f'"{value}"' for value in line.split(",")) + "\n" for line in text.splitlines())
    for other in (
        b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode(), text.replace("\n", "\r").encode(), text.rstrip().encode(),
        text.replace("\n", "\n\n").encode(), quoted.encode(), quoted.replace("\n", "\r\n").encode(), gzip.compress(text.encode(), mtime=0),
        b"\xef\xbb\xbf" + quoted.encode(), text.replace(",", " , ").encode(), ("\xa0" + text).replace("\xa0", "").encode(),
        quoted.replace('"time"', '"time"', 1).replace('"click"\n', '"click"\n\n', 1).encode(),
    ):  # fmt: skip
        found = csv(tmp_path, other)
        assert found.events.equals(plain.events, null_equal=True), other[:60]
        assert found.users.equals(plain.users)
        assert found.dropped == {}


def test_fields_of_several_lines(tmp_path):
    text = 'user,item,time,query\nu1,i1,1,"red\nshoes, ""new"""\nu1,i2,2,plain\nu1,i3,noon,x\nu1,i4,4,"a\n'
    with pytest.raises(FitError, match=r"a.csv, line 5: time must be a time"):
        csv(tmp_path, text)
    logs = csv(tmp_path, text, tolerance=1)
    assert logs.events["query"].to_list() == ['red\nshoes, "new"', "plain", "a"]


def test_order_and_duplicates(tmp_path):
    lines = rows(40).splitlines()
    random.Random(0).shuffle(lines)
    shuffled = csv(tmp_path, HEADER + "\n".join(lines))
    assert shuffled.events.equals(csv(tmp_path, HEADER + rows(40)).events)
    text = HEADER + rows(40) + rows(3) + rows(1).replace(",0\n", ",1\n")
    logs = csv(tmp_path, text)
    assert len(logs) == 41  # the last one differs in its click
    assert logs.dropped == {"is like an earlier row in every column": 3}
    assert [(p.file, p.line) for p in logs.problems] == [("a.csv", 42), ("a.csv", 43), ("a.csv", 44)]
    kept = csv(tmp_path, text, duplicates="keep")
    assert (len(kept), kept.dropped) == (44, {})


def test_sessions(tmp_path):
    minute = 60
    times = [0, 10 * minute, 39 * minute, 70 * minute]
    text = "user,item,time\n" + "".join(f"u,i{t},{t + 1_700_000_000}\n" for t in times)
    assert csv(tmp_path, text).events["session"].to_list() == [0, 0, 0, 1]
    assert csv(tmp_path, text, session_gap=9.99).n_sessions == 4
    assert csv(tmp_path, text, session_gap=31).n_sessions == 1
    text = "user,item,time,session\nu,a,100,x\nu,b,300,x\nu,c,200,y\nu,d,400,z\nv,e,100,x\nu,f,500,\nu,g,600,\n"
    logs = csv(tmp_path, text)
    assert [row[1:] for row in as_written(logs, "user", "item", "session")] == [
        ("a", 0), ("c", 0), ("b", 0), ("d", 1), ("f", 2), ("g", 3), ("e", 4)
    ]  # fmt: skip
    assert "1 that overlapped" in logs.source["sessions"]


def test_slates_without_a_number_are_of_one_row(tmp_path):
    text = "user,item,time,slate_id\nu,a,100,1\nu,b,101,1\nu,c,102,\nu,d,102,\nv,e,100,1\n"
    logs = csv(tmp_path, text)
    assert logs.events["slate"].to_list() == [0, 0, 1, 2, 3]


# ---- blocks


def split(file: Path, quoting: bool = True) -> tuple[list[tuple[Any, ...]], Ledger]:
    ledger = Ledger()
    text = Text(file, file.name, quoting=quoting)
    blocks = list(text.blocks(text.columns, ledger))
    return [row for block in blocks for row in block.with_columns(pl.col(pl.String).fill_null("")).rows()], ledger


def odd_lines(rng: random.Random) -> str:
    """A file of three columns of which some lines are not as they should be."""
    fields: list[Callable[[], str]] = [
        lambda: str(rng.randrange(1000)), lambda: "", lambda: '"a b"', lambda: '"x,y"', lambda: '"say ""hi"""', lambda: "é", lambda: '5" x',
    ]  # fmt: skip
    weights = [20, 3, *(rng.choice([0, 1]) for _ in range(5))]
    width = lambda: rng.choices([3, 2, 4, 1], [60, *(rng.choice([0, 1]) for _ in range(3))])[0]  # noqa: E731
    end = rng.choice(["\n", "\r\n"])
    lines = [
        ",".join(field() for field in rng.choices(fields, weights, k=width())) for _ in range(rng.randrange(1, 40))
    ]
    return "a,b,c" + end + end.join(lines) + rng.choice(["", end])


def test_splitting_fast_and_slow_is_the_same(tmp_path, monkeypatch):
    """Blocks of all sizes, by polars where it may and by Python's csv throughout: the same rows, lines and problems."""
    file, real, fast = tmp_path / "a.csv", Text._split, 0

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal fast
        found = real(*given, **more)
        fast += found is not None
        return found

    for seed in range(150):
        rng = random.Random(seed)
        file.write_bytes(odd_lines(rng).encode())
        results = []
        for block, by_polars in ((2**24, True), (2**24, False), (rng.randrange(30, 200), True)):
            with monkeypatch.context() as patch:
                patch.setattr("recgym.logs.text.BLOCK", block)
                patch.setattr(Text, "_split", counted if by_polars else lambda *_, **__: None)
                try:
                    found, ledger = split(file)
                    results.append((found, ledger.read, ledger.dropped, ledger.problems))
                except FitError as error:
                    results.append(str(error))
        assert results[0] == results[1] == results[2], seed
    assert fast > 30


def test_lines_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("recgym.logs.text.BLOCK", 64)
    text = HEADER + rows(50) + "u,i,noon,1\n" + rows(20) + "u,i,never,1\n"
    logs = csv(tmp_path, text, tolerance=0.5, duplicates="keep")
    assert [problem.line for problem in logs.problems] == [52, 73]
    assert len(logs) == 70


# ---- whatever the bytes are


@pytest.mark.parametrize("format", sorted(set(WRITERS) - {"open-bandit"}))
def test_torn_and_changed_files_get_errors_of_ours(tmp_path, format):
    """An error of recgym's, or a table that is valid; never another exception."""
    path, options = write(format, tmp_path / "data")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    contents = {file: file.read_bytes() for file in files}
    rng, refused = random.Random(len(format)), 0
    for _ in range(12):
        file = rng.choice(files)
        content = bytearray(contents[file])
        how = rng.randrange(5)
        if how == 0:
            content = content[: rng.randrange(len(content) + 1)]
        elif how == 1:
            content = content.replace(
                rng.choice([b"\n", b",", b"\t", b"1", b"-"]), rng.choice([b"", b"\0", b'"', b"\xff", b"\r"]), 3
            )
        else:
            for _ in range(rng.choice([1, 5, 50])):
                if content:
                    content[rng.randrange(len(content))] = rng.choice([0, 10, 13, 34, 44, 59, 255, rng.randrange(256)])
        file.write_bytes(content)
        try:
            assert len(read(format, path, tolerance=rng.choice([0.01, 1.0]), **options)) > 0
        except RecgymError:
            refused += 1
        file.write_bytes(contents[file])
    assert refused


# ---- arguments, the registry, the command line


def test_arguments(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(HEADER + ROW)
    for how, message in [
        (dict(session_gap=0), "session_gap: must be a number"), (dict(tolerance=1.5), "tolerance: must be a number in"),
        (dict(salt=""), "salt: must be text"), (dict(keep_ids=1), "keep_ids: must be True or False"),
        (dict(duplicates="maybe"), "duplicates: got 'maybe'"), (dict(impressions=1.5), "impressions: must be True, False or None"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            read("csv", file, **how)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"format: got 'cvs'. Did you mean 'csv'"):
        read("cvs", file)
    with pytest.raises(OptionError, match=r"'delimeter'. Did you mean 'delimiter'"):
        read("csv", file, delimeter=";")
    with pytest.raises(ConfigError, match="path: must be a path"):
        read("csv", 5)  # type: ignore[arg-type]


def test_the_registry_takes_new_names_alone():
    for name in ("csv", "Mine", "", "a b"):
        with pytest.raises(ConfigError, match="format: must be"):
            register_reader(name, READERS["csv"])
    with pytest.raises(ConfigError, match="reader: must be a function"):
        register_reader("mine", None)  # type: ignore[arg-type]


def test_every_reader_says_where_its_schema_is_published():
    for name, reader in OURS.items():
        assert len(reader.__doc__ or "") > 100 or name == "tsv", name


def test_the_page_names_every_format_and_its_reader_works(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "concepts" / "logs.md").read_text()
    first = re.findall(r"^\| (`[^|]*`) \|", page.partition("## Reading")[2], re.MULTILINE)
    assert {name for cell in first for name in re.findall(r"`([\w-]+)`", cell)} == set(OURS)
    (snippet,) = re.findall(r"```python\n(import polars.*?)```", page, re.DOTALL)
    (tmp_path / "book.txt").write_text("anna tea 3\nbob tea 4\n")
    READERS.pop("notebook", None)
    try:
        exec(snippet, {"__name__": "snippet"})
        logs = read("notebook", tmp_path / "book.txt", keep_ids=True, year=2023)
    finally:
        READERS.pop("notebook", None)
    assert as_written(logs, "user", "time")[1] == ("bob", datetime(2023, 1, 5, tzinfo=UTC))


def test_the_command_line(tmp_path, capsys):
    path, _ = write("csv", tmp_path / "in")
    out = tmp_path / "out"
    arguments = [
        "read",
        "csv",
        str(path),
        "--columns",
        "user=customer_id,item=product_id",
        "--salt",
        "s",
        "-o",
        str(out),
    ]
    assert main([*arguments, "--session-gap", "5", "--tolerance", "0.1", "--option", "delimiter=,"]) == 0
    printed = capsys.readouterr().out
    assert "derived: a new one after 5 minutes" in printed
    assert "Logs.load" in printed
    logs = Logs.load(out)
    assert logs.users["id"].to_list() == read("csv", path, salt="s").users["id"].to_list()
    assert main([*arguments, "--keep-ids"]) == 0  # in the place of the first
    assert Logs.load(out).users["id"][0] == "c1"
    capsys.readouterr()
    (tmp_path / "bad.csv").write_text(HEADER + "u,i,noon,1\n")
    before = sorted(out.iterdir())
    for wrong, message in [
        (["read", "csv", str(tmp_path / "bad.csv"), "-o", str(out)], "bad.csv, line 2: time must be a time"),
        (["read", "csv", str(path), "-o", str(tmp_path)], "output: must not be there, be empty, or hold a table"),
        (["read", "csv", str(path), "--columns", "user"], "columns: must be NAME=VALUE, got 'user'"),
        (["read", "csv", str(path), "--option", "salt=1"], "option: must be of the format"),
        (["read", "csv", str(path), "--option", "encodin=1"], "Did you mean 'encoding'"),
        (["read", "cvs", str(path)], "Did you mean 'csv'"),
    ]:
        assert main(wrong) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert sorted(out.iterdir()) == before


def test_nothing_is_loaded_before_it_is_needed(tmp_path):
    code = "import sys, recgym, recgym.logs; assert not {'polars', 'pandas', 'pyarrow'} & sys.modules.keys()"
    path, _ = write("csv", tmp_path)
    code += f"; recgym.logs.read('csv', {str(path)!r}); assert 'pandas' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = "import sys; sys.modules['polars'] = None\nimport recgym.logs\nrecgym.logs.read('csv', '.')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'needs polars; pip install "recgym[logs]"' in done.stderr


def test_how_fast_logs_are_read(tmp_path):
    from benchmarks.logs import main as measured

    measured([str(tmp_path / "out.json"), "--rows", "20000"])
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["rows"], found["file_bytes"] > 900_000) == (20_000, True)
    assert {"seconds", "cpu_seconds", "rows_per_second", "peak_bytes", "users", "items", "cpus"} <= found.keys()
