"""What is known of items, users and slates, as the tensors that a fit reads."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from recgym.fit.events import Slates
from recgym.fit.taste import Data

if TYPE_CHECKING:
    from recgym.logs.table import Logs


VARIED = ("log_price",)  # signals for which users differ in their coefficients


def prepared(logs: Logs) -> Logs:
    """The logs as they are fitted: users who have rows, and interactions alone as steps of their own."""
    logs = with_rows(logs)
    return logs if logs.impressions else one_by_one(logs)


def with_rows(logs: Logs) -> Logs:
    """The logs without users of whom there are no rows; users are numbered anew."""
    import polars as pl

    there = logs.events["user"].unique().sort()
    if len(there) == logs.n_users:
        return logs
    codes = pl.DataFrame({"user": there, "code": pl.arange(len(there), eager=True, dtype=pl.UInt32)})
    events = logs.events.join(codes, on="user", how="left", maintain_order="left")
    events = events.with_columns(user=pl.col("code")).drop("code").select(logs.events.columns)
    users = logs.users.filter(pl.col("user").is_in(there.implode())).with_columns(
        user=pl.arange(len(there), eager=True, dtype=pl.UInt32)
    )
    return dataclasses.replace(logs, events=events, users=users)


def one_by_one(logs: Logs) -> Logs:
    """Interactions as steps of their own, also those of one user and one time; places are of no use, as the items around are not known."""
    import polars as pl

    from recgym.logs.table import COLUMNS

    events = logs.events.drop("position", strict=False)
    order = [name for name in COLUMNS if name in (*events.columns, "slate")]
    order += [name for name in events.columns if name not in order]
    return dataclasses.replace(
        logs, events=events.with_columns(slate=pl.arange(len(events), eager=True, dtype=pl.UInt32)).select(order)
    )


def with_negatives(slates: Slates, negatives: int, rng: np.random.Generator) -> Slates:
    """Interactions, one to a slate, among random items of the catalogue; in random order, so that the place of an item tells nothing."""
    M, N = len(slates), slates.n_items
    kept = slates.item.argmax(axis=1)  # where the item is; the other places are -1
    own = slates.item[np.arange(M), kept]
    fake = rng.integers(0, N, (M, negatives)).astype(np.int32)
    item = np.concatenate([own[:, None], np.where(fake == own[:, None], -1, fake)], axis=1)
    order = rng.permuted(np.tile(np.arange(negatives + 1), (M, 1)), axis=1)
    taken = order == 0
    outcome = {
        name: np.where(taken, x[np.arange(M), kept][:, None], 0).astype(np.float32)
        for name, x in slates.outcome.items()
    }
    signal = np.zeros((*item.shape, 0), np.float32)
    return dataclasses.replace(
        slates, item=np.take_along_axis(item, order, axis=1), click=taken, signal=signal, signals=(), outcome=outcome
    )


def data_of(logs: Logs, slates: Slates, unknown: list[str]) -> Data:
    """Tensors; the features are the signals alone."""
    embedding = _vectors(logs, "items", "embedding_")
    attributes, plain = visible_attributes(logs)
    usual, of = usual_signals(slates)
    powers = np.concatenate([attributes, attributes**2, attributes**3, usual], axis=1)
    names = (*plain, *(f"{name} squared" for name in plain), *(f"{name} cubed" for name in plain), *of)
    profile, known = _profiles(logs)
    if embedding is None:
        unknown.append("Embeddings of the items: not given; they were fitted to the clicks.")
    if not known.any():
        unknown.append(
            "Profiles of the users: not given; what the logs tell of a user stands for what the platform knows."
        )
    keep = [f for f, name in enumerate(slates.signals) if name != "price"]
    T = torch.from_numpy
    return Data(
        T(np.maximum(slates.item, 0).astype(np.int64)), T(slates.shown), T(slates.click & slates.shown),
        T(np.ascontiguousarray(slates.signal[..., keep])), T(slates.user.astype(np.int64)), slates.first, T(profile), T(known),
        T(powers.astype(np.float32)), None if embedding is None else T(embedding), names,
        torch.zeros(slates.item.shape), len(keep), tuple(k for k, f in enumerate(keep) if slates.signals[f] in VARIED),
    )  # fmt: skip


def visible_attributes(logs: Logs) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(N, A) numbers of the items, scaled into [-1, 1] where they are not already, and their names."""
    skip = {"item", "id", "topic", "title"}
    names, columns = [], []
    for name in logs.items.columns:
        values = logs.items[name]
        if name in skip or name.startswith("embedding_") or not values.dtype.is_numeric():
            continue
        x = values.fill_null(values.median() if values.null_count() < len(values) else 0).to_numpy().astype(np.float64)
        x = np.where(np.isfinite(x), x, 0.0)
        if np.ptp(x) == 0:
            continue
        low, high = np.percentile(x, [0.5, 99.5])
        if low < -1 or high > 1:
            x = np.clip((x - (low + high) / 2) / max((high - low) / 2, 1e-9), -1, 1)
        names.append(name)
        columns.append(x)
    shape = np.stack(columns, 1) if columns else np.zeros((logs.n_items, 0))
    return shape.astype(np.float32), tuple(names)


