"""Hashing, k-anonymity and differential privacy, against published formulas, other packages' numbers and simulation."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recgym.errors import ConfigError, FitError
from recgym.logs import Logs, privacy
from recgym.logs.privacy import (
    epsilon_of,
    gaussian_delta,
    gaussian_sigma,
    hash_ids,
    k_anonymous,
    private_counts,
    private_moments,
)

pl = pytest.importorskip("polars")

START = datetime(2024, 1, 1, tzinfo=UTC)


def table(
    rows: list[tuple[Any, ...]], names: str = "user item", items: Any = None, users: Any = None, **rest: Any
) -> Logs:
    """Logs of rows; tables of items and users without attributes unless given as columns."""
    events = pl.DataFrame(rows, schema=names.split(), orient="row").with_columns(
        pl.col("user").cast(pl.UInt32),
        pl.col("item").cast(pl.UInt32),
        time=pl.Series([START + timedelta(seconds=n) for n in range(len(rows))], dtype=pl.Datetime("us", "UTC")),
    )
    if "position" in events.columns:
        events = events.with_columns(pl.col("position").cast(pl.UInt16))
    order = [name for name in ("user", "time", "slate", "position") if name in events.columns]
    events = events.sort(order, maintain_order=True)
    frames = []
    for key, given_ in (("item", items), ("user", users)):
        n = max((len(next(iter(given_.values()))) if given_ else 0), int(events[key].max() or 0) + 1)
        frame = pl.DataFrame({key: pl.int_range(n, dtype=pl.UInt32, eager=True), "id": [f"{key}{j}" for j in range(n)]})
        frames.append(frame.with_columns(**{a: pl.Series(v) for a, v in (given_ or {}).items()}))
    return Logs(events, *frames, **rest)


# hashes


def test_hashes_are_those_of_sha256() -> None:
    assert hash_ids(["ann", "bob", "ann"], "salt") == [
        hashlib.sha256(b"saltann").hexdigest()[:16],
        hashlib.sha256(b"saltbob").hexdigest()[:16],
        hashlib.sha256(b"saltann").hexdigest()[:16],
    ]
    assert hash_ids([7, "Zoë"], "") == [hashlib.sha256(text.encode()).hexdigest()[:16] for text in ("7", "Zoë")]


def test_hashes_without_a_salt_cannot_be_made_again() -> None:
    assert hash_ids(["ann"]) != hash_ids(["ann"])


def test_two_ids_of_one_hash_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "DIGITS", 2)
    with pytest.raises(FitError, match="same hash"):
        hash_ids(range(257), "salt")
    with pytest.raises(FitError, match="got None"):
        hash_ids(["ann", None])
    with pytest.raises(ConfigError, match="salt"):
        hash_ids(["ann"], 3)  # type: ignore[arg-type]


# k-anonymity


def small() -> Logs:
    """Users 0 to 5. Item 0 has all of them; 1 and 2 (topic a) have two each, three together; 3 (topic b) and 4 (none) one."""
    rows = [(user, 0, 0.5, "red shoes") for user in range(6)]
    rows += [(0, 1, 0.1, None), (1, 1, 0.1, "red shoes"), (1, 2, 0.1, "my name"), (2, 2, 0.1, None)]
    rows += [(3, 3, 0.2, "b"), (4, 4, 0.2, "b"), (5, 4, 0.3, "b")]
    items = {"topic": ["a", "a", "a", "b", None], "price": [1.0, 2.0, 4.0, 8.0, 32.0], "title": list("vwxyz")}
    return table(rows, "user item propensity query", items, source={"privacy": {"ids": "hashed"}})


def test_rare_items_are_merged_by_topic_then_altogether() -> None:
    logs = k_anonymous(small(), 3)
    assert logs.items["id"].to_list() == ["item0", "other:a", "other"]
    assert logs.items["item"].to_list() == [0, 1, 2]
    assert logs.items["topic"].to_list() == ["a", "a", None]
    assert logs.items["price"].to_list() == [1.0, 3.0, 20.0]
    assert logs.items["title"].to_list() == ["v", None, None]
    assert logs.items.schema == small().items.schema
    assert logs.events.schema == small().events.schema
    events = logs.events.sort("item")
    assert events["item"].to_list() == [0] * 6 + [1] * 4 + [2] * 3
    assert events["propensity"].to_list() == [0.5] * 6 + [None] * 7
    assert logs.events["query"].null_count() == 3
    assert logs.source["privacy"] == {
        "ids": "hashed",
        "k_anonymity": {
            "k": 3,
            "items_merged": 4,
            "items_made_of_them": 2,
            "items_left_out": 0,
            "rows_left_out": 0,
            "rows_merged": 7,
            "queries_removed": 1,
            "users_without_attributes": 0,
            "users_averaged": 0,
        },
    }


def test_what_not_even_the_other_items_hide_is_left_out() -> None:
    logs = k_anonymous(small(), 6)  # items 1 to 4 have six users together
    assert logs.items["id"].to_list() == ["item0", "other"]
    rows = [(user, 0) for user in range(4)] + [(0, 1), (1, 2)]
    logs = k_anonymous(table(rows), 3)
    assert (logs.n_items, len(logs)) == (1, 4)
    done = logs.source["privacy"]["k_anonymity"]
    assert (done["items_left_out"], done["rows_left_out"], done["items_merged"]) == (2, 2, 0)
    with pytest.raises(FitError, match="no item has k = 3"):
        k_anonymous(table([(0, 0), (1, 0)], users={"age": [1.0, 2.0, 3.0]}), 3)
    with pytest.raises(FitError, match="at least k = 4 users, got 2"):
        k_anonymous(table([(0, 0), (1, 0)]), 4)
    with pytest.raises(ConfigError, match="k: must be an integer"):
        k_anonymous(small(), 1)


def test_a_merged_item_gets_an_id_of_its_own() -> None:
    logs = small()
    named = Logs(logs.events, logs.items.with_columns(id=pl.Series(["other", "b", "c", "d", "e"])), logs.users)
    assert k_anonymous(named, 6).items["id"].to_list() == ["other", "other_"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_item_and_every_row_of_attributes_has_k_users(data: st.DataObject) -> None:
    k = data.draw(st.integers(2, 5))
    n_users, n_items = data.draw(st.integers(k, 25)), data.draw(st.integers(1, 6))
    pairs = st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))
    rows = sorted(data.draw(st.lists(pairs, min_size=1, max_size=80)))
    rows = sorted({*rows, *((user, 0) for user in range(k))})
    column = lambda of: data.draw(st.lists(of, min_size=n_users, max_size=n_users))  # noqa: E731
    users = {
        "city": pl.Series(column(st.sampled_from(["x", "y", None])), dtype=pl.String),
        "age": pl.Series(column(st.one_of(st.none(), st.floats(0, 99))), dtype=pl.Float64),
        "profile_0": pl.Series(column(st.floats(-1, 1, width=32)), dtype=pl.Float32),
    }
    items = {
        "topic": pl.Series(
            data.draw(st.lists(st.sampled_from([0, 1, None]), min_size=n_items, max_size=n_items)), dtype=pl.Int64
        )
    }
    before = table(rows, items=items, users=users)
    logs = k_anonymous(before, k)
    seen = logs.events.group_by("item").agg(pl.col("user").n_unique())
    assert (seen["user"] >= k).all()
    assert len(seen) == logs.n_items
    assert logs.items["item"].to_list() == list(range(logs.n_items))
    same = logs.users.group_by(list(users)).len()["len"]
    assert same.min() >= k
    assert logs.users.schema == before.users.schema
    done = logs.source["privacy"]["k_anonymity"]
    assert len(logs) + done["rows_left_out"] == len(before)
    assert done["users_averaged"] + done["users_without_attributes"] == n_users
    kept = logs.users.filter(pl.col("profile_0").is_not_null())
    old = before.users.filter(logs.users["profile_0"].is_not_null())
    np.testing.assert_allclose(kept["profile_0"].sum(), old["profile_0"].sum(), atol=1e-4)  # means keep the total


# the Gaussian mechanism

# Google's dp-accounting 0.6.0, whose noise is the least that a search finds to 1e-6 or so of delta:
#   from dp_accounting.pld.common import DifferentialPrivacyParameters as P
#   from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss as G
#   G.from_privacy_guarantee(P(epsilon, delta), sensitivity=1.0)._standard_deviation
SIGMAS = [
    (0.01, 1e-10, 501.2921329379135),
    (0.01, 1e-6, 306.35037619665104),
    (0.01, 0.1, 3.809443838042597),
    (0.1, 1e-6, 36.30469045643756),
    (1, 1e-10, 5.867777776593884),
    (1, 1e-6, 4.224678930001968),
    (1, 0.1, 1.0858778130258524),
    (4, 1e-6, 1.1935186232677664),
    (10, 1e-10, 0.6830440127929003),
    (10, 0.1, 0.28181208254475865),
    (50, 1e-6, 0.15659291929116856),
    (50, 0.1, 0.11245832264359198),
]


@pytest.mark.parametrize(("epsilon", "delta", "sigma"), SIGMAS)
def test_sigma_is_that_of_dp_accounting(epsilon: float, delta: float, sigma: float) -> None:
    assert gaussian_sigma(epsilon, delta) == pytest.approx(sigma, rel=1e-6)
    assert gaussian_sigma(epsilon, delta, 3.0) == pytest.approx(3 * sigma, rel=1e-6)


def test_sigma_in_closed_form() -> None:
    """At delta = Phi(0) - exp(epsilon) Phi(-sqrt(2 epsilon)) alpha is 1: sigma = 1 / sqrt(2 epsilon)."""
    for epsilon in (0.3, 2.0, 20.0):
        delta = 0.5 - math.exp(epsilon) * math.erfc(math.sqrt(epsilon)) / 2
        assert gaussian_sigma(epsilon, delta) == pytest.approx(1 / math.sqrt(2 * epsilon), rel=1e-6)
    # Without any epsilon delta is the total variation, 2 Phi(mu / 2) - 1.
    assert gaussian_delta(0.0, 2.0, 3.0) == pytest.approx(math.erf(0.75 / math.sqrt(2)), rel=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.floats(-6, 3.9).map(lambda x: 10**x), st.floats(-300, -0.01).map(lambda x: 10**x), st.floats(1e-3, 1e3))
def test_sigma_is_the_least_that_suffices(epsilon: float, delta: float, sensitivity: float) -> None:
    sigma = gaussian_sigma(epsilon, delta, sensitivity)
    assert 0 < sigma < math.inf
    slack = 1e-6  # of the last bits of delta, where it is the small difference of two tails
    assert gaussian_delta(epsilon, sigma * (1 + slack), sensitivity) <= delta
    assert gaussian_delta(epsilon, sigma * (1 - slack), sensitivity) >= delta
    if epsilon <= 1:  # where the classic bound holds, it is larger
        assert sigma <= math.sqrt(2 * math.log(1.25 / delta)) / epsilon * sensitivity * (1 + slack)
    assert epsilon_of([sigma], sensitivity, delta) == pytest.approx(epsilon, rel=1e-4)


def test_delta_is_that_of_the_simulated_privacy_loss() -> None:
    """delta(epsilon) = E max(0, 1 - exp(epsilon - L)), with L the log ratio of the two densities at what was released."""
    rng = np.random.default_rng(0)
    for sigma, sensitivity, epsilon in ((2.0, 1.0, 0.5), (1.0, 2.0, 3.0), (0.25, 1.0, 12.0), (30.0, 1.0, 0.01)):
        released = sensitivity + sigma * rng.standard_normal(400_000)
        loss = (released**2 - (released - sensitivity) ** 2) / (2 * sigma**2)
        excess = np.maximum(0.0, -np.expm1(epsilon - loss))
        error = excess.std() / len(excess) ** 0.5
        assert gaussian_delta(epsilon, sigma, sensitivity) == pytest.approx(excess.mean(), abs=4 * error)


# Google's dp-accounting 0.6.0, whose privacy loss is discretised, so that it is an upper bound:
#   from dp_accounting import GaussianDpEvent, ComposedDpEvent; from dp_accounting.pld import PLDAccountant
#   a = PLDAccountant(value_discretization_interval=1e-5)
#   for z in sigmas: a.compose(GaussianDpEvent(z))
#   a.get_epsilon(delta)
COMPOSED = [
    ([1.0], 1e-6, 4.88655411766288),
    ([2.0] * 10, 1e-6, 8.306225051130818),
    ([5.0, 3.0, 8.0, 1.5], 1e-9, 4.713178316079556),
    ([0.5, 20.0], 1e-5, 10.001103982134092),
    ([40.0] * 3, 1e-3, 0.07003706420891644),
]


@pytest.mark.parametrize(("sigmas", "delta", "epsilon"), COMPOSED)
def test_several_releases_add_up_as_in_dp_accounting(sigmas: list[float], delta: float, epsilon: float) -> None:
    assert epsilon_of(sigmas, 1.0, delta) == pytest.approx(epsilon, rel=2e-4)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.5, 100), st.floats(0.1, 10)), min_size=1, max_size=6), st.sampled_from([1e-9, 1e-3])
)
def test_several_releases_are_one_with_less_noise(releases: list[tuple[float, float]], delta: float) -> None:
    sigmas, sensitivities = zip(*releases)
    one = 1 / math.sqrt(sum((s / sigma) ** 2 for sigma, s in releases))
    together = epsilon_of(sigmas, sensitivities, delta)
    assert together == pytest.approx(epsilon_of([one], 1.0, delta), rel=1e-9)
    assert together >= max(epsilon_of([sigma], s, delta) for sigma, s in releases) * (1 - 1e-9)


def test_no_release_and_wrong_arguments() -> None:
    assert epsilon_of([], 1.0, 1e-6) == 0.0
    assert epsilon_of([1e9], 1.0, 1e-3) == 0.0
    for call in (
        lambda: gaussian_sigma(0.0, 1e-6),
        lambda: gaussian_sigma(1.0, 0.0),
        lambda: gaussian_sigma(1.0, 1.0),
        lambda: gaussian_sigma(math.nan, 1e-6),
        lambda: gaussian_sigma(1.0, 1e-6, -1.0),
        lambda: epsilon_of([1.0, 0.0], 1.0, 1e-6),
        lambda: epsilon_of([1.0], [1.0, 2.0], 1e-6),
        lambda: epsilon_of([1e-9], 1.0, 1e-6),
    ):
        with pytest.raises(ConfigError):
            call()


# counts


def shown(rng: np.random.Generator, n_users: int = 60, n_items: int = 4, rows: int = 900) -> Logs:
    """Rows (user, item, position, click); user 0 has by far the most."""
    user = np.minimum(rng.geometric(0.05, rows) - 1, n_users - 1)
    drawn = [user, rng.integers(0, n_items, rows), rng.integers(0, 3, rows), rng.random(rows) < 0.3]
    return table(sorted(zip(*(column.tolist() for column in drawn))), "user item position click")


def exact(logs: Logs, monkeypatch: pytest.MonkeyPatch, **options: Any) -> np.ndarray:
    """Clicks and skips (2, N, P) within the cap, without noise."""
    with monkeypatch.context() as patch:
        patch.setattr(privacy._Chance, "normal", lambda self, shape: np.zeros(shape))
        counts = private_counts(logs, 1.0, 1e-6, n_positions=3, **options)
    return np.stack([counts.noisy_clicks, counts.noisy_skips])


def test_without_noise_and_cap_the_counts_are_those_of_the_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = shown(np.random.default_rng(1))
    clicks, skips = exact(logs, monkeypatch, cap=10_000, per_cell=10_000)
    cell = logs.events["item"].to_numpy().astype(int) * 3 + logs.events["position"].to_numpy()
    click = logs.events["click"].to_numpy()
    np.testing.assert_array_equal(clicks.ravel(), np.bincount(cell[click], minlength=12))
    np.testing.assert_array_equal(skips.ravel(), np.bincount(cell[~click], minlength=12))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.data())
def test_a_user_moves_the_counts_by_no_more_than_the_sensitivity(seed: int, cap: int, data: st.DataObject) -> None:
    """One user alone, against nobody: what is counted of her is all that the cap allows, and within the bound."""
    per_cell = data.draw(st.integers(1, cap))
    monkeypatch = pytest.MonkeyPatch()
    cells = st.tuples(st.just(0), st.integers(0, 3), st.integers(0, 2), st.booleans())
    rows = data.draw(st.lists(cells, min_size=1, max_size=60))
    counts = exact(table(sorted(rows), "user item position click"), monkeypatch, cap=cap, per_cell=per_cell, seed=seed)
    logs = table([(0, 0, 0, True)], "user item position click")
    assert np.linalg.norm(counts) <= private_counts(logs, 1.0, 1e-6, cap, per_cell=per_cell).sensitivity + 1e-9
    in_cells = np.unique([row[1:3] for row in rows], axis=0, return_counts=True)[1]
    assert counts.sum() == min(cap, np.minimum(in_cells, per_cell).sum())


def test_the_bound_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    one_cell = table([(0, 0, 0, True)] * 50, "user item position click")
    assert np.linalg.norm(exact(one_cell, monkeypatch, cap=7, per_cell=7)) == pytest.approx(7)
    all_cells = table([(0, j // 3, j % 3, j % 2 == 0) for j in range(12)], "user item position click")
    assert np.linalg.norm(exact(all_cells, monkeypatch, cap=9, per_cell=1)) == pytest.approx(3)
    assert private_counts(one_cell, 1.0, 1e-6, 7, per_cell=7).sensitivity == 7
    assert private_counts(one_cell, 1.0, 1e-6, 9).sensitivity == 3
    assert private_counts(one_cell, 1.0, 1e-6, 7, per_cell=3).sensitivity == pytest.approx(math.sqrt(9 + 9 + 1))


def test_a_users_rows_have_equal_chances_within_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = table([(0, j, 0, True) for j in range(8)] + [(1, 0, 0, False)], "user item position click")
    total = sum(exact(logs, monkeypatch, cap=2, seed=seed)[0, :, 0] for seed in range(1000))
    np.testing.assert_allclose(total / 1000, 0.25, atol=4 * math.sqrt(0.25 * 0.75 / 1000))


def test_noise_has_the_sigma_that_is_said_and_counts_are_possible() -> None:
    logs = table([(0, 0, 0, True), (1, 19_999, 1, False)], "user item position click")
    counts = private_counts(logs, 1.0, 1e-6, 4, n_positions=2, seed=0)
    assert counts.sigma == pytest.approx(gaussian_sigma(1.0, 1e-6, 2.0))
    for noisy in (counts.noisy_clicks, counts.noisy_skips):
        assert noisy.shape == (20_000, 2)
        assert noisy.std() == pytest.approx(math.sqrt(counts.sigma**2 + 1 / 12), rel=4 / math.sqrt(2 * noisy.size))
        assert abs(noisy.mean()) < 4 * counts.sigma / math.sqrt(noisy.size)
        np.testing.assert_array_equal(noisy, np.rint(noisy))
        scaled = np.sort(noisy.ravel() / counts.sigma)  # normal, in the tails, too
        for z in (-3.0, -1.0, 0.0, 2.0):
            expected = math.erfc(-z / math.sqrt(2)) / 2
            share = np.searchsorted(scaled, z) / len(scaled)
            assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / len(scaled)) + 0.03 * (abs(z) < 2))
    assert (counts.clicks >= 0).all()
    assert (counts.clicks <= counts.impressions).all()
    assert counts.statement["epsilon"] == 1.0
    assert counts.statement["unit"] == "all rows of one user are added or removed"
    assert epsilon_of([counts.sigma], counts.sensitivity, 1e-6) == pytest.approx(1.0)


def test_noise_is_secret_unless_a_seed_is_given() -> None:
    logs = shown(np.random.default_rng(3))
    one, two, seeded, again = (
        private_counts(logs, 1.0, 1e-6, 5, seed=seed).noisy_clicks for seed in (None, None, 7, 7)
    )
    assert (one != two).any()
    np.testing.assert_array_equal(seeded, again)


def test_the_random_words_are_uniform() -> None:
    chance = privacy._Chance(None)
    words = chance.words(3 * 2**20 + 5)
    assert len(words) == 3 * 2**20 + 5
    bits = np.unpackbits(words.view(np.uint8)).mean()
    assert bits == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(64 * len(words)))
    assert sorted(chance.permutation(100)) == list(range(100))


def test_logs_of_clicks_alone_and_missing_columns() -> None:
    clicks = table([(0, 0), (1, 1)], impressions=False)
    counts = private_counts(clicks, 1.0, 1e-6, 3)
    assert not counts.noisy_skips.any()
    np.testing.assert_array_equal(counts.impressions, counts.clicks)
    with pytest.raises(FitError, match="click: was not logged"):
        private_counts(table([(0, 0)]), 1.0, 1e-6, 3)
    with pytest.raises(FitError, match="position: was not logged"):
        private_counts(clicks, 1.0, 1e-6, 3, n_positions=2)
    with pytest.raises(ConfigError, match="per_cell"):
        private_counts(clicks, 1.0, 1e-6, 3, per_cell=4)


def test_moments_approach_those_of_the_vectors() -> None:
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(3, 3)) / 3
    vectors = rng.normal(size=(50_000, 3)) @ mixing + [0.2, -0.1, 0.4]
    moments = private_moments(vectors, 4.0, 1.0, 1e-6, seed=0)
    assert moments.count == pytest.approx(50_000, abs=4 * moments.sigma)
    np.testing.assert_allclose(moments.mean, vectors.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(moments.covariance, np.cov(vectors.T), atol=0.02)
    few = private_moments(vectors[:2], 4.0, 1.0, 1e-6, seed=0)
    assert (np.linalg.eigvalsh(few.covariance) >= -1e-9).all()
    with pytest.raises(ConfigError, match="vectors"):
        private_moments(np.array([[np.nan]]), 1.0, 1.0, 1e-6)


def test_the_noise_of_moments_is_that_of_unit_sums() -> None:
    """Of n vectors within the radius R: sigma R / n in a mean, sigma R^2 / n in a variance, 1 / sqrt(2) of it beside."""
    n, radius = 20_000, 10.0
    vectors = np.random.default_rng(5).uniform(-3, 3, (n, 2))
    drawn = [private_moments(vectors, radius, 1.0, 1e-6, seed=seed) for seed in range(400)]
    unit = drawn[0].sigma / n
    assert drawn[0].sigma == pytest.approx(gaussian_sigma(1.0, 1e-6, math.sqrt(3)))
    covariance = np.array([moments.covariance for moments in drawn])
    for values, scale in (
        ([moments.mean[0] for moments in drawn], unit * radius),
        (covariance[:, 0, 0], unit * radius**2),
        (covariance[:, 0, 1], unit * radius**2 / math.sqrt(2)),
    ):
        assert np.std(values) == pytest.approx(scale, rel=4 / math.sqrt(2 * 400))


def test_long_vectors_are_shortened() -> None:
    one = np.concatenate([np.zeros((100_000, 2)), [[1e9, 0.0]]])
    moved = private_moments(one, 1.0, 1.0, 1e-6, seed=0).mean - private_moments(one[:-1], 1.0, 1.0, 1e-6, seed=0).mean
    assert abs(moved[0]) < 2 / 100_000
