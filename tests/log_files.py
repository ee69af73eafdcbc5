"""Small synthetic files of exactly the schemas that published data sets have.

Each function writes the files of one data set into a folder, with made-up values, and returns the options with which
`recgym.logs.read` reads them. `WRITERS` has them by the name of the format. The values are the same each time: user *k* of
`USERS` has visits of a few rows, so that tests know how many rows, users and items there are.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

USERS, ITEMS, VISITS, ROWS = 6, 9, 3, 4  # rows of a visit
START = datetime(2022, 4, 21, 18, 30, tzinfo=UTC)
EVENTS = USERS * VISITS * ROWS


def events() -> list[dict[str, Any]]:
    """Rows of users, items (each row of a visit another one), times a minute apart in visits that are days apart, and clicks."""
    rows = []
    for user in range(USERS):
        for visit in range(VISITS):
            for k in range(ROWS):
                time = START + timedelta(days=visit, hours=user, minutes=k)
                number = (user * VISITS + visit) * ROWS + k
                rows.append(dict(user=user + 1, item=(user + 2 * visit + k) % ITEMS + 1, time=time, visit=visit, k=k,
                                 click=int(number % 3 == 0), number=number))  # fmt: skip
    return rows


def text(rows: Sequence[Sequence[Any]], header: Sequence[str] | None = None, delimiter: str = ",", **how: Any) -> str:
    """Delimited text."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n", **how)
    writer.writerows([*([header] if header else []), *rows])
    return out.getvalue()


def seconds(time: datetime) -> int:
    return int(time.timestamp())


def millis(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def plain(folder: Path) -> dict[str, Any]:
    """CSV of a shop: slates of four, positions from 1, a category in the rows."""
    header = ("customer_id", "product_id", "ts", "impression_id", "position", "clicked", "price", "category", "note")
    rows = [
        (f"c{e['user']}", f"p{e['item']}", e["time"].strftime("%Y-%m-%d %H:%M:%S"), e["number"] // ROWS, e["k"] + 1, e["click"],
         e["item"] + e["visit"] / 4, "abc"[e["item"] % 3], "x")
        for e in events()
    ]  # fmt: skip
    (folder / "events.csv").write_text(text(rows, header))
    return {}


def tsv(folder: Path) -> dict[str, Any]:
    rows = [(e["user"], e["item"], seconds(e["time"])) for e in events()]
    (folder / "events.tsv").write_text(text(rows, ("user_id", "item_id", "timestamp"), "\t"))
    return {}


def parquet(folder: Path) -> dict[str, Any]:
    rows = [(e["user"], e["item"], e["time"].replace(tzinfo=None), bool(e["click"])) for e in events()]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "time", "click"], orient="row")
    frame.write_parquet(folder / "events.parquet")
    return {}


def open_bandit(folder: Path) -> dict[str, Any]:
    """The sample that is committed, see `tests/data/open_bandit_tiny`."""
    shutil.copytree(Path(__file__).parent / "data" / "open_bandit_tiny", folder, dirs_exist_ok=True)
    return {}