def usual_signals(slates: Slates) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(N, A) means over time of the signals of each item, and their names.

    An item that is worth more than its attributes tell may well have higher signals, such as its click rate. With these means as attributes
    the coefficient of the signal itself is what its changes do (Mundlak 1978). Signals that hardly change, or change alike for all items, have none.
    """
    item = slates.item[slates.shown].astype(np.int64)
    count = np.bincount(item, minlength=slates.n_items)
    names, columns = [], []
    for f, name in enumerate(slates.signals):
        x = slates.signal[..., f][slates.shown].astype(np.float64)
        mean = np.bincount(item, x, slates.n_items) / np.maximum(count, 1)
        total, within = x.var(), np.mean((x - mean[item]) ** 2)
        if name != "price" and within > 0.02 * total and total - within > 0.05 * total:
            names.append(f"usual {name}")
            columns.append(np.where(count > 0, mean, x.mean()))
    shape = np.stack(columns, 1) if columns else np.zeros((slates.n_items, 0))
    return shape.astype(np.float32), tuple(names)


def _vectors(logs: Logs, what: str, prefix: str) -> NDArray[np.float32] | None:
    """(n, d) of the columns of a vector; rows with a null are 0."""
    names = logs.vectors(what, prefix)
    if not names:
        return None
    table = getattr(logs, what)
    x = np.stack([table[name].cast(float).fill_null(math.nan).to_numpy() for name in names], 1)
    return np.where(np.isfinite(x).all(axis=1, keepdims=True), x, 0.0).astype(np.float32)


def _profiles(logs: Logs) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(U, P) what is known of the users: their columns `profile_`, or numbers and frequent levels of other columns."""
    vector = _vectors(logs, "users", "profile_")
    if vector is not None:
        return vector, (vector != 0).any(axis=1)
    columns = []
    for name in logs.users.columns:
        values = logs.users[name]
        if name in ("user", "id"):
            continue
        if values.dtype.is_numeric():
            x = values.cast(float).to_numpy()
            spread = np.nanstd(x)
            if spread > 0:
                columns.append(np.where(np.isfinite(x), np.clip((x - np.nanmean(x)) / spread, -3, 3), 0.0))
        else:
            text = values.cast(str).fill_null("").to_numpy().astype(str)
            levels, count = np.unique(text, return_counts=True)
            for level in levels[np.argsort(-count)][:8]:
                if 0.02 < (text == level).mean() < 0.98:
                    columns.append((text == level).astype(float))
    if not columns:
        return np.zeros((logs.n_users, 1), np.float32), np.zeros(logs.n_users, np.bool_)
    return np.stack(columns, 1).astype(np.float32), np.ones(logs.n_users, np.bool_)
