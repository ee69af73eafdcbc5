"""What is done to logs so that a world fitted to them tells little of one person.

Three measures, from the weakest to the strongest:

- `hash_ids`: names become salted hashes. Whoever has the salt can try names; without it the rows of one user still
  belong together.
- `k_anonymous`: items, attributes and queries that fewer than k users have are merged, averaged or left out. It
  protects single columns of attributes. It is **no guarantee**: what a user did, and when, stays as it was, and a few
  known clicks single a user out among millions.
- `private_counts` and `private_moments`: numbers with Gaussian noise, which are differentially private. Whatever is
  computed from them tells of any one user's rows no more than (epsilon, delta) allows, whoever asks and whatever they
  know. `epsilon_of` adds several such numbers up. For networks see `recgym.logs.private_training`.

    counts = private_counts(logs, epsilon=1.0, delta=1e-6, cap=20)
    ctr = counts.clicks / counts.impressions.clip(1)
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recgym.errors import FitError, require, require_count, require_number

if TYPE_CHECKING:
    import polars as pl

    from recgym.logs.table import Logs

DIGITS = 16  # of a hashed id, 4 bits each
EPSILONS = 1e-6, 1e4  # the range that is accepted; the upper end is far beyond any that protects
UNIT = "all rows of one user are added or removed"


def hash_ids(ids: Iterable[object], salt: str | None = None) -> list[str]:
    """The ids under salted hashes: the first 16 hex digits of SHA-256(salt + id), in UTF-8.

    Equal ids get equal hashes. Hash distinct ids once each where they repeat: that is the slow part (a million a second).

    Args:
        ids: any values; what is hashed is their `str`.
        salt: None draws 32 random bytes from the operating system, which nobody gets to see, so that the hashes cannot be
            made again: not by trying names, and not for a second set of logs. Give a salt where two sets of logs must
            agree on their users, and keep it as a secret.

    Raises:
        ConfigError: salt is not a string.
        FitError: an id is missing, or two ids get the same hash. Among ten million ids that happens with probability
            3e-6; a new salt helps.
    """
    require(salt is None or isinstance(salt, str), "salt", "must be a string or None", type(salt).__name__)
    values = list(ids)
    if any(value is None for value in values):
        raise FitError("ids: must all be there, got None")
    texts = [str(value) for value in values]
    known: dict[str, str] = {}  # hash -> id
    hashes = list(hashed(texts, secrets.token_hex(32) if salt is None else salt))
    for text, short in zip(texts, hashes, strict=True):
        if known.setdefault(short, text) != text:
            raise FitError(f"ids: two of {len(known)} get the same hash {short}; read again, with another salt")
    return hashes


def hashed(ids: Iterable[str], salt: str) -> Iterator[str]:
    """The hashes themselves, unchecked: for ids of which a table finds two that are alike."""
    start = hashlib.sha256(salt.encode("utf-8", "surrogatepass"))
    for id in ids:
        digest = start.copy()
        digest.update(id.encode("utf-8", "surrogatepass"))
        yield digest.hexdigest()[:DIGITS]


# k-anonymity ---------------------------------------------------------------------------------------------------------


def k_anonymous(logs: Logs, k: int) -> Logs:
    """Logs in which no item, attribute or query belongs to fewer than k users.

    - **Items** that fewer than k users have rows of are merged: those of one topic into one item ``other:TOPIC``, where k
      users have seen that, and the others into ``other``. Rows of the latter are left out where it has fewer than k users,
      too. A merged item keeps the topic, has the mean of each attribute that is a floating-point number (embeddings
      among them), and lacks the other ones. The propensity of its rows becomes missing.
    - **Users** keep their rows, and every user gets the same attributes as at least k - 1 others. Users whose combination of
      text, whole-number and boolean attributes fewer than k have lose all attributes (and the smallest of the other
      groups with them, until k have none). Within a group of equal ones, floating-point attributes (profiles among them)
      become means over k to 2k - 1 similar users: the group is split at the median of its widest attribute as long as
      both halves have k (Mondrian; LeFevre, DeWitt and Ramakrishnan 2006).
    - **Queries** of fewer than k users become missing.

    What was merged is counted in ``source["privacy"]["k_anonymity"]``.

    It makes attributes useless for singling somebody out. It does not hide what a user did: a few clicks with their times
    identify most users (Narayanan and Shmatikov 2008), so such logs are still personal data. A user with few rows, or with
    very many, is not merged with others, since that would make a person who never was. Names that were kept as ids stay.

    Args:
        k: >= 2.

    Raises:
        ConfigError: k is out of range.
        FitError: the logs have fewer than k users, or no item that k of them share.
    """
    import polars as pl

    k = require_count("k", k, 2, 2**31 - 1)
    if logs.n_users < k:
        raise FitError(f"k-anonymity: needs at least k = {k} users, got {logs.n_users}")
    done: dict[str, Any] = {"k": k}
    items, codes = _merged_items(logs, k, done)
    events = logs.events.with_columns(pl.Series("merged", codes)[logs.events["item"]])
    kept = events.filter(pl.col("merged") >= 0)
    done["rows_left_out"] = len(events) - len(kept)
    if not len(kept):
        raise FitError(f"k-anonymity: no item has k = {k} users, alone or merged with others")
    was_merged = np.bincount(codes[codes >= 0], minlength=len(items))[kept["merged"].to_numpy()] > 1
    done["rows_merged"] = int(was_merged.sum())
    if "propensity" in kept.columns:
        kept = kept.with_columns(pl.when(pl.Series(was_merged)).then(None).otherwise("propensity").alias("propensity"))
    kept = kept.with_columns(item=pl.col("merged").cast(logs.events.schema["item"])).drop("merged")
    if "query" in kept.columns:
        few = (pl.col("user").n_unique().over("query") < k) & pl.col("query").is_not_null()
        done["queries_removed"] = int(kept.select(pl.col("query").filter(few).n_unique()).item())
        kept = kept.with_columns(pl.when(few).then(None).otherwise("query").alias("query"))
    users = _merged_users(logs.users, k, done)
    before = logs.source.get("privacy", {})
    privacy = {**(before if isinstance(before, dict) else {"before": before}), "k_anonymity": done}
    return replace(logs, events=kept, items=items, users=users, source={**logs.source, "privacy": privacy})


def _merged_items(logs: Logs, k: int, done: dict[str, Any]) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """The new table of items, and the new code of each old item, -1 for items whose rows are left out."""
    import polars as pl

    seen = logs.events.select("user", "item").unique()
    users = np.bincount(seen["item"].to_numpy(), minlength=logs.n_items)
    rare = users < k
    groups: list[tuple[Any, NDArray[np.int64]]] = []  # topic, items
    rest = np.flatnonzero(rare)
    if "topic" in logs.items.columns:
        topics = logs.items["topic"]
        for topic in topics.filter(pl.Series(rare)).drop_nulls().unique(maintain_order=True):
            group = np.flatnonzero(rare & (topics == topic).fill_null(False).to_numpy())
            if _users_of(seen, group) >= k:
                groups.append((topic, group))
        if groups:
            rest = np.setdiff1d(rest, np.concatenate([group for _, group in groups]))
    if _users_of(seen, rest) >= k:
        groups.append((None, rest))
    codes = np.full(logs.n_items, -1, np.int64)
    codes[~rare] = np.arange((~rare).sum())
    tables = [logs.items.filter(pl.Series(~rare))]
    taken = set(logs.items["id"].to_list())
    for n, (topic, group) in enumerate(groups):
        codes[group] = len(tables[0]) + n
        members = logs.items[group]
        row = {name: members[name].mean() if members[name].dtype.is_float() else None for name in members.columns}
        name = "other" if topic is None else f"other:{topic}"
        while name in taken:
            name += "_"
        row |= {"item": 0, "id": name} | ({} if topic is None else {"topic": topic})
        tables.append(pl.DataFrame([row], schema=logs.items.schema))
    items = pl.concat(tables)
    items = items.with_columns(pl.Series("item", range(len(items)), logs.items.schema["item"]))
    done |= {
        "items_merged": int(rare.sum() - (codes < 0).sum()),
        "items_made_of_them": len(groups),
        "items_left_out": int((codes < 0).sum()),
    }
    return items, codes


def _users_of(seen: pl.DataFrame, items: NDArray[np.int64]) -> int:
    """How many users have rows of any of the items."""
    return seen["user"].filter(np.isin(seen["item"].to_numpy(), items)).n_unique()


def _merged_users(users: pl.DataFrame, k: int, done: dict[str, Any]) -> pl.DataFrame:
    import polars as pl

    attributes = [name for name in users.columns if name not in ("user", "id")]
    done |= {"users_without_attributes": 0, "users_averaged": 0}
    if not attributes:
        return users
    numbers = [name for name in attributes if users.schema[name].is_float()]
    kinds = [pl.col(name) for name in attributes if name not in numbers]
    kinds += [pl.col(name).is_null().alias(f"{name}?") for name in numbers]
    group = users.select(pl.struct(kinds).rank("dense") - 1).to_series().to_numpy()
    sizes = np.bincount(group)
    alone = sizes < k
    if alone.any():  # the users without attributes must be k, too
        by_size = np.argsort(sizes, kind="stable")
        enough = int(np.searchsorted(np.cumsum(sizes[by_size]), k)) + 1
        alone[by_size[: max(enough, int(alone.sum()))]] = True
    bare = alone[group]
    done["users_without_attributes"] = int(bare.sum())
    table = users.with_columns(pl.when(pl.Series(bare)).then(None).otherwise(name).alias(name) for name in attributes)
    if not numbers:
        return table
    values = table.select(numbers).cast(pl.Float64).to_numpy().copy()
    values[np.isnan(values)] = 0.0  # missing, in a whole group or not at all; a NaN counts as missing
    rows = np.argsort(group, kind="stable")
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        if not alone[group[part[0]]]:
            for cell in _cells(values[part], k):
                values[part[cell]] = values[part[cell]].mean(axis=0)
    done["users_averaged"] = int((~bare).sum())
    means = [pl.Series(name, values[:, j]).cast(users.schema[name]) for j, name in enumerate(numbers)]
    there = [pl.when(pl.col(name).is_not_null()).then(mean).alias(name) for name, mean in zip(numbers, means)]
    return table.with_columns(there)


def _cells(values: NDArray[np.float64], k: int) -> list[NDArray[np.int64]]:
    """Rows (n, d) in groups of at least k, and of at most 2k - 1, of similar values."""
    spread = np.ptp(values, axis=0)
    scaled = values / np.where(spread > 0, spread, 1.0)
    open_, closed = [np.arange(len(values))], []
    while open_:
        cell = open_.pop()
        if len(cell) < 2 * k:
            closed.append(cell)
            continue
        widest = int(np.argmax(np.ptp(scaled[cell], axis=0)))
        order = cell[np.argsort(scaled[cell, widest], kind="stable")]
        open_ += [order[: len(cell) // 2], order[len(cell) // 2 :]]
    return closed


# The Gaussian mechanism ----------------------------------------------------------------------------------------------


def gaussian_sigma(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """The least standard deviation of Gaussian noise that gives (epsilon, delta)-differential privacy.

    The analytic Gaussian mechanism (Balle and Wang, ICML 2018, algorithm 1): exact, for any epsilon > 0, where the
    classic sqrt(2 log(1.25 / delta)) / epsilon is larger than needed, and wrong for epsilon > 1. It has

        sigma = alpha * sensitivity / sqrt(2 epsilon)

    with alpha found by bisection on Phi(-a) - exp(epsilon) Phi(-b) = delta. The last bits are rounded up, so that the delta is
    not above the one asked for.

    Args:
        epsilon: in [1e-6, 1e4]. delta: in [1e-300, 1). sensitivity: the largest L2 distance that one user makes, > 0.

    Raises:
        ConfigError: an argument is out of range.
    """
    epsilon = require_number("epsilon", epsilon, *EPSILONS)
    delta, sensitivity = _delta_argument(delta), _positive("sensitivity", sensitivity, 1e300)

    def below(v: float) -> float:  # B+ of the paper: less noise than alpha = 1; grows with v
        return _tail_difference(-math.sqrt(epsilon * v), math.sqrt(epsilon * (v + 2)))

    def above(u: float) -> float:  # B-: more noise; falls with u
        return _tail_difference(math.sqrt(epsilon * u), math.sqrt(epsilon * (u + 2)))

    if delta >= below(0.0):
        v = _last(lambda v: below(v) <= delta)
        alpha = 2**0.5 / (math.sqrt(2 + v) + math.sqrt(v))  # sqrt(1 + v/2) - sqrt(v/2), without cancellation
    else:
        u = _first(lambda u: above(u) <= delta)
        alpha = math.sqrt(1 + u / 2) + math.sqrt(u / 2)
    return alpha * sensitivity / math.sqrt(2 * epsilon)


def gaussian_delta(epsilon: float, sigma: float, sensitivity: float = 1.0) -> float:
    """The least delta for which Gaussian noise of this standard deviation is (epsilon, delta)-differentially private.

    delta = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu), with mu = sensitivity / sigma (Balle and Wang 2018,
    theorem 8). epsilon: in [0, 1e4].
    """
    epsilon = require_number("epsilon", epsilon, 0.0, EPSILONS[1])
    mu = _positive("sensitivity", sensitivity, 1e300) / _positive("sigma", sigma, 1e300)
    return _tail_difference(epsilon / mu - mu / 2, epsilon / mu + mu / 2)


def epsilon_of(sigmas: Sequence[float], sensitivity: float | Sequence[float], delta: float) -> float:
    """The epsilon of several releases together, each with Gaussian noise, at this delta.

    Releases with noise sigma_i and sensitivity s_i, of the same users, tell as much as one release of sensitivity 1 with
    noise 1 / sqrt(sum (s_i / sigma_i)^2), also where a later one was chosen after a look at the former ones (Dong, Roth and
    Su 2022, corollary 3.3). So this is exact, and not a bound. It is rounded up.

    Args:
        sigmas: standard deviations, > 0. sensitivity: one for all, or one each. delta: in [1e-300, 1).

    Returns:
        epsilon >= 0; 0.0 for no release.

    Raises:
        ConfigError: an argument is out of range, or epsilon is above 1e4.
    """
    delta = _delta_argument(delta)
    sigmas = [_positive("sigmas", sigma, 1e300) for sigma in sigmas]
    each = [sensitivity] * len(sigmas) if isinstance(sensitivity, (int, float)) else list(sensitivity)
    require(len(each) == len(sigmas), "sensitivity", f"must be one number, or {len(sigmas)}", sensitivity)
    mu = math.hypot(*(_positive("sensitivity", s, 1e300) / sigma for s, sigma in zip(each, sigmas)))
    if not mu or gaussian_delta(0.0, 1.0, mu) <= delta:
        return 0.0
    require(
        gaussian_delta(EPSILONS[1], 1.0, mu) <= delta,
        "sigmas",
        f"are too small: epsilon is above {EPSILONS[1]:g}",
        sigmas,
    )
    return _first(lambda epsilon: gaussian_delta(epsilon, 1.0, mu) <= delta, EPSILONS[1])


def _positive(parameter: str, value: Any, high: float) -> float:
    return require_number(parameter, value, 1e-300, high)


def _delta_argument(delta: Any) -> float:
    return require_number("delta", delta, 1e-300, 1 - 2**-53)


def _tail_difference(a: float, b: float) -> float:
    """Q(a) - exp((b^2 - a^2) / 2) Q(b), with Q the upper tail of a standard normal, a < b, b > 0.

    Without overflow: the second term is the density at a times Mills' ratio of b.
    """
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    if a > 0:
        return density * max(_mills(a) - _mills(b), 0.0)
    return math.erfc(a / math.sqrt(2)) / 2 - density * _mills(b)


def _mills(x: float) -> float:
    """Q(x) over the density at x, for x >= 0; by Laplace's continued fraction where x is large."""
    if x < 6:
        return math.sqrt(math.pi / 2) * math.exp(x * x / 2) * math.erfc(x / math.sqrt(2))
    tail = x
    for n in range(60, 0, -1):
        tail = x + n / tail
    return 1 / tail