def mind(folder: Path) -> dict[str, Any]:
    """behaviors.tsv and news.tsv, no headers; a quote in a title, an empty history."""
    lines = []
    for number in range(EVENTS // ROWS):
        four = [e for e in events() if e["number"] // ROWS == number]
        shown = " ".join(f"N{e['item']}-{e['click']}" for e in four)
        time = four[0]["time"].strftime("%-m/%-d/%Y %-I:%M:%S %p")
        lines.append((number + 1, f"U{four[0]['user']}", time, "N1 N2" if number % 2 else "", shown))
    (folder / "behaviors.tsv").write_text(text(lines, None, "\t"))
    news = [(f"N{k}", "sports" if k % 2 else "news", "soccer", f'The "{k}', "", f"https://example.org/{k}", "[]", '[{"L": "x"}]')
            for k in range(1, ITEMS + 1)]  # fmt: skip
    (folder / "news.tsv").write_text("".join("\t".join(row) + "\n" for row in news))
    return {}


KUAIRAND = ("user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow", "is_comment", "is_forward",
            "is_hate", "long_view", "play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time", "is_profile_enter",
            "is_rand", "tab")  # fmt: skip


def kuairand(folder: Path) -> dict[str, Any]:
    """The logs of both kinds, and the features of users and videos, in the folder "data"."""
    data = folder / "data"
    data.mkdir()
    rows = [(e["user"], e["item"], 20220421, 1830, millis(e["time"]), e["click"], 0, 0, 0, e["click"], 0, 0, 5000 * e["click"],
             9000, 0, 0, 0, int(e["visit"] == 0), 1) for e in events()]  # fmt: skip
    cut = EVENTS // 2
    (data / "log_random_4_22_to_5_08_pure.csv").write_text(text([r for r in rows[:cut] if r[-2]], KUAIRAND))
    (data / "log_standard_4_08_to_4_21_pure.csv").write_text(text([r for r in rows[:cut] if not r[-2]], KUAIRAND))
    (data / "log_standard_4_22_to_5_08_pure.csv").write_text(text(rows[cut:], KUAIRAND))
    users = [(u, "full_active", 0, "(0,10]") for u in range(1, USERS + 3)]
    header = ("user_id", "user_active_degree", "is_lowactive_period", "follow_user_num_range")
    (data / "user_features_pure.csv").write_text(text(users, header))
    videos = [(i, 441, "NORMAL", "2020-07-08", 17200.0, "12,65" if i % 2 else "") for i in range(1, ITEMS + 3)]
    header = ("video_id", "author_id", "video_type", "upload_dt", "video_duration", "tag")
    (data / "video_features_basic_pure.csv").write_text(text(videos, header))
    return {}


def kuairec(folder: Path) -> dict[str, Any]:
    header = ("user_id", "video_id", "play_duration", "video_duration", "time", "date", "timestamp", "watch_ratio")
    rows = [(e["user"], e["item"], 8000 if e["click"] else 2000, 10867, "2020-07-05 00:08:23.438", 20200705,
             f"{seconds(e['time'])}.438", 1.2) for e in events()]  # fmt: skip
    (folder / "big_matrix.csv").write_text(text(rows, header))
    (folder / "small_matrix.csv").write_text(text(rows[: EVENTS // 2], header))
    (folder / "item_categories.csv").write_text(
        text([(i, f"[{i}, 9]") for i in range(1, ITEMS + 1)], ("video_id", "feat"))
    )
    return {}


def kuailive(folder: Path) -> dict[str, Any]:
    """Clicks are the clicked rows, the others are in negative.csv; one like and two gifts of the same visit, one gift of none."""
    keys = ("user_id", "live_id", "streamer_id", "timestamp")
    rows = {
        c: [(e["user"], 100 + e["item"], e["item"], millis(e["time"])) for e in events() if e["click"] == c]
        for c in (0, 1)
    }
    (folder / "click.csv").write_text(text([(*row, 2852) for row in rows[1]], (*keys, "watch_live_time")))
    (folder / "negative.csv").write_text(text(rows[0], keys))
    user, live, streamer, time = rows[1][0]
    (folder / "like.csv").write_text(text([(user, live, streamer, time + 900)], keys))
    gifts = [
        (user, live, streamer, time + 1000, 2),
        (user, live, streamer, time + 2000, 3),
        (user, live, streamer, time - 1000, 88),
    ]
    (folder / "gift.csv").write_text(text(gifts, (*keys, "gift_price")))
    (folder / "comment.csv").write_text(text([], keys))
    (folder / "user.csv").write_text(
        text([(u, "M", "18-23") for u in range(1, USERS + 1)], ("user_id", "gender", "age"))
    )
    streamers = [(i, "F", "Relationship" if i % 2 else "Talent") for i in range(1, ITEMS + 1)]
    (folder / "streamer.csv").write_text(text(streamers, ("streamer_id", "gender", "live_operation_tag")))
    rooms = [(20250525, 100 + i, i, 1, 0, 1, "shop", 0) for i in range(1, ITEMS + 1)]
    header = (
        "p_date",
        "live_id",
        "streamer_id",
        "live_type",
        "start_timestamp",
        "end_timestamp",
        "live_content_category",
        "live_name_id",
    )
    (folder / "room.csv").write_text(text(rooms, header))
    return {}


def vk_lsvd(folder: Path) -> dict[str, Any]:
    """Two weeks of Parquet with the published dtypes, and metadata beside them."""
    schema = {"user_id": pl.UInt32, "item_id": pl.UInt32, "place": pl.UInt8, "platform": pl.UInt8, "agent": pl.UInt8,
              "timespent": pl.UInt8} | dict.fromkeys(("like", "dislike", "share", "bookmark", "click_on_author", "open_comments"), pl.Boolean)  # fmt: skip
    rows = [(e["user"], e["item"], 1, 0, 0, 9 if e["click"] else 2, bool(e["click"]), False, False, False, False, False)
            for e in events()]  # fmt: skip
    (folder / "train").mkdir()
    (folder / "metadata").mkdir()
    for week, part in enumerate((rows[: EVENTS // 2], rows[EVENTS // 2 :])):
        pl.DataFrame(part, schema=schema, orient="row").write_parquet(folder / "train" / f"week_{week:02}.parquet")
    users = pl.DataFrame(
        {"user_id": range(1, USERS + 9), "age": 30, "gender": 1, "geo": 5}, schema_overrides={"user_id": pl.UInt32}
    )
    users.write_parquet(folder / "metadata" / "users_metadata.parquet")
    items = pl.DataFrame(
        {"item_id": range(1, ITEMS + 9), "author_id": 7, "duration": 20}, schema_overrides={"item_id": pl.UInt32}
    )
    items.write_parquet(folder / "metadata" / "items_metadata.parquet")
    return {}


def _listens() -> pl.DataFrame:
    frame = pl.DataFrame(
        [(e["user"], seconds(e["time"]) - seconds(START), e["item"], e["visit"] % 2, 80 if e["click"] else 20, 200) for e in events()],
        schema={"uid": pl.UInt32, "timestamp": pl.UInt32, "item_id": pl.UInt32, "is_organic": pl.UInt8, "played_ratio_pct": pl.UInt16,
                "track_length_seconds": pl.UInt32}, orient="row",
    )  # fmt: skip
    return frame


def yambda(folder: Path) -> dict[str, Any]:
    """listens.parquet and likes.parquet: a like of the second listen, which was not listened to."""
    listens = _listens()
    listens.write_parquet(folder / "listens.parquet")
    likes = listens[1:2].select("uid", pl.col("timestamp") + 5, "item_id", "is_organic")
    likes.write_parquet(folder / "likes.parquet")
    return {}


def movielens(folder: Path, release: str = "latest") -> dict[str, Any]:
    """The three forms in which GroupLens publishes: "latest" (CSV), "1m" (::) and "100k" (tabs and bars, latin-1)."""
    rows = [(e["user"], e["item"], 1 + e["number"] % 5, seconds(e["time"])) for e in events()]
    title = "Misérables, Les (1995)"
    if release == "latest":
        (folder / "ratings.csv").write_text(text(rows, ("userId", "movieId", "rating", "timestamp")))
        films = [(i, title, "Drama|Musical" if i % 2 else "(no genres listed)") for i in range(1, ITEMS + 1)]
        (folder / "movies.csv").write_text(text(films, ("movieId", "title", "genres")), encoding="utf-8")
    elif release == "1m":
        (folder / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in rows))
        films = "".join(f"{i}::{title}::Drama|Musical\n" for i in range(1, ITEMS + 1))
        (folder / "movies.dat").write_bytes(films.encode("latin-1"))
        (folder / "users.dat").write_text("".join(f"{u}::F::1::10::0{u}067\n" for u in range(1, USERS + 1)))
    else:
        (folder / "u.data").write_text(text(rows, None, "\t"))
        genres = "|".join("1" if k in (8, 12) else "0" for k in range(19))  # Drama, Musical
        films = "".join(f"{i}|{title}|01-Jan-1995||http://example.org|{genres}\n" for i in range(1, ITEMS + 1))
        (folder / "u.item").write_bytes(films.encode("latin-1"))
        (folder / "u.user").write_text("".join(f"{u}|24|M|technician|0{u}711\n" for u in range(1, USERS + 1)))
    return {}


def recbole(folder: Path) -> dict[str, Any]:
    """ml-100k as RecBole has it, and a vector."""
    rows = [(e["user"], e["item"], 1 + e["number"] % 5, seconds(e["time"])) for e in events()]
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    (folder / "ml-tiny.inter").write_text(text(rows, header, "\t"))
    items = [
        (i, f'The "{i}', 1995, "Drama Musical" if i % 2 else "Comedy", f"{i}.5 -1 2e-3") for i in range(1, ITEMS + 1)
    ]
    header = ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq", "vector:float_seq")
    lines = ["\t".join(map(str, row)) for row in (header, *items)]
    (folder / "ml-tiny.item").write_text("\n".join(lines) + "\n")
    users = [(u, 24, "M", "technician", f"0{u}711") for u in range(1, USERS + 1)]
    header = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")
    (folder / "ml-tiny.user").write_text(text(users, header, "\t"))
    return {}


def uci_eshop(folder: Path) -> dict[str, Any]:
    header = ("year", "month", "day", "order", "country", "session ID", "page 1 (main category)", "page 2 (clothing model)", "colour",
              "location", "model photography", "price", "price 2", "page")  # fmt: skip
    rows = [(2008, 4 + e["visit"], 1 + e["visit"], e["k"] + 1, 29, e["user"] * 10 + e["visit"], 1 + e["item"] % 4, f"A{e['item']}",
             1, 1 + e["number"] % 6, 1, 20 + e["item"], 2, 1) for e in events()]  # fmt: skip
    (folder / "e-shop clothing 2008.csv").write_text(text(rows, header, ";"))
    return {}


def retailrocket(folder: Path) -> dict[str, Any]:
    """Views, and after each clicked one an addition to the cart and a transaction."""
    rows = []
    for e in events():
        rows.append((millis(e["time"]), e["user"], "view", e["item"], ""))
        if e["click"]:
            rows.append((millis(e["time"]) + 9_000, e["user"], "addtocart", e["item"], ""))
            rows.append((millis(e["time"]) + 19_000, e["user"], "transaction", e["item"], 1))
    (folder / "events.csv").write_text(text(rows[::-1], ("timestamp", "visitorid", "event", "itemid", "transactionid")))
    properties = [(millis(START) + k, i, "categoryid", 338 + k) for k in range(2) for i in range(1, ITEMS + 1)]
    properties.append((1, 1, "790", "n1.0 22"))
    header = ("timestamp", "itemid", "property", "value")
    (folder / "item_properties_part1.csv").write_text(text(properties, header))
    return {}


def yoochoose(folder: Path) -> dict[str, Any]:
    def iso(time: datetime) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S.277Z")

    clicks = [(e["user"] * 10 + e["visit"], iso(e["time"]), e["item"], "S" if e["item"] % 2 else 0) for e in events()]
    (folder / "yoochoose-clicks.dat").write_text(text(clicks))
    buys = [(e["user"] * 10 + e["visit"], iso(e["time"] + timedelta(minutes=5)), e["item"], 12462 if e["visit"] else 0, 1)
            for e in events() if e["click"]]  # fmt: skip
    (folder / "yoochoose-buys.dat").write_text(text(buys))
    return {}


def otto(folder: Path) -> dict[str, Any]:
    lines = []
    for user in range(1, USERS + 1):
        mine = []
        for e in [e for e in events() if e["user"] == user]:
            mine.append({"aid": e["item"], "ts": millis(e["time"]), "type": "clicks"})
            if e["click"]:
                mine.append({"aid": e["item"], "ts": millis(e["time"]) + 9_000, "type": "carts"})
        lines.append(json.dumps({"session": user, "events": mine}))
    (folder / "otto-recsys-train.jsonl").write_text("\n".join(lines) + "\n")
    return {}


WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "csv": plain, "tsv": tsv, "parquet": parquet, "open-bandit": open_bandit, "mind": mind, "kuairand": kuairand, "kuairec": kuairec,
    "kuailive": kuailive, "vk-lsvd": vk_lsvd, "yambda": yambda, "movielens": movielens, "recbole": recbole, "uci-eshop": uci_eshop,
    "retailrocket": retailrocket, "yoochoose": yoochoose, "otto": otto,
}  # fmt: skip
SINGLE = {"csv": "events.csv", "tsv": "events.tsv", "parquet": "events.parquet"}  # formats whose path is a file


def write(format: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write the files of a format; the path to read, and the options."""
    folder.mkdir(parents=True, exist_ok=True)
    options = WRITERS[format](folder)
    return folder / SINGLE[format] if format in SINGLE else folder, options


def zipped(file: Path) -> Path:
    """The file, gzipped in its place."""
    packed = file.with_name(f"{file.name}.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    return packed
