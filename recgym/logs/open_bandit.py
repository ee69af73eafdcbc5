"""Interaction logs as columns: which item was shown in which position, and whether it was clicked.

logs = read_open_bandit("open_bandit_dataset", campaign="all")
impressions, clicks = logs.counts()
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.errors import FitError, require, require_option

CAMPAIGNS = ("all", "men", "women")
POLICIES = ("random", "bts")
POSITIONS = 3
CATEGORIES = ("item_feature_1", "item_feature_2", "item_feature_3")  # hashed
CHUNK = 100_000  # rows that are parsed at a time: the full data set has millions, as strings too many for memory
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Interactions:
    """Impressions, one per row, and the items that were shown.

    Args:
        timestamp: (n,) datetime64[us], UTC.
        item: (n,) int32 in [0, n_items).
        position: (n,) int32 in [0, n_positions); 0 is the first.
        click: (n,) bool.
        propensity: (n,) float64 in (0, 1], the probability with which the logging policy showed the item there.
        policy: (n,) int32 index into `policies`.
        policies: names of the logging policies.
        n_items, n_positions: N and P, >= 1.
        items: context of the items, name -> (N,) float64 numbers or (N,) int32 levels of a category.
        source: where the rows come from, as plain JSON values.

    Raises:
        FitError: columns of unequal length, or a value outside its range.
    """

    timestamp: NDArray[np.datetime64]
    item: NDArray[np.int32]
    position: NDArray[np.int32]
    click: NDArray[np.bool_]
    propensity: NDArray[np.float64]
    policy: NDArray[np.int32]
    policies: tuple[str, ...]
    n_items: int
    n_positions: int
    items: dict[str, NDArray[Any]]
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.item)
        for name in ("timestamp", "position", "click", "propensity", "policy"):
            if len(getattr(self, name)) != n:
                raise FitError(f"{name}: must have the {n} rows of item, got {len(getattr(self, name))}")
        ends = {"item": self.n_items, "position": self.n_positions, "policy": len(self.policies)}
        for name, end in ends.items():
            values = getattr(self, name)
            if n and (values.min() < 0 or values.max() >= end):
                raise FitError(f"{name}: must lie in [0, {end}), got {values.min()} to {values.max()}")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise FitError("propensity: must lie in (0, 1]")
        for name, values in self.items.items():
            if values.shape != (self.n_items,):
                raise FitError(f"items[{name!r}]: must have shape ({self.n_items},), got {values.shape}")

    def __len__(self) -> int:
        return len(self.item)

    def counts(self, rows: Any = slice(None)) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, P) float64 counts of impressions and of clicks by item and position, of the rows that `rows` selects."""
        cell = self.item[rows] * self.n_positions + self.position[rows]
        size = self.n_items * self.n_positions
        counts = np.bincount(cell, minlength=size), np.bincount(cell, self.click[rows], minlength=size)
        impressions, clicks = (c.astype(np.float64).reshape(self.n_items, self.n_positions) for c in counts)
        return impressions, clicks


def read_open_bandit(folder: str | Path, campaign: str = "all", policies: Sequence[str] = POLICIES) -> Interactions:
    """Read the Open Bandit Dataset (Saito, Aihara, Matsutani and Narita, NeurIPS Datasets and Benchmarks 2021).

    It has fashion items of the shop ZOZOTOWN. A row is an item shown in one of three positions of the page (left,
    centre, right) by a uniformly random policy or by Bernoulli Thompson sampling ("bts"). Two layouts are read, with
    files gzipped or not: that of the published archive (``random/all/all.csv``, ``random/all/item_context.csv``) and a
    flat one (``random_all_all.csv.gz``, ``random_all_item_context.csv.gz``). User columns are not read.

    The hashes of the categories differ between the files of the two policies. So the levels of a category are numbered
    in the order of the item ids that have them, and the files of both policies must then agree on every item.

    Args:
        folder: of the files.
        campaign: "all" (80 items), "men" (34 items) or "women" (46 items).
        policies: "random", "bts", or both; the rows come in this order.

    Raises:
        ConfigError: an unknown campaign or policy.
        FitError: a file or a column is missing, a value breaks its rule, or the files contradict each other. The
            message names the file, the line and the rule.
    """
    require_option("campaign", campaign, CAMPAIGNS)
    distinct = not isinstance(policies, str) and len(policies) > 0 and len(set(policies)) == len(policies)
    require(distinct, "policies", "must be a list of names, at least one, none twice", policies)
    for policy in policies:
        require_option("policies", policy, POLICIES)
    files: dict[str, str] = {}
    items: dict[str, NDArray[Any]] = {}
    parts: list[_Rows] = []
    for k, policy in enumerate(policies):
        context = _find(Path(folder), policy, campaign, "item_context")
        log = _find(Path(folder), policy, campaign, campaign)
        files |= {file.relative_to(folder).as_posix(): _sha256(file) for file in (log, context)}
        found = _read_items(context)
        for name, values in found.items():
            if k and not np.array_equal(values, items[name]):
                raise FitError(f"{context.name}: {name} contradicts the item context of policy {policies[0]!r}")
        items = items or found
        parts += _read_rows(log, len(found["item_feature_0"]), k)
    rows = _Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    source = {"name": "Open Bandit Dataset", "campaign": campaign, "sha256": files}
    return Interactions(
        **rows._asdict(), policies=tuple(policies), n_items=len(items["item_feature_0"]), n_positions=POSITIONS,
        items=items, source=source,
    )  # fmt: skip


Rule = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


class _Rows(NamedTuple):
    """The columns of a chunk, as in `Interactions`."""

    timestamp: NDArray[np.datetime64]
    item: NDArray[np.int32]
    position: NDArray[np.int32]
    click: NDArray[np.bool_]
    propensity: NDArray[np.float64]
    policy: NDArray[np.int32]


