"""Readers of published data sets, each under the names of files and columns that its publishers give.

A docstring says where the schema is published, what of it is read, and what had to be decided.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recgym.errors import FitError, brief, require, require_option
from recgym.logs.assemble import Tables
from recgym.logs.convert import Clock, Rule, instant
from recgym.logs.fold import folded
from recgym.logs.needs import need_polars
from recgym.logs.open_bandit import CATEGORIES, POLICIES, read_open_bandit
from recgym.logs.plain import by_event, mapped
from recgym.logs.readers import Reading, attribute_table, register_reader

if TYPE_CHECKING:
    import polars as pl

MIND_BEHAVIORS = ("impression", "user", "time", "history", "impressions")
MIND_NEWS = ("news_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
MIND_ITEM = r"^(\S+)-([01])$"
WATCHED = 7.0  # seconds after which, or at whose end if that comes before, a video counts as clicked
LIVE_GAP = 360.0  # minutes within which a like or a gift belongs to the visit of a live room
GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
          "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western")  # fmt: skip
RECBOLE_TYPES = ("token", "token_seq", "float", "float_seq")
ESHOP = ("year", "month", "day", "order", "country", "session ID", "page 1 (main category)", "page 2 (clothing model)", "colour",
         "location", "model photography", "price", "price 2", "page")  # fmt: skip
OTTO = {"clicks": "click", "carts": "cart", "orders": "purchase"}
WEEK = 7 * 86_400 * 1_000_000  # microseconds


def open_bandit(path: Path, reading: Reading, *, campaign: str = "all", policies: Sequence[str] = POLICIES) -> Tables:
    """Open Bandit Dataset: fashion items shown by a random policy and by Bernoulli Thompson sampling.

    Saito, Aihara, Matsutani and Narita, NeurIPS Datasets and Benchmarks 2021. Read by `recgym.logs.read_open_bandit`, which is
    strict: a wrong row is an error, whatever is tolerated. Users are not known, so that every row is a user of its own, and there
    are no sessions; which three items were shown together is not known, either. Items keep their numbers and their context.

    Args:
        campaign: "all", "men" or "women". policies: "random", "bts" or both.
    """
    pl = need_polars()
    logs = read_open_bandit(path, campaign, policies)
    policy = pl.Series([logs.policies[k] for k in range(len(logs.policies))]).gather(pl.Series(logs.policy))
    events = pl.DataFrame(
        {
            "item": logs.item, "time": pl.Series(logs.timestamp).cast(pl.Datetime("us")).cast(pl.Int64),
            "position": logs.position, "propensity": logs.propensity, "policy": policy, "click": logs.click,
        }
    )  # fmt: skip
    reading.ledger.read += len(events)
    items = pl.DataFrame({"id": [str(k) for k in range(logs.n_items)], **logs.items})
    source = {key: value for key, value in logs.source.items() if key != "sha256"}
    source |= {
        "files": logs.source["sha256"], "categories": list(CATEGORIES),
        "citation": "Saito, Aihara, Matsutani and Narita, NeurIPS Datasets and Benchmarks 2021",
    }  # fmt: skip
    return Tables(events, items, None, True, source, sessions=False, in_order=True)


def mind(path: Path, reading: Reading) -> Tables:
    """MIND, Microsoft News: impressions with clicks (`behaviors.tsv`) and articles (`news.tsv`), without headers.

    Wu et al., ACL 2020. The schema is that of learn.microsoft.com/azure/open-datasets/dataset-microsoft-news: impression id, user
    id, time (MM/DD/YYYY HH:MM:SS AM/PM, taken for UTC), history, and the news that were displayed with 1 or 0 for a click. The
    folder may hold several parts, such as MINDsmall_train and MINDsmall_dev. The order of an impression is not said to be that on
    the page, so there are no positions. The history has no times and is not read. The test part has no clicks and is refused.
    """
    pl = need_polars()
    clock = Clock("%m/%d/%Y %I:%M:%S %p")
    rules = {"user": Rule("user"), "time": Rule("time"), "slate": Rule("impression")}
    parts = []
    for file in reading.find("behaviors.tsv", "*/behaviors.tsv"):
        text = reading.text(file, delimiter="\t", header=False, names=MIND_BEHAVIORS, quoting=False)
        rows = reading.events(text, rules, clock, needed=("user", "time", "slate"), extra=("impressions",))
        rows = rows.with_columns(slate=pl.concat_str(pl.col("_file").cast(pl.String), pl.lit(" "), pl.col("slate")))
        rows = rows.with_columns(pl.col("_impressions").fill_null("").str.strip_chars().str.split(" ")).explode(
            "_impressions"
        )
        rows = rows.with_columns(
            item=pl.col("_impressions").str.extract(MIND_ITEM, 1),
            click=pl.col("_impressions").str.extract(MIND_ITEM, 2) == "1",
        )
        wrong = rows["item"].is_null()
        reading.ledger.read += len(rows)
        rule = "impressions must be news ids with -1 or -0 for a click"
        reading.ledger.add_rows(text.name, rows["_line"].filter(wrong), rule, rows["_impressions"].filter(wrong))
        parts.append(rows.filter(~wrong).drop("_impressions"))
    tables = []
    for file in reading.find("news.tsv", "*/news.tsv"):
        text = reading.text(file, delimiter="\t", header=False, names=MIND_NEWS, quoting=False)
        wanted = ("category", "subcategory", "title")
        tables.append(reading.attributes(text, "news_id", {"category": "topic"}, wanted, as_text=MIND_NEWS))
    items = pl.concat(tables).unique("id", keep="first", maintain_order=True)
    return Tables(
        pl.concat(parts), items, None, True, reading.source(clock, name="MIND", citation="Wu et al., ACL 2020")
    )


def kuairand(path: Path, reading: Reading) -> Tables:
    """KuaiRand: videos shown by Kuaishou, some at random (`log_*.csv`, `user_features_*.csv`, `video_features_basic_*.csv`).

    Gao et al., CIKM 2022; the schema is that of github.com/chongminggao/KuaiRand. 27K, 1K and Pure are read, with all log files in
    the folder or in its folder "data". `policy` is "random" where `is_rand` is 1, else "standard " and the tab of the app. A click
    is `is_click`: in the feed of single videos that is one that was watched for `WATCHED` seconds or to its end. A share is
    `is_forward`. Follows, comments, hates and the statistics of videos are not read. Of users and videos, those with events are.
    """
    pl = need_polars()
    clock = Clock("ms")
    rules = {
        "user": Rule("user_id"), "item": Rule("video_id"), "time": Rule("time_ms"), "click": Rule("is_click"),
        "like": Rule("is_like"), "share": Rule("is_forward"), "dwell": Rule("play_time_ms", scale=0.001),
    }  # fmt: skip
    parts = []
    for file in reading.find("log_*.csv", "data/log_*.csv"):
        frame = reading.events(reading.text(file, delimiter=","), rules, clock, extra=("is_rand", "tab"))
        standard = pl.concat_str(pl.lit("standard "), pl.col("_tab").fill_null("?"))
        policy = pl.when(pl.col("_is_rand") == "1").then(pl.lit("random")).otherwise(standard)
        parts.append(frame.with_columns(policy=policy).drop("_is_rand", "_tab"))
    events = pl.concat(parts)
    items = _side(
        reading, ("video_features_basic_*.csv", "data/video_features_basic_*.csv"), "video_id", events["item"], ("tag",)
    )
    if items is not None and "tag" in items.columns:
        items = items.with_columns(topic=pl.col("tag").str.split(",").list.first())
    users = _side(reading, ("user_features_*.csv", "data/user_features_*.csv"), "user_id", events["user"])
    return Tables(
        events,
        items,
        users,
        True,
        reading.source(
            clock,
            name="KuaiRand",
            citation="Gao et al., CIKM 2022, doi 10.1145/3511808.3557624",
            licence="CC BY-SA 4.0",
        ),
    )


def kuairec(path: Path, reading: Reading, *, matrix: str = "big") -> Tables:
    """KuaiRec: what users watched of videos (`big_matrix.csv`, `small_matrix.csv`, `item_categories.csv`).

    Gao et al., CIKM 2022; the schema is that of github.com/chongminggao/KuaiRec. There are no clicks: a video counts as clicked if
    it was watched for `WATCHED` seconds or to its end, which is KuaiRand's definition. Rows without a timestamp cannot be used.

    Args:
        matrix: "big", or "small", in which nearly every user has seen every video.
    """
    pl = need_polars()
    require_option("matrix", matrix, ("big", "small"))
    (file, *_) = reading.find(f"{matrix}_matrix.csv", f"data/{matrix}_matrix.csv")
    clock = Clock("s")
    rules = {
        "user": Rule("user_id"), "item": Rule("video_id"), "time": Rule("timestamp"), "dwell": Rule("play_duration", scale=0.001)
    }  # fmt: skip
    events = reading.events(reading.text(file, delimiter=","), rules, clock, extra=("video_duration",))
    length = pl.col("_video_duration").cast(pl.Float64, strict=False) / 1000
    events = events.with_columns(click=_watched(pl.col("dwell"), length)).drop("_video_duration")
    items = None
    for categories in reading.find("item_categories.csv", "data/item_categories.csv", required=False):
        items = reading.attributes(reading.text(categories, delimiter=","), "video_id", as_text=("feat",))
        items = items.with_columns(topic=pl.col("feat").str.extract(r"(\d+)")) if "feat" in items.columns else items
    source = reading.source(
        clock, name="KuaiRec", citation="Gao et al., CIKM 2022", licence="CC BY-SA 4.0", click=_WATCHED
    )
    return Tables(events, items, None, True, source)


def kuailive(path: Path, reading: Reading, *, item: str = "streamer") -> Tables:
    """KuaiLive: live rooms that users entered, with likes and gifts (`click.csv`, `negative.csv`, `like.csv`, `gift.csv`, ...).

    Qu et al. 2025, arXiv 2508.05633; the schema is that of imgkkk574.github.io/KuaiLive. What was shown and skipped is in
    `negative.csv`; **its columns are taken to be those of `like.csv`, which the page that we saw does not confirm**. Earlier
    releases say author for streamer, and both are read. A like and the gifts belong to the latest visit within `LIVE_GAP` minutes.
    Comments and the embeddings of titles are not read. Times were shifted by the publishers.

    Args:
        item: "streamer" or "room".
    """
    pl = need_polars()
    require_option("item", item, ("streamer", "room"))
    clock = Clock("ms")

    def rows(file: Path, kind: str, more: Mapping[str, Rule]) -> pl.DataFrame:
        text = reading.text(file, delimiter=",")
        streamer = "author_id" if "author_id" in text.columns else "streamer_id"
        id = streamer if item == "streamer" else "live_id"
        rules = {"user": Rule("user_id"), "item": Rule(id), "time": Rule("timestamp"), **more}
        return reading.events(text, rules, clock).with_columns(kind=pl.lit(kind))

    watched = {"dwell": Rule("watch_live_time", scale=0.001)}
    parts = [rows(reading.find("click.csv")[0], "click", watched)]
    parts += [rows(file, "like", {}) for file in reading.find("like.csv", required=False)]
    parts += [rows(file, "gift", {"gift": Rule("gift_price")}) for file in reading.find("gift.csv", required=False)]
    events, alone = folded(pl.concat(parts, how="diagonal"), LIVE_GAP)
    skipped = [rows(file, "shown", {}).drop("kind") for file in reading.find("negative.csv", required=False)]
    if skipped:
        no = {name: pl.lit(False) for name in ("click", "like") if name in events.columns}
        events = pl.concat([events, *(part.with_columns(**no) for part in skipped)], how="diagonal")
    users = _side(reading, ("user.csv",), "user_id", events["user"])
    if item == "streamer":
        items = _side(reading, ("streamer.csv", "author.csv"), ("streamer_id", "author_id"), events["item"])
        topic = "live_operation_tag"
    else:
        items = _side(reading, ("room.csv", "mapped_room.csv"), "live_id", events["item"])
        topic = "live_content_category"
    if items is not None and topic in items.columns:
        items = items.rename({topic: "topic"}).with_columns(pl.col("topic").cast(pl.String))
    source = reading.source(
        clock, name="KuaiLive", citation="Qu et al. 2025, arXiv 2508.05633", licence="CC BY-NC-SA 4.0", item=item
    )
    if alone:
        source["of their own"] = alone
    return Tables(events, items, users, bool(skipped), source)


def vk_lsvd(path: Path, reading: Reading) -> Tables:
    """VK-LSVD: short videos shown by VK, one a row, in files of weeks (`week_00.parquet`, ...), with metadata.

    deepvk/VK-LSVD on Hugging Face, 2025 (arXiv 2602.04567); the columns are those of its card. **There are no times**: files are weeks,
    and their rows are in the order of time. Rows are spread evenly over their week, the first of which is put at 1970, so that
    order and weeks mean something and hours do not; sessions are not derived. `policy` is the place in the app. A video counts as
    clicked if it was watched for `WATCHED` seconds or to its end, where its length is known. `users_metadata.parquet` and
    `items_metadata.parquet` are looked for in the folder, in its folder "metadata", and beside it and above. Embeddings are not read.
    """
    pl = need_polars()
    files = reading.find("week_*.parquet", "train/week_*.parquet", "validation/week_*.parquet", "test/week_*.parquet")
    rules = {
        "user": Rule("user_id"), "item": Rule("item_id"), "dwell": Rule("timespent"), "like": Rule("like"), "share": Rule("share")
    }  # fmt: skip
    parts = []
    for file in sorted(files, key=lambda file: file.name):
        digits = "".join(c for c in file.stem if c.isdigit())
        if not digits or len(digits) > 3:
            raise FitError(f"{reading.name(file)}: must be called week_00.parquet and so on")
        frame = reading.parquet(file, rules, needed=("user", "item"), extra=("place",))
        time = (pl.col("_line").cast(pl.Float64) - 1) / max(1, len(frame)) * WEEK + int(digits) * WEEK
        policy = pl.concat_str(pl.lit("place "), pl.col("_place").fill_null("?"))
        parts.append(frame.with_columns(time=time.cast(pl.Int64), policy=policy).drop("_place"))
    events = pl.concat(parts)
    found = {}
    for code, name in (("item", "items_metadata.parquet"), ("user", "users_metadata.parquet")):
        roots = [path if path.is_dir() else path.parent]
        places = [
            root / inner / name
            for root in (roots[0], *list(roots[0].resolve().parents)[:3])
            for inner in ("", "metadata")
        ]
        file = next((place for place in places if place.is_file()), None)
        if file is not None:
            table = reading.frame(file).join(events.select(pl.col(code).unique().alias(f"{code}_id")).cast(pl.UInt32), on=f"{code}_id", how="semi")  # fmt: skip
            found[code] = attribute_table(
                table.unique(f"{code}_id", keep="first", maintain_order=True), f"{code}_id", {}
            )
    source = reading.source(name="VK-LSVD", citation="arXiv 2602.04567", licence="Apache 2.0")
    if "item" in found and "duration" in found["item"].columns:
        length = events.select("item").join(found["item"].select("id", "duration"), left_on="item", right_on="id", how="left", maintain_order="left")  # fmt: skip
        events = events.with_columns(click=_watched(pl.col("dwell"), length["duration"].cast(pl.Float64)))
        source["click"] = _WATCHED
    source["time"] = "not logged: rows of a week are spread over it in their order; hours and gaps mean nothing"
    return Tables(events, found.get("item"), found.get("user"), True, source, sessions=False)


def yambda(path: Path, reading: Reading) -> Tables:
    """Yambda: tracks that began to play in Yandex Music (`listens.parquet` with `likes.parquet`, or `multi_event.parquet`), flat form.

    yandex/yambda on Hugging Face, 2025 (arXiv 2505.22238); the columns are those of its card: uid, timestamp, item_id, is_organic,
    played_ratio_pct, track_length_seconds, and event_type in `multi_event`. Times are seconds since an unknown moment, in steps of
    five. A track counts as clicked if more than half of it was played, which is the card's definition of listened; rows that were
    not are there, too. `policy` is "organic" where the user picked it, else "recommended". Dislikes, what was taken back, albums,
    artists and embeddings are not read.
    """
    pl = need_polars()
    clock = Clock("s")
    rules = {"user": Rule("uid"), "item": Rule("item_id"), "time": Rule("timestamp")}
    played = ("played_ratio_pct", "track_length_seconds")
    together = reading.find("multi_event.parquet", required=False)
    if together:
        frame = reading.parquet(together[0], rules, clock, extra=("event_type", "is_organic", *played))
        kinds = {"listen": "click", "like": "like"}
        frame = frame.with_columns(
            kind=pl.col("_event_type").replace_strict(kinds, default=None, return_dtype=pl.String)
        )
        other = frame["kind"].is_null()
        rule = "an event that is neither listen nor like is left out"
        reading.ledger.add_rows(reading.name(together[0]), frame["_line"].filter(other), rule, frame["_event_type"].filter(other), aside=True)  # fmt: skip
        rows = frame.filter(~other).drop("_event_type")
    else:
        frame = reading.parquet(reading.find("listens.parquet")[0], rules, clock, extra=("is_organic", *played))
        rows = frame.with_columns(kind=pl.lit("click"))
        for file in reading.find("likes.parquet", required=False):
            likes = reading.parquet(file, rules, clock, extra=("is_organic",)).with_columns(kind=pl.lit("like"))
            rows = pl.concat([rows, likes], how="diagonal")
    events, alone = folded(rows, reading.session_gap)
    ratio = pl.col("_played_ratio_pct").cast(pl.Float64, strict=False)
    length = pl.col("_track_length_seconds").cast(pl.Float64, strict=False)
    like = pl.col("like") if "like" in events.columns else pl.lit(False)
    events = events.with_columns(
        click=(ratio > 50).fill_null(True) | like, dwell=(ratio / 100 * length).cast(pl.Float32),
        policy=pl.when(pl.col("_is_organic") == "1").then(pl.lit("organic")).otherwise(pl.lit("recommended")),
    ).drop([f"_{name}" for name in ("is_organic", *played)])  # fmt: skip
    source = reading.source(
        clock,
        name="Yambda",
        citation="arXiv 2505.22238",
        licence="Apache 2.0",
        click="more than half of the track was played, or it was liked",
    )
    source["time"] = "seconds since an unknown moment, in steps of 5: the hour of the day is not known"
    if alone:
        source["of their own"] = alone
    return Tables(events, None, None, True, source)


def movielens(path: Path, reading: Reading, *, click_rating: float | str | None = None) -> Tables:
    """MovieLens: ratings of films, of any release: `ratings.csv` (20M, 25M, latest), `ratings.dat` (1M, 10M) or `u.data` (100K).

    Harper and Konstan, ACM TiiS 2015; the schemas are those of the READMEs at files.grouplens.org/datasets/movielens. A row is a
    rating: what was shown and not rated is not logged. The topic of a film is the first of its genres. Tags and links are not read.

    Args:
        click_rating: the least rating that counts as a click, such as 4; rows below are set aside. None: every rating counts.
    """
    pl = need_polars()
    clock = Clock("s")
    rules = {"user": Rule("user"), "item": Rule("movie"), "rating": Rule("rating"), "time": Rule("timestamp")}
    columns = ("user", "movie", "rating", "timestamp")
    (file, *_) = reading.find("ratings.csv", "ratings.dat", "u.data")
    items = users = None
    if file.name.startswith("ratings.csv"):
        rules = {"user": Rule("userId"), "item": Rule("movieId"), "rating": Rule("rating"), "time": Rule("timestamp")}
        events = reading.events(reading.text(file, delimiter=","), rules, clock)
        for films in reading.find("movies.csv", required=False):
            text = reading.text(films, delimiter=",")
            text.require(("title", "genres"))
            items = reading.attributes(text, "movieId", as_text=("title", "genres"))
    elif file.name.startswith("ratings.dat"):
        events = reading.events(reading.text(file, delimiter="::", header=False, names=columns), rules, clock)
        for films in reading.find("movies.dat", required=False):
            names = ("movie", "title", "genres")
            text = reading.text(films, delimiter="::", header=False, names=names, quoting=False, encoding="latin-1")
            items = reading.attributes(text, "movie", as_text=names)
        for people in reading.find("users.dat", required=False):
            names = ("user", "gender", "age", "occupation", "zip")
            users = reading.attributes(
                reading.text(people, delimiter="::", header=False, names=names), "user", as_text=("zip",)
            )
    else:
        events = reading.events(reading.text(file, delimiter="\t", header=False, names=columns), rules, clock)
        for films in reading.find("u.item", required=False):
            names = ("movie", "title", "released", "video_released", "url", *GENRES)
            text = reading.text(films, delimiter="|", header=False, names=names, quoting=False, encoding="latin-1")
            raw = reading.attributes(text, "movie", as_text=("title", "released", "video_released", "url"))
            has = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in GENRES]
            items = raw.select("id", "title", "released", genres=pl.concat_str(has, separator="|", ignore_nulls=True))
        for people in reading.find("u.user", required=False):
            names = ("user", "age", "gender", "occupation", "zip")
            users = reading.attributes(
                reading.text(people, delimiter="|", header=False, names=names), "user", as_text=("zip",)
            )
    if items is not None:
        items = items.with_columns(topic=pl.col("genres").str.split("|").list.first())
    events, what = clicked(events, reading, file, click_rating)
    source = reading.source(clock, name="MovieLens", citation="Harper and Konstan, ACM TiiS 5(4), 2015", click=what)
    return Tables(events, items, users, False, source)


def clicked(events: pl.DataFrame, reading: Reading, file: Path, least: float | str | None) -> tuple[pl.DataFrame, str]:
    """Ratings that count as clicks, and what that means in words; rows with a lower one, or none, are set aside and counted.

    Args:
        events: rows of a file. least: rating from which on a row counts, a number or its text; None: every row counts.

    Raises:
        ConfigError: it is no number, or there are no ratings.
    """
    pl = need_polars()
    rated = "rating" in events.columns
    if least is None:
        what = "every row counts as one, whatever its rating; click_rating=4 takes those from 4 on" if rated else ""
        return events.with_columns(click=pl.lit(True)), what
    try:
        floor = float(least)
    except (TypeError, ValueError):
        floor = math.nan
    require(math.isfinite(floor) and not isinstance(least, bool), "click_rating", "must be a number", least)
    require(rated, "click_rating", "needs a column rating", sorted(events.columns))
    low = (events["rating"] < floor).fill_null(True)
    lost = events.filter(low)
    if len(lost):
        rule = f"rating must be at least {floor:g} to count as a click"
        reading.ledger.add_rows(reading.name(file), lost["_line"], rule, lost["rating"], aside=True)
    return events.filter(~low).with_columns(click=pl.lit(True)), f"a rating of at least {floor:g}"


def recbole(path: Path, reading: Reading, *, delimiter: str = "\t", click_rating: float | str | None = None) -> Tables:
    """Atomic files of RecBole: `NAME.inter`, and `NAME.item` and `NAME.user` where there are any.

    Zhao et al., CIKM 2021; the format is that of recbole.io/docs/user_guide/data/atomic_files.html: a header of ``name:type``, where
    a type is token, token_seq, float or float_seq, and sequences are split by blanks. Columns are found by their usual names, or
    as `columns` says; `label` is a click. A float_seq of items or users becomes a vector. The topic of an item is the first token
    of a column called class, genre, genres, category or categories.

    Args:
        delimiter: between fields.
        click_rating: where there is no label, the least rating that counts as a click, such as 4; rows below are set aside. None: every
            row counts.
    """
    pl = need_polars()
    files = reading.find("*.inter", "*/*.inter") if path.is_dir() else [path]
    if len(files) > 1:
        raise FitError(
            f"{path}: must hold one file .inter, got {[reading.name(file) for file in files]}; name the one to read"
        )
    (file,) = files
    text, types = _atomic(reading, file, delimiter)
    given = dict(reading.columns)
    if "label" in text.columns and "click" not in given and "click" not in text.columns:
        given["click"] = "label"
    plain = [name for name in text.columns if types[name] in ("token", "float")]
    mapping, guessed = mapped(plain, given, text.name)
    extra = [name for target, name in mapping.items() if "." in target]
    if extra:
        raise FitError(f"{text.name}: attributes stand in files .item and .user, got columns for {extra}")
    clock = Clock()
    rules = {target: Rule(name) for target, name in mapping.items() if target != "event"}
    events = reading.events(text, rules, clock)
    tables: dict[str, Any] = {}
    for code, prefix in (("item", "embedding_"), ("user", "profile_")):
        stem = file.name.removesuffix(".gz").removesuffix(".inter")
        sides = [file.with_name(f"{stem}.{code}{end}") for end in ("", ".gz")]
        for side in [side for side in sides if side.is_file()][:1]:
            inner, kinds = _atomic(reading, side, delimiter)
            id = mapping[code] if mapping[code] in inner.columns else inner.columns[0]
            table = reading.attributes(
                inner, id, as_text=[name for name, kind in kinds.items() if not kind.startswith("float")]
            )
            tables[code] = _vectors(table, kinds, prefix, inner.name, len(table))
    items = tables.get("item")
    if items is not None:
        name = next(
            (name for name in ("class", "genre", "genres", "category", "categories") if name in items.columns), None
        )
        if name is not None and "topic" not in items.columns:
            items = items.with_columns(topic=pl.col(name).cast(pl.String).str.split(" ").list.first())
    labelled = "click" in events.columns
    both, what = labelled and bool((~events["click"]).any()), ""
    require(
        click_rating is None or not labelled, "click_rating", "must be None where clicks are labelled", click_rating
    )
    if not labelled:
        events, what = clicked(events, reading, file, click_rating)
    source = reading.source(clock, name=file.name.split(".")[0], columns=mapping, guessed=guessed, click=what)
    return Tables(events, items, tables.get("user"), both, source)


def uci_eshop(path: Path, reading: Reading) -> Tables:
    """UCI, clickstream of a shop for the clothes of pregnant women, 2008 (`e-shop clothing 2008.csv`, between semicolons).

    Łapczyński and Białowąs 2013; archive.ics.uci.edu/dataset/553. The columns are those of the file. A row is a click. Users are not
    known: a session is a user. The time of day is not logged: the clicks of a session are put a second apart in their `order`, from
    midnight on. `position` is `location` less one, the part of the page (three above, three below). The topic of a model is its
    main category. Country, colour, kind of photograph and page are attributes of the session or the model.
    """
    pl = need_polars()
    (file, *_) = reading.find("e-shop clothing 2008.csv", "e-shop*clothing*2008*.csv")
    text = reading.text(file, delimiter=";")
    text.require(ESHOP)
    rules = {
        "user": Rule("session ID"), "item": Rule("page 2 (clothing model)"), "position": Rule("location"), "price": Rule("price")
    }  # fmt: skip
    extra = ("year", "month", "day", "order", "country", "page 1 (main category)", "colour", "model photography")
    frame = reading.events(text, rules, needed=("user", "item"), extra=extra)
    numbers = {
        name: pl.col(f"_{name}").str.strip_chars().cast(pl.Int32, strict=False)
        for name in ("year", "month", "day", "order")
    }
    frame = frame.with_columns(**{f"_{name}": number for name, number in numbers.items()})
    valid = (
        pl.col("_year").is_between(1970, 2200) & pl.col("_month").is_between(1, 12) & pl.col("_day").is_between(1, 31)
    )
    day = frame.select(pl.when(valid).then(pl.concat_str([pl.col(f"_{name}") for name in ("year", "month", "day")], separator="-")).alias("day"))  # fmt: skip
    midnight = day["day"].str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).cast(pl.Int64)
    order = frame["_order"].clip(1, 86_400)
    wrong = midnight.is_null() | frame["_order"].is_null() | (frame["_order"] != order)
    shown = frame.select(pl.concat_str([pl.col(f"_{name}") for name in ("year", "month", "day", "order")], separator=";", ignore_nulls=True))  # fmt: skip
    reading.ledger.add_rows(text.name, frame["_line"].filter(wrong), "year, month, day and order must be a day and a whole number from 1", shown.to_series().filter(wrong))  # fmt: skip
    frame = frame.with_columns(time=midnight + (order - 1).cast(pl.Int64) * 1_000_000).filter(~wrong)
    first = {"topic": "page 1 (main category)", "colour": "colour", "photography": "model photography"}
    items = frame.group_by("item", maintain_order=True).agg(
        pl.col(f"_{name}").first().alias(to) for to, name in first.items()
    )
    users = frame.group_by("user", maintain_order=True).agg(country=pl.col("_country").first())
    events = frame.drop([f"_{name}" for name in extra]).with_columns(
        pl.col("position") - 1, session=pl.col("user"), click=pl.lit(True)
    )
    source = reading.source(name="clickstream data for online shopping", citation="Łapczyński and Białowąs 2013")
    source["time"] = (
        "days; clicks of a session are put a second apart, in their order: the hour of the day is not known"
    )
    items, users = attribute_table(items, "item", {}, ("topic",)), attribute_table(users, "user", {})
    return Tables(events, items, users, False, source)


def retailrocket(path: Path, reading: Reading) -> Tables:
    """Retailrocket: views, additions to the cart and transactions of a shop (`events.csv`), categories (`item_properties*.csv`).

    Retailrocket on Kaggle, 2016; events are timestamp (milliseconds), visitorid, event, itemid, transactionid. What happens after a
    view is joined to it, see `recgym.logs.fold.folded`. The topic of an item is its last `categoryid`. Other properties are hashed
    text and are not read. **The columns of `item_properties` (timestamp, itemid, property, value) are from memory.**
    """
    pl = need_polars()
    clock = Clock("ms")
    rules = {"user": Rule("visitorid"), "item": Rule("itemid"), "time": Rule("timestamp"), "event": Rule("event")}
    frame = reading.events(reading.text(reading.find("events.csv")[0], delimiter=","), rules, clock)
    source: dict[str, Any] = {}
    events, _ = by_event(reading, frame, None, False, source)
    parts = []
    for file in reading.find("item_properties*.csv", required=False):
        text = reading.text(file, delimiter=",")
        blocks = text.blocks(("timestamp", "itemid", "property", "value"), reading.ledger)
        parts += [block.filter(pl.col("property") == "categoryid") for block in blocks]
    items = None
    if parts:
        last = pl.concat(parts).sort(pl.col("timestamp").cast(pl.Int64, strict=False))
        items = last.group_by("itemid", maintain_order=True).agg(topic=pl.col("value").last()).rename({"itemid": "id"})
    return Tables(events, items, None, False, reading.source(clock, name="Retailrocket", **source))


def yoochoose(path: Path, reading: Reading) -> Tables:
    """RecSys Challenge 2015: clicks and purchases of a shop by session (`yoochoose-clicks.dat`, `yoochoose-buys.dat`), no header.

    Ben-Shimon et al., RecSys 2015; clicks are session, timestamp (ISO 8601, UTC), item, category, and buys are session, timestamp,
    item, price, quantity. A session is an anonymous user. A purchase is joined to the latest click of the same session and item.
    The last price of an item
    is an attribute of it, as it stands in purchases alone; 0 means that it is not known. The topic of an item is its first category that is not 0.
    """
    pl = need_polars()
    clock = Clock("%Y-%m-%dT%H:%M:%S%.f")
    rules = {"user": Rule("session"), "item": Rule("item"), "time": Rule("time")}
    names = ("session", "time", "item", "category")
    text = reading.text(reading.find("yoochoose-clicks.dat")[0], delimiter=",", header=False, names=names)
    clicks = reading.events(text, rules, clock, extra=("category",)).with_columns(kind=pl.lit("click"))
    known = clicks.filter(~pl.col("_category").is_in(["0", ""]))
    items = known.group_by("item", maintain_order=True).agg(topic=pl.col("_category").first()).rename({"item": "id"})
    rows = clicks.drop("_category")
    for file in reading.find("yoochoose-buys.dat", required=False):
        names = ("session", "time", "item", "price", "quantity")
        text = reading.text(file, delimiter=",", header=False, names=names)
        buys = reading.events(text, rules | {"price": Rule("price")}, clock).with_columns(kind=pl.lit("purchase"))
        buys = buys.with_columns(price=pl.when(pl.col("price") > 0).then(pl.col("price")))
        rows = pl.concat([rows, buys], how="diagonal")
    if "price" in rows.columns:  # known of what was bought alone, so that it is no price as shown
        prices = rows.drop_nulls("price").group_by("item", maintain_order=True).agg(pl.col("price").last())
        items = items.join(
            prices.rename({"item": "id"}), on="id", how="full", coalesce=True, maintain_order="left_right"
        )
        rows = rows.drop("price")
    events, alone = folded(rows, reading.session_gap)
    events = events.with_columns(session=pl.col("user"))
    source = reading.source(
        clock,
        name="RecSys Challenge 2015",
        citation="Ben-Shimon et al., RecSys 2015",
        **({"of their own": alone} if alone else {}),
    )
    return Tables(events, items, None, False, source)


def otto(path: Path, reading: Reading, *, sessions: int | None = None) -> Tables:
    """OTTO: clicks, carts and orders of a shop by session, a JSON object a line (`otto-recsys-train.jsonl`, or any `*.jsonl`).

    Normann et al. 2022; github.com/otto-de/recsys-dataset: {"session": 42, "events": [{"aid": 0, "ts": 1661200010000, "type":
    "clicks"}, ...]}, with milliseconds. A session is an anonymous user, whose visits are derived from gaps. Carts and orders are
    joined to the latest click of the same item.

    Args:
        sessions: read that many lines at most; None: all.
    """
    pl = need_polars()
    require(
        sessions is None or (type(sessions) is int and sessions > 0),
        "sessions",
        "must be a whole number or None",
        sessions,
    )
    (file, *_) = reading.find("otto-recsys-train.jsonl", "*.jsonl")
    name = reading.name(file)
    reading.names.append(name)
    reading.digest(file)
    columns: dict[str, list[Any]] = {key: [] for key in ("user", "item", "time", "kind", "_line")}
    with file.open("rb") as stream:
        for line, content in enumerate(islice(stream, sessions), 1):
            if not content.strip():
                continue
            try:
                data = json.loads(content)
                session, events = data["session"], data["events"]
                rows = [(str(session), str(e["aid"]), int(e["ts"]), OTTO[e["type"]], line) for e in events]
                if not all(0 <= row[2] < 2**53 for row in rows):
                    raise ValueError("ts")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reading.ledger.read += 1
                rule = "must be a session with events of aid, ts and type"
                reading.ledger.add(
                    name, line, rule, f"{type(error).__name__} {error}: {content[:60].decode('latin-1')}"
                )
                continue
            reading.ledger.read += len(rows)
            for key, values in zip(columns, zip(*rows, strict=True), strict=False):
                columns[key].extend(values)
    if not reading.ledger.read:
        raise FitError(f"{name}: has no rows")
    frame = pl.DataFrame(columns, schema={"user": pl.String, "item": pl.String, "time": pl.Int64, "kind": pl.String, "_line": pl.UInt32})  # fmt: skip
    frame = frame.with_columns(pl.col("time") * 1000, _file=pl.lit(0, dtype=pl.UInt16))
    latest = instant(2261)
    wrong = (frame["time"] < 0) | (frame["time"] >= latest)
    reading.ledger.add_rows(
        name, frame["_line"].filter(wrong), "ts must be milliseconds since 1970", frame["time"].filter(wrong)
    )
    events, alone = folded(frame.filter(~wrong), reading.session_gap)
    source = reading.source(
        Clock("ms"), name="OTTO", citation="Normann et al. 2022", **({"of their own": alone} if alone else {})
    )
    return Tables(events, None, None, False, source)


_WATCHED = f"not logged: watched for {WATCHED:g} seconds, or to the end of what is shorter"


def _watched(dwell: Any, length: Any) -> Any:
    """Whether a video counts as clicked; null where its length is not known and it was watched for less."""
    return (dwell > WATCHED) | (dwell >= length)


def _side(
    reading: Reading, patterns: Sequence[str], id: str | Sequence[str], used: pl.Series, as_text: Sequence[str] = ()
) -> pl.DataFrame | None:
    """Attributes of those that have events, from all files that fit; None where there is no file."""
    pl = need_polars()
    parts = []
    for file in reading.find(*patterns, required=False):
        text = reading.text(file, delimiter=",")
        names = [id] if isinstance(id, str) else list(id)
        name = next((name for name in names if name in text.columns), names[0])
        parts.append(reading.attributes(text, name, as_text=as_text))
    if not parts:
        return None
    table = reduce(lambda a, b: pl.concat([a, b], how="diagonal_relaxed"), parts).unique(
        "id", keep="first", maintain_order=True
    )
    return table.join(pl.DataFrame({"id": used.cast(pl.String).unique()}), on="id", how="semi")


def _atomic(reading: Reading, file: Path, delimiter: str) -> tuple[Any, dict[str, str]]:
    """An atomic file whose columns have lost their types, and the types."""
    text = reading.text(file, delimiter=delimiter, quoting=False)
    types: dict[str, str] = {}
    names = []
    for column in text.columns:
        name, _, kind = column.rpartition(":")
        if not name or kind not in RECBOLE_TYPES:
            raise FitError(
                f"{text.name}, line 1: a column must be name:type, with a type of {list(RECBOLE_TYPES)}, got {brief(column)}"
            )
        types[name] = kind
        names.append(name)
    text.columns = names
    return text, types


def _vectors(table: pl.DataFrame, kinds: Mapping[str, str], prefix: str, file: str, rows: int) -> pl.DataFrame:
    """The first column of number sequences as a vector, if its rows are of one length."""
    pl = need_polars()
    name = next((name for name, kind in kinds.items() if kind == "float_seq" and name in table.columns), None)
    if name is None:
        return table
    lists = (
        table[name]
        .cast(pl.String)
        .str.strip_chars()
        .str.split(" ")
        .list.eval(pl.element().cast(pl.Float32, strict=False))
    )
    widths = lists.list.len().unique().drop_nulls().to_list()
    if len(widths) != 1:
        raise FitError(f"{file}: {name} must have as many numbers in each row, got {brief(sorted(widths))}")
    columns = [lists.list.get(k).alias(f"{prefix}{k}") for k in range(widths[0])]
    return table.drop(name).with_columns(columns)


for _name, _reader in (
    ("open-bandit", open_bandit), ("mind", mind), ("kuairand", kuairand), ("kuairec", kuairec), ("kuailive", kuailive),
    ("vk-lsvd", vk_lsvd), ("yambda", yambda), ("movielens", movielens), ("recbole", recbole), ("uci-eshop", uci_eshop),
    ("retailrocket", retailrocket), ("yoochoose", yoochoose), ("otto", otto),
):  # fmt: skip
    register_reader(_name, _reader)
recbole.takes_columns = True  # type: ignore[attr-defined]