def _first(holds: Callable[[float], bool], high: float | None = None) -> float:
    """The least x >= 0 from which on `holds`, to the last bits, from above; it must hold somewhere, or up to `high`."""
    if high is None:
        high = 1.0
        while not holds(high):
            high *= 2
    low = 0.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _last(holds: Callable[[float], bool]) -> float:
    """The largest x >= 0 up to which `holds`, from below. Where it holds beyond all measure, a very large one."""
    high = 1.0
    while holds(high) and high < 1e300:
        high *= 2
    low = 0.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


# What is released ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PrivateCounts:
    """Counts by item and position that are (epsilon, delta)-differentially private, and so is all that follows from them.

    Attributes:
        impressions, clicks: (N, P) float64 whole numbers, 0 <= clicks <= impressions; of the rows within the cap. Where the
            noise exceeds the counts they are too high on average, since what falls below 0 became 0.
        noisy_clicks, noisy_skips: (N, P) float64 whole numbers, as released: with noise of mean 0, some below 0. Sums and
            fits with a known noise are without bias on these. A skip is an impression without a click.
        sigma: standard deviation of the noise in each number. sensitivity: the largest L2 distance that a user makes.
        epsilon, delta, cap, per_cell: as asked for.
    """

    impressions: NDArray[np.float64]
    clicks: NDArray[np.float64]
    noisy_clicks: NDArray[np.float64]
    noisy_skips: NDArray[np.float64]
    sigma: float
    sensitivity: float
    epsilon: float
    delta: float
    cap: int
    per_cell: int

    @property
    def statement(self) -> dict[str, Any]:
        """What was done, as plain JSON values, for the report."""
        return {
            "mechanism": "analytic Gaussian (Balle and Wang 2018)",
            "unit": UNIT,
            "public": "the list of items, the number of positions, the cap",
            **{name: getattr(self, name) for name in ("epsilon", "delta", "sigma", "sensitivity", "cap", "per_cell")},
        }