def _find(folder: Path, policy: str, campaign: str, what: str) -> Path:
    stems = (f"{policy}_{campaign}_{what}", f"{policy}/{campaign}/{what}")
    names = [f"{stem}.{end}" for stem in stems for end in ("csv.gz", "csv")]
    for name in names:
        if os.path.isfile(folder / name):
            return folder / name
    kind = "item context" if what == "item_context" else "log"
    where = f"policy {policy!r} and campaign {campaign!r}"
    raise FitError(f"{folder}: holds no {kind} of {where}; expected one of {', '.join(names)}")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_items(file: Path) -> dict[str, NDArray[Any]]:
    names = ("item_id", "item_feature_0", *CATEGORIES)
    lines, rows = zip(*[pair for chunk in _chunks(file, names) for pair in zip(*chunk, strict=True)], strict=True)
    columns = list(zip(*rows, strict=True))
    n = len(rows)
    item = _numbers(file, lines, "item_id", columns[0], f"a whole number in [0, {n})", _whole(0, n - 1)).astype(
        np.int64
    )
    if len(np.unique(item)) != n:
        raise FitError(f"{file.name}: item_id must name each item from 0 to {n - 1} once")
    order = np.argsort(item)
    number = _numbers(file, lines, "item_feature_0", columns[1], "a finite number", np.isfinite)
    items: dict[str, NDArray[Any]] = {"item_feature_0": number[order]}
    for name, values in zip(CATEGORIES, columns[2:], strict=True):
        levels: dict[str, int] = {}
        items[name] = np.array([levels.setdefault(values[i], len(levels)) for i in order], np.int32)
    return items


def _read_rows(file: Path, n_items: int, policy: int) -> Iterator[_Rows]:
    names = ("timestamp", "item_id", "position", "click", "propensity_score")
    for lines, rows in _chunks(file, names):
        time, item, position, click, propensity = zip(*rows, strict=True)
        known = f"one of the {n_items} items of the item context"
        yield _Rows(
            _times(file, lines, time),
            _numbers(file, lines, "item_id", item, known, _whole(0, n_items - 1)).astype(np.int32),
            _numbers(file, lines, "position", position, "1, 2 or 3", _whole(1, POSITIONS)).astype(np.int32)
            - np.int32(1),
            _numbers(file, lines, "click", click, "0 or 1", _whole(0, 1)).astype(np.bool_),
            _numbers(file, lines, "propensity_score", propensity, "in (0, 1]", lambda p: (p > 0) & (p <= 1)),
            np.full(len(rows), policy, np.int32),
        )


def _chunks(file: Path, names: Sequence[str]) -> Iterator[tuple[tuple[int, ...], tuple[tuple[str, ...], ...]]]:
    """Chunks of the named columns of a CSV file: line numbers and rows, without the empty lines."""
    empty = True
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            reader = csv.reader(io.TextIOWrapper(stream, "utf-8-sig", newline=""))  # type: ignore[arg-type]
            header = next(reader, [])
            missing = [name for name in names if name not in header]
            if missing:
                raise FitError(f"{file.name}: lacks the columns {', '.join(missing)}; needed are {', '.join(names)}")
            for name in names:
                if header.count(name) > 1:
                    raise FitError(f"{file.name}: has the column {name} twice")
            rows = _picked(file, reader, len(header), itemgetter(*[header.index(name) for name in names]))
            while chunk := list(islice(rows, CHUNK)):
                empty = False
                lines, picked = zip(*chunk, strict=True)
                yield lines, picked
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise FitError(f"{file.name}: cannot be read: {error}") from None
    if empty:
        raise FitError(f"{file.name}: has no rows")


def _picked(
    file: Path, reader: Any, width: int, pick: Callable[[list[str]], tuple[str, ...]]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    for row in reader:
        if len(row) == width:
            yield reader.line_num, pick(row)
        elif row:
            raise FitError(f"{file.name}, line {reader.line_num}: has {len(row)} fields, and the header {width}")


def _whole(low: int, high: int) -> Rule:
    return lambda x: (x >= low) & (x <= high) & (x == np.floor(x))


def _numbers(
    file: Path, lines: Sequence[int], name: str, text: Sequence[str], rule: str, valid: Rule
) -> NDArray[np.float64]:
    plain = "".join(text)
    try:
        if "_" in plain or not plain.isascii():  # Python reads 1_0 as ten, and the digits of any script
            raise ValueError
        values = np.array(text, np.float64)
    except ValueError:
        values = np.array([float(t) if NUMBER.fullmatch(t.strip()) else np.nan for t in text])
    bad = np.flatnonzero(~valid(values))
    if len(bad):
        raise FitError(f"{file.name}, line {lines[bad[0]]}: {name} must be {rule}, got {_short(text[int(bad[0])])}")
    return values


def _times(file: Path, lines: Sequence[int], text: Sequence[str]) -> NDArray[np.datetime64]:
    plain = [t.removesuffix("Z").removesuffix("+00:00") for t in text]
    bad = next((k for k, t in enumerate(plain) if not TIME.fullmatch(t)), None)
    if bad is None:
        try:
            return np.array(plain, "datetime64[us]")
        except ValueError:  # a month 13, say
            bad = next(k for k, t in enumerate(plain) if not _is_time(t))
    raise FitError(
        f"{file.name}, line {lines[bad]}: timestamp must be an ISO 8601 time in UTC, got {_short(text[bad])}"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def _is_time(text: str) -> bool:
    try:
        np.datetime64(text)
    except ValueError:
        return False
    return True
