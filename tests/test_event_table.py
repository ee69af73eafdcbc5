"""The event table: what it refuses, what it says of itself, and that it comes back from disk as it went."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recgym.errors import ConfigError, FitError, RecgymError
from recgym.logs import COLUMNS, Logs, Problem
from recgym.logs.table import CONSEQUENCES, dtypes

pl = pytest.importorskip("polars")

START = datetime(2024, 1, 1, tzinfo=UTC)
DOC = Path(__file__).parents[1] / "docs" / "concepts" / "logs.md"


def events(**changes) -> pl.DataFrame:
    """Two users, three sessions, four slates of two rows; every column is there."""
    minutes = [0, 0, 1, 1, 90, 90, 5, 5]
    data = dict(
        user=[0, 0, 0, 0, 0, 0, 1, 1], item=[0, 1, 2, 0, 1, 2, 0, 2], time=[START + timedelta(minutes=m) for m in minutes],
        session=[0, 0, 0, 0, 1, 1, 2, 2], slate=[0, 0, 1, 1, 2, 2, 3, 3], position=[0, 1] * 4, propensity=[0.5, 0.25] * 4,
        policy=["old", "old", "new", "new"] * 2, click=[True, False] * 4, cart=[True, False, False, False] * 2,
        purchase=[False] * 8, like=[None, True] * 4, share=[False] * 8, dwell=[1.5, None] * 4, gift=[0.0] * 8,
        price=[2.0, 3.0, 4.0, 2.5, 3.0, 4.0, 2.0, 4.0], rating=[5.0, -1.0] * 4, query=["shoes", None] * 4,
    )  # fmt: skip
    data |= changes
    return pl.DataFrame({n: pl.Series(n, v, dtypes()[n]) for n, v in data.items() if v is not None})


def items(**more) -> pl.DataFrame:
    return pl.DataFrame({"item": pl.Series(range(3), dtype=pl.UInt32), "id": ["a", "b", "c"], **more})


def users(**more) -> pl.DataFrame:
    return pl.DataFrame({"user": pl.Series(range(2), dtype=pl.UInt32), "id": ["u", "v"], **more})


def table(**changes) -> Logs:
    given = dict(events=events(), items=items(), users=users())
    return Logs(**(given | changes))  # type: ignore[arg-type]


def test_what_a_table_knows_of_itself():
    logs = table()
    assert (len(logs), logs.n_users, logs.n_items, logs.n_sessions, logs.n_slates) == (8, 2, 3, 3, 4)
    assert logs.columns == tuple(COLUMNS)
    assert logs.has("click", "dwell")
    assert logs.span == (START, START + timedelta(minutes=90))
    few = table(events=events().select("user", "item", "time"))
    assert (few.n_sessions, few.n_slates) == (0, 8)
    assert not few.has("click")
    with pytest.raises(ConfigError, match=r"column: got 'clicks'. Did you mean 'click'"):
        few.has("clicks")


def test_an_empty_table_is_one():
    logs = Logs(events().clear(), items().clear(), users().clear())
    assert (len(logs), logs.n_sessions, logs.n_slates, logs.span) == (0, 0, 0, None)
    assert logs.describe().startswith("rows")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(user=[0, 0, 0, 0, 0, 0, 1, 2]), r"events.user: must be in \[0, 2\); row 7 has user 2"),
        (dict(item=[3, 1, 2, 0, 1, 2, 0, 2]), r"events.item: must be in \[0, 3\); row 0 has item 3"),
        (dict(propensity=[0.5, 0.0] * 4), r"events.propensity: must be in \(0, 1\]; row 1 has propensity 0.0"),
        (dict(propensity=[0.5, 1.01] * 4), r"events.propensity: must be in \(0, 1\]"),
        (dict(propensity=[0.5, float("nan")] * 4), r"events.propensity: must be in \(0, 1\]"),
        (dict(dwell=[1.0, -0.5] * 4), "events.dwell: must be a finite number, not negative; row 1 has dwell -0.5"),
        (dict(price=[1.0, float("inf")] * 4), "events.price: must be a finite number"),
        (dict(rating=[1.0, float("nan")] * 4), "events.rating: must be a finite number; row 1"),
        (dict(gift=[-1.0] * 8), "events.gift: must be"),
        (dict(user=[1, 1, 0, 0, 0, 0, 1, 1]), "must be sorted by user, time, slate, position; row 2 has user 0"),
        (dict(position=[1, 0] * 4), "must be sorted by user, time, slate, position; row 1"),
        (dict(session=[0, 0, 0, 0, 1, 1, 1, 1]), "a session must have rows of one user; row 6 has session 1"),
        (dict(session=[1, 1, 0, 0, 2, 2, 3, 3]), "events.session: must be numbered in the order of the rows; row 2"),
        (dict(slate=[0, 0, 1, 1, 2, 2, 2, 2]), "a slate must have rows of one user and session and time; row 6"),
        (dict(slate=[0, 0, 0, 0, 1, 1, 2, 2], position=[0, 1, 2, 3, 0, 1, 0, 1]), "a slate must have rows of one .* time"),
        (dict(session=[0, None] * 4), "events.session: must be given in every row, got 4 nulls"),
        (dict(time=[None] + [START] * 7), "events.time: must be given in every row, got 1 nulls"),
    ],
)  # fmt: skip
def test_events_that_break_a_rule(changes, message):
    with pytest.raises(FitError, match=message):
        table(events=events(**changes))


def test_columns_of_events():
    with pytest.raises(FitError, match="must have the columns user, item, time; lacks time"):
        table(events=events().drop("time"))
    with pytest.raises(FitError, match=r"no known name, got 'clik'. Did you mean 'click'"):
        table(events=events().rename({"click": "clik"}))
    with pytest.raises(FitError, match=r"events.click: must be of dtype Boolean, got Int64"):
        table(events=events().with_columns(pl.col("click").cast(pl.Int64)))
    with pytest.raises(FitError, match=r"events.time: must be of dtype Datetime.*UTC"):
        table(events=events().with_columns(pl.col("time").dt.replace_time_zone(None)))
    with pytest.raises(FitError, match=r"events: must be a polars.DataFrame, got dict"):
        table(events={})
    for dtype in (pl.Categorical, pl.Enum(["new", "old"])):
        assert len(table(events=events().with_columns(pl.col("policy").cast(dtype)))) == 8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (dict(id=["a", "a", "c"]), "items.id: must be text in every row, no two alike, got 'a'"),
        (dict(id=["a", None, "c"]), "items.id: must be text in every row, no two alike, got String with 1 nulls"),
        (dict(item=pl.Series([0, 2, 1], dtype=pl.UInt32)), "items.item: must be the UInt32 numbers 0, 1, 2"),
        (dict(item=pl.Series([0, 1, 2], dtype=pl.Int64)), "items.item: must be the UInt32 numbers"),
        (dict(price=[1.0, -1.0, 2.0]), "items.price: must be a number that is not negative"),
        (dict(price=["1", "2", "3"]), "items.price: must be a number"),
        (dict(topic=[0.5, 1.0, 2.0]), "items.topic: must be text or whole numbers, got Float64"),
        (dict(size=[1.0, float("nan"), None]), "items.size: must hold finite numbers"),
        (dict(tags=[["a"], ["b"], []]), "items.tags: must be a plain column, got List"),
        (dict(embedding_0=[1.0, 2.0, 3.0], embedding_2=[0.0] * 3), "a vector must be embedding_0, embedding_1"),
        (dict(embedding_0=[1.0, None, 3.0]), "items.embedding_0: must be a number in every row"),
    ],
)
def test_items_that_break_a_rule(more, message):
    with pytest.raises(FitError, match=message):
        table(items=items(**more))


def test_the_rest_of_a_table():
    with pytest.raises(FitError, match="users: must begin with the columns user and id"):
        table(users=users().select("id", "user"))
    with pytest.raises(FitError, match="users: the columns of a vector must be profile_0"):
        table(users=users(profile_1=[1.0, 2.0]))
    for source in ({"a": object()}, {"a": float("nan")}, {1: 2}, {"a": "\ud800"}, ["a"]):
        with pytest.raises(FitError, match="source: must be a dictionary of plain JSON values"):
            table(source=source)
    for dropped in ({"rule": 0}, {"rule": True}, {1: 2}, []):
        with pytest.raises(FitError, match="dropped: must be counts by rule"):
            table(dropped=dropped)
    with pytest.raises(FitError, match="problems: must be a tuple of Problem"):
        table(problems=(("a", 1, "b", "c"),))
    with pytest.raises(FitError, match="impressions: must be True or False, got 1"):
        table(impressions=1)


def test_what_is_missing_is_said_with_what_it_makes_impossible():
    whole = table(items=items(topic=["x", "y", "x"]))
    assert whole.missing() == {}
    assert "Not logged" not in whole.describe()
    bare = table(events=events().select("user", "item", "time"), impressions=False)
    gone = {"changes of price", "returns"}  # of columns that are not there at all
    assert bare.missing() == {name: text for name, text in CONSEQUENCES.items() if name not in gone}
    text = bare.describe()
    assert "interactions alone" in text
    for name, consequence in bare.missing().items():
        assert re.search(rf"^{name} +{re.escape(consequence)}$", text, re.MULTILINE)
    once = table(events=events(session=[0] * 6 + [1] * 2, price=[2.0, 3.0, 4.0, 2.0, 3.0, 4.0, 2.0, 4.0]))
    assert {"returns", "changes of price"} <= once.missing().keys()
    fixed = table(events=events().drop("price"), items=items(price=[1.0, 2.0, 3.0]))
    assert "changes of price" in fixed.missing()
    assert "price" not in fixed.missing()


def test_describe_is_one_table():
    logs = table(
        items=items(topic=["x", "y", "x"], embedding_0=[0.0] * 3, embedding_1=[1.0] * 3), users=users(age=["18", "24"]),
        source={"guessed": {"user": "customer_id"}, "privacy": "hashed", "sessions": "derived", "click": "of a kind", "unused": ["a", "b"]},
        dropped={"time must be given": 2},
    )  # fmt: skip
    text = logs.describe()
    for line in (
        r"rows +8, items shown, taken or not", r"users +2", r"items +3",
        r"time +2024-01-01 00:00:00 to 2024-01-01 01:30:00 UTC, 0.1 days", r"sessions +3, 2.7 rows each, derived",
        r"slates +4, 2.0 rows each", r"click +50.000% of 8", r"like +100.000% of 4, not recorded in 50.00% of rows",
        r"policy +2 different: new, old", r"dwell +mean 1.5, 1.5 to 1.5, not recorded in 50.00% of rows", r"position +0 to 1",
        r"of items +topic, a vector of 2", r"of users +age", r"guessed +user = customer_id", r"ids +hashed", r"noted +click: of a kind", r" +columns that are not read: a, b",
        r"left out +2 of 10 rows \(20.000%\)", r" +2: time must be given",
    ):  # fmt: skip
        assert re.search(rf"^{line}$", text, re.MULTILINE), (line, text)


def same(a: Logs, b: Logs) -> bool:
    frames = all(getattr(a, name).equals(getattr(b, name), null_equal=True) for name in ("events", "items", "users"))
    plain = ("impressions", "source", "problems", "dropped")
    return frames and all(getattr(a, name) == getattr(b, name) for name in plain)


def test_there_and_back(tmp_path):
    logs = table(
        impressions=False, source={"name": "ä", "files": {"a.csv": "00"}}, dropped={"r": 1},
        problems=(Problem("a.csv", 3, "must be", "'x'"),), items=items(topic=["x", None, "y"], price=[1.0, 2.0, None]),
    )  # fmt: skip
    logs.save(tmp_path / "deep" / "logs")
    assert same(Logs.load(tmp_path / "deep" / "logs"), logs)
    enum = table(events=events().with_columns(pl.col("policy").cast(pl.Enum(["new", "old"]))))
    enum.save(tmp_path / "deep" / "logs")  # in the place of the first, whose files are gone
    assert same(Logs.load(tmp_path / "deep" / "logs"), enum)
    assert len(os.listdir(tmp_path / "deep" / "logs")) == 4


def test_places_that_hold_something_else(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    for name in ("file", "other"):
        with pytest.raises(ConfigError, match="output: "):
            table().save(tmp_path / name)
    assert os.listdir(tmp_path / "other") == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    table().save(tmp_path / "empty")
    assert len(Logs.load(tmp_path / "empty")) == 8


def test_a_save_that_fails_leaves_the_table_before(tmp_path, monkeypatch):
    first = table()
    first.save(tmp_path)

    def torn(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("recgym.logs.table.write_atomically", torn)
        with pytest.raises(OSError, match="No space"):
            table(events=events(purchase=[True] * 8)).save(tmp_path)
    assert same(Logs.load(tmp_path), first)


def manifest(folder: Path, **changes) -> None:
    path = folder / "logs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(format=2), "must be the manifest of a table of format 1"),
        (dict(more=1), "must be the manifest"),
        (dict(tables={}), "must name three tables"),
        (dict(problems=[{"file": "a"}]), "must list problems"),
        (dict(problems=[{"file": "a", "line": "1", "rule": "b", "value": "c"}]), "must list problems"),
        (dict(source=None), "source: must be a dictionary"),
        (dict(dropped={"a": -1}), "dropped: must be counts"),
    ],
)
def test_manifests_that_are_none(tmp_path, changes, message):
    table().save(tmp_path)
    manifest(tmp_path, **changes)
    with pytest.raises((ConfigError, FitError), match=message):
        Logs.load(tmp_path)


def test_entries_point_into_the_folder_and_tell_the_truth(tmp_path):
    table().save(tmp_path)
    good = json.loads((tmp_path / "logs.json").read_text())["tables"]
    for change in (
        dict(file="../events-0123456789abcdef.parquet"), dict(file=good["items"]["file"]), dict(sha256="0" * 64),
        dict(rows=9), dict(rows="8"), dict(file="events-0123456789abcdef.parquet"),
    ):  # fmt: skip
        manifest(tmp_path, tables=good | {"events": good["events"] | change})
        with pytest.raises(ConfigError, match="logs: "):
            Logs.load(tmp_path)
    manifest(tmp_path, tables=good)
    assert len(Logs.load(tmp_path)) == 8
    with pytest.raises(ConfigError, match="cannot be read"):
        Logs.load(tmp_path / "nowhere")


def forged(folder: Path, name: str, content: bytes, rows: int) -> None:
    """Put other content in the place of a table, with a digest that fits."""
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:16]}.parquet"
    (folder / file).write_bytes(content)
    tables = json.loads((folder / "logs.json").read_text())["tables"]
    tables[name] = {"file": file, "sha256": digest, "bytes": len(content), "rows": rows}
    manifest(folder, tables=tables)


def test_forged_files_get_errors_of_ours(tmp_path):
    """Whatever the bytes are: an error of recgym's, or a table that is valid."""
    table().save(tmp_path / "good")
    good = next((tmp_path / "good").glob("events-*")).read_bytes()
    rng = random.Random(0)
    refused = 0
    for trial in range(60):
        content = bytearray(good)
        for _ in range(rng.choice([1, 4, 64])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if trial % 4 == 0:
            content = content[: rng.randrange(len(content))]
        folder = tmp_path / "forged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "good", folder)
        forged(folder, "events", bytes(content), 8)
        try:
            Logs.load(folder)
        except RecgymError:
            refused += 1
    assert refused > 30


def test_a_file_that_takes_far_more_room_than_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr("recgym.logs.table.SMALL", 2**20)
    table().save(tmp_path)
    path = tmp_path / "bomb.parquet"
    pl.select(user=pl.repeat(0, 3_000_000, dtype=pl.UInt32)).write_parquet(path)
    forged(tmp_path, "events", path.read_bytes(), 3_000_000)
    with pytest.raises(ConfigError, match="must not take more than 100 times its size"):
        Logs.load(tmp_path)


def test_the_page_has_the_columns():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", DOC.read_text(), re.MULTILINE)
    assert [(name, kind, text) for name, kind, text in rows if name in COLUMNS] == [
        (name, kind, text) for name, (kind, text) in COLUMNS.items()
    ]
    missing = re.findall(r"^\| (\w[\w ]*) \| (.+) \|$", DOC.read_text(), re.MULTILINE)
    assert set(CONSEQUENCES.items()) <= set(missing)


def test_a_table_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        table().events = events()  # type: ignore[misc]