def private_counts(
    logs: Logs,
    epsilon: float,
    delta: float,
    cap: int,
    *,
    per_cell: int = 1,
    n_positions: int = 1,
    seed: int | None = None,
) -> PrivateCounts:
    """Impressions and clicks by item and position, with noise for (epsilon, delta)-differential privacy of users.

    Of each user at most `per_cell` rows of the same item and position are counted, and of those at most `cap` in all,
    chosen at random among her rows. So a user adds m_j rows to cell j, with m_j <= r = per_cell and sum m_j <= cap = c, of
    which y_j were clicked. What is released is clicks and skips (rather than impressions, in which a click would count
    twice): a vector in which she has the squared norm

        sum y_j^2 + (m_j - y_j)^2  <=  sum m_j^2  <=  floor(c / r) r^2 + (c mod r)^2.

    Its root is the L2 sensitivity to a user more or less: sqrt(cap) for per_cell = 1. Noise by `gaussian_sigma` is added to
    each of the 2 N P numbers, also where nothing was counted, and the sums are rounded, which takes away the low bits by
    which floating-point noise can be undone (Mironov 2012). All that follows is computed from these numbers alone.

    The choice of rows is secret: drawn anew for each call, from the operating system. Then a user's choice is independent of
    who else is in the logs, which the bound above needs. Under a known seed it would not be, as one user less shifts the
    random numbers of all who follow. **A seed is for tests**; whoever knows it can take the noise away again.

    The list of items is taken as public. One that `k_anonymous` has merged depends on the users and is not: give a list that
    was fixed before.

    Args:
        logs: each row is an impression; rows whose click is missing are left out. With ``logs.impressions`` False each row is
            a click, and skips are neither counted nor given noise.
        epsilon: in [1e-6, 1e4]; 1 protects, 10 hardly does. delta: in [1e-300, 1), below 1 / users.
        cap: rows of a user that count, >= 1. More rows are less error by sampling and more noise. per_cell: of these at one
            item and position, in [1, cap].
        n_positions: P. With 1, positions do not matter; otherwise rows beyond the last are left out, as are those without a
            position. A public number: not the largest position in the logs.
        seed: None, or for tests.

    Raises:
        ConfigError: an argument is out of range. FitError: clicks were not logged, or positions, and n_positions is above 1.
    """
    import polars as pl

    cap = require_count("cap", cap, 1, 2**31 - 1)
    per_cell = require_count("per_cell", per_cell, 1, cap)
    n_positions = require_count("n_positions", n_positions, 1, 2**16)
    sensitivity = math.sqrt(cap // per_cell * per_cell**2 + (cap % per_cell) ** 2)
    sigma = gaussian_sigma(epsilon, delta, sensitivity)
    if n_positions > 1 and not logs.has("position"):
        raise FitError("position: was not logged, so n_positions must be 1")
    if logs.impressions and not logs.has("click"):
        raise FitError("click: was not logged")
    events = logs.events
    if n_positions > 1:
        events = events.filter(pl.col("position") < n_positions)
    if logs.impressions:
        events = events.filter(pl.col("click").is_not_null())
    user = events["user"].to_numpy().astype(np.int64)
    cell = events["item"].to_numpy().astype(np.int64) * n_positions
    if n_positions > 1:
        cell += events["position"].to_numpy()
    click = events["click"].to_numpy().astype(bool) if logs.impressions else np.ones(len(events), bool)
    chance = _Chance(seed)
    size = logs.n_items * n_positions
    order = chance.permutation(len(events))
    order = order[_within(user[order] * size + cell[order], per_cell)]
    order = order[_within(user[order], cap)]
    cell, click = cell[order], click[order]
    shape = logs.n_items, n_positions

    def released(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = np.bincount(cell[chosen], minlength=size).reshape(shape)
        return np.rint(counts + sigma * chance.normal(shape)) + 0.0  # no negative zeros

    clicks, skips = released(click), released(~click) if logs.impressions else np.zeros(shape)
    return PrivateCounts(
        impressions=np.maximum(clicks, 0.0) + np.maximum(skips, 0.0),
        clicks=np.maximum(clicks, 0.0),
        noisy_clicks=clicks,
        noisy_skips=skips,
        sigma=sigma,
        sensitivity=sensitivity,
        epsilon=float(epsilon),
        delta=float(delta),
        cap=cap,
        per_cell=per_cell,
    )


@dataclass(frozen=True, eq=False)
class PrivateMoments:
    """Number, mean and covariance of vectors, one of each user, that are (epsilon, delta)-differentially private.

    Attributes:
        count: of users, with noise, >= 1. mean: (d,) float64. covariance: (d, d) float64, positive semidefinite.
        sigma: standard deviation of the noise, in units of radius^0, radius^1 and radius^2. sensitivity: sqrt(3).
        radius, epsilon, delta: as asked for.
    """

    count: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    sigma: float
    sensitivity: float
    radius: float
    epsilon: float
    delta: float


def private_moments(
    vectors: NDArray[np.floating[Any]], radius: float, epsilon: float, delta: float, *, seed: int | None = None
) -> PrivateMoments:
    """Mean and covariance of users' vectors, for a population to be drawn from a Gaussian instead of from the users.

    Each vector v, one a user, is shortened to `radius` R where it is longer. Released are the sums of 1, of v / R and of
    v v^T / R^2 (a symmetric matrix as its diagonal and sqrt(2) times what lies above), each of norm at most 1: so the L2
    sensitivity to a user more or less is sqrt(3). A vector must depend on nothing but that user's rows and on what was
    released before, such as item vectors from `recgym.logs.private_training`.

    Args:
        vectors: (U, d), finite. radius: R > 0, a public number: not taken from the vectors. seed: None, or for tests.

    Raises:
        ConfigError: an argument is out of range.
    """
    vectors = np.asarray(vectors, np.float64)
    require(vectors.ndim == 2 and vectors.shape[1] > 0, "vectors", "must have shape (U, d)", vectors.shape)
    require(np.isfinite(vectors).all(), "vectors", "must be finite", vectors)
    radius = _positive("radius", radius, 1e100)
    sensitivity = math.sqrt(3)
    sigma = gaussian_sigma(epsilon, delta, sensitivity)
    chance, d = _Chance(seed), vectors.shape[1]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, radius)  # norm <= 1
    count = max(float(np.rint(len(unit) + sigma * chance.normal((1,))[0])), 1.0)
    total = unit.sum(axis=0) + sigma * chance.normal((d,))
    noise = np.triu(chance.normal((d, d)))
    noise = (noise + np.triu(noise, 1).T) / np.where(np.eye(d, dtype=bool), 1.0, math.sqrt(2))
    second = unit.T @ unit + sigma * noise
    mean = total / count
    values, axes = np.linalg.eigh(second / count - np.outer(mean, mean))
    covariance = (axes * np.maximum(values, 0.0)) @ axes.T
    return PrivateMoments(
        count, mean * radius, covariance * radius**2, sigma, sensitivity, radius, float(epsilon), float(delta)
    )


class _Chance:
    """Random numbers of the operating system's generator, or, for tests, of a seed."""

    def __init__(self, seed: int | None) -> None:
        self._rng = None if seed is None else np.random.default_rng(require_count("seed", seed, 0, 2**64 - 1))

    def words(self, n: int) -> NDArray[np.uint64]:
        """(n,) independent 64-bit words."""
        if self._rng is not None:
            return self._rng.integers(0, 2**64, n, np.uint64)
        pieces = [os.urandom(8 * min(2**20, n - k)) for k in range(0, n, 2**20)]
        return np.frombuffer(b"".join(pieces), np.uint64)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """0 to n - 1 in random order."""
        return np.argsort(self.words(n), kind="stable")

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Standard normal numbers, by Box and Muller."""
        n = math.prod(shape)
        first, second = ((self.words(n) >> np.uint64(11)) + 0.5) * 2.0**-53, self.words(n) * 2.0**-64
        return (np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)).reshape(shape)


def _within(group: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places, in order, of the first `most` rows of each group."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    return np.sort(order[rank < most])
