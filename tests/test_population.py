"""Who arrives, and the catalogue: distributions against their definitions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recgym import Catalog, ConfigError, Population, load_world, mix
from recgym.population import HOURS, TopicMixture, UserTypes, draw_items, draw_topics, noisy_copy
from recgym.types import Array, Sizes
from recgym.world import World

WorldOf = Callable[..., World]
N = 20_000


def arrive(
    population: Population, n: int = N, signals: tuple[str, ...] = ("a", "b"), seed: int = 0
) -> dict[str, Array]:
    T, d = population.centroids.shape
    uniforms = population.uniforms(Sizes(1, 5, 10, d, T, len(signals)))
    noise = np.random.default_rng(seed).random((uniforms, n), np.float32).clip(2.0**-24, 1 - 2.0**-24)
    return population.arrive(noise, signals)


def axes(T: int = 6, d: int = 8, **options: Any) -> Population:
    """Topics along the axes, so that an interest shows its mixture."""
    return TopicMixture(np.eye(T, d, dtype=np.float32), **options)


def test_interest_and_profile_are_unit_vectors() -> None:
    users = arrive(axes())
    assert np.linalg.norm(users["interest"], axis=1) == pytest.approx(1, abs=1e-5)
    norm = np.linalg.norm(users["profile"], axis=1)
    assert norm[users["known"] == 1] == pytest.approx(1, abs=1e-5)
    assert (norm[users["known"] == 0] == 0).all()


@pytest.mark.parametrize("mixture", [2, 3, 4])
def test_interests_mix_two_to_mixture_topics(mixture: int) -> None:
    interest = arrive(axes(mixture=mixture, spread=0.0))["interest"]
    assert (interest > -1e-6).all()
    n_topics = (interest > 1e-6).sum(axis=1)
    # Draws with replacement from six topics: k draws show t distinct ones.
    want = np.zeros(mixture + 1)
    for k in range(2, mixture + 1):
        chance = np.zeros(mixture + 1)
        chance[0] = 1.0
        for _ in range(k):
            t = np.arange(mixture + 1)
            chance = chance * t / 6 + np.concatenate([[0.0], (chance * (6 - t) / 6)[:-1]])
        want += chance / (mixture - 1)
    got = np.bincount(n_topics, minlength=mixture + 1)[: mixture + 1] / N
    assert got == pytest.approx(want, abs=5 * 0.5 / math.sqrt(N))
    two = interest[n_topics == 2]
    ratio = np.sort(two, axis=1)[:, -2] / two.max(axis=1)
    if mixture == 2:
        assert ratio.min() >= 0.3 - 1e-5  # weights lie in (0.3, 1)
    assert interest.mean(axis=0)[:6] == pytest.approx(interest[:, :6].mean(), rel=0.05)


def test_spread_is_individual_noise() -> None:
    match = [arrive(axes(spread=s))["interest"][:, :6].max(axis=1).mean() for s in (0.0, 0.5, 3.0)]
    assert match[0] > match[1] > match[2]


def test_without_profile_noise_the_profile_is_the_interest() -> None:
    users = arrive(axes(profile_noise=0.0, cold_start=0.0))
    assert users["profile"] == pytest.approx(users["interest"], abs=1e-6)


def test_profile_noise_blurs_the_profile() -> None:
    match = []
    for noise in (0.3, 1.0, 3.0):
        users = arrive(axes(profile_noise=noise, cold_start=0.0))
        match.append(float(np.einsum("bd,bd->b", users["profile"], users["interest"]).mean()))
        # |interest| = 1 and the noise has norm about profile_noise: the cosine is about 1 / sqrt(1 + noise^2).
        assert match[-1] == pytest.approx(1 / math.sqrt(1 + noise**2), abs=0.03)
    assert match[0] > match[1] > match[2]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_cold_start_is_the_share_of_users_without_a_profile(share: float) -> None:
    known = arrive(axes(cold_start=share))["known"]
    assert 1 - known.mean() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / N) + 1e-9)
    assert set(np.unique(known)) <= {0.0, 1.0}


def test_cold_start_changes_nothing_else() -> None:
    warm, cold = arrive(axes(cold_start=0.0)), arrive(axes(cold_start=1.0))
    for name in ("interest", "clock", "sensitivity"):
        assert np.array_equal(warm[name], cold[name])


def test_sessions_start_by_the_hours_of_the_day() -> None:
    clock = arrive(axes())["clock"]
    assert (clock >= 0).all()
    assert (clock <= 7 * 1440).all()
    day, hour = np.floor(clock / 1440).astype(int), np.floor(clock % 1440 / 60).astype(int)
    assert np.bincount(day, minlength=7) / N == pytest.approx(1 / 7, abs=0.015)
    want = np.array(HOURS) / sum(HOURS)
    assert np.bincount(hour, minlength=24) / N == pytest.approx(want, abs=0.012)
    assert (clock % 60).mean() == pytest.approx(30, abs=0.7)


def test_hours_without_weight_stay_empty() -> None:
    hours = [0.0] * 24
    hours[3], hours[9] = 1.0, 3.0
    clock = arrive(axes(hours=tuple(hours)))["clock"]
    hour = np.floor(clock % 1440 / 60).astype(int)
    assert set(np.unique(hour)) == {3, 9}
    assert (hour == 9).mean() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("weeks", [(0, 1), (8, 12), [3, 5], (51, 52)])
def test_sessions_start_in_their_weeks(weeks: tuple[int, int]) -> None:
    """On each of their days alike. JSON has lists. float32 minutes still count seconds at the end of the longest calendar."""
    clock = arrive(axes(weeks=weeks))["clock"]
    day = np.floor(clock.astype(np.float64) / 1440).astype(int) - 7 * weeks[0]
    days = 7 * (weeks[1] - weeks[0])
    counts = np.bincount(day, minlength=days)
    assert len(counts) == days
    assert ((counts - N / days) ** 2 / (N / days)).sum() < days + 6 * math.sqrt(2 * days)
    assert (clock + np.float32(1 / 30) > clock).all()


def test_the_weeks_of_a_domain_lie_in_its_calendar() -> None:
    for name in ("ecommerce", "news", "livestream"):
        for weeks in ((0, 8), [8, 12]):
            world = load_world(name, items=50, candidates=5, weeks=weeks)
            clock = world.arrive(mix(range(500))).clock
            assert (clock >= weeks[0] * 10_080).all()
            assert (clock <= weeks[1] * 10_080).all()
            assert world.market.period == 12 * 10_080
        with pytest.raises(ConfigError, match=r"^weeks: must be two integers, 0 <= first < last <= 12, got \(8, 13\)"):
            load_world(name, items=50, candidates=5, weeks=(8, 13))


def test_sensitivities_have_the_stated_mean_and_sign() -> None:
    users = arrive(axes(sensitivity={"b": (-2.0, 0.5)}), signals=("a", "b", "c"))
    s = users["sensitivity"]
    assert s.shape == (N, 3)
    assert not s[:, [0, 2]].any()
    assert (s[:, 1] < 0).all()
    assert s[:, 1].mean() == pytest.approx(-2.0, rel=0.03)
    assert np.log(-s[:, 1]).std() == pytest.approx(0.5, rel=0.03)
    assert (arrive(axes(sensitivity={"a": (1.5, 0.0)}))["sensitivity"][:, 0] == 1.5).all()


def test_traits_have_the_stated_median_and_range() -> None:
    users = arrive(axes(traits={"stamina": (8.0, 0.5, 6.0, 12.0), "wallet": (3.0, 0.0, 0.0, 9.0)}))
    stamina = users["stamina"]
    assert np.median(stamina) == pytest.approx(8.0, rel=0.02)
    assert stamina.min() == 6.0
    assert stamina.max() == 12.0
    assert (stamina == 6.0).mean() == pytest.approx(0.2825, abs=0.02)  # P(N < ln(6/8) / 0.5)
    assert users["wallet"] == pytest.approx(3.0)


def test_arrivals_are_a_function_of_key_and_episode(world: World) -> None:
    keys = mix(range(50))
    a, b = world.arrive(keys), world.arrive(keys[::-1].copy())
    for name in a:
        assert np.array_equal(a[name], b[name][::-1])
    later = world.arrive(keys, np.full(50, 3, np.int32))
    assert (later.interest != a.interest).any(axis=1).all()
    assert (later.episode == 3).all()


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"mixture": 1}, r"population.mixture: .*got 1"),
        ({"mixture": 2.5}, r"population.mixture: must be an integer.*got 2.5"),
        ({"spread": -1}, r"population.spread: .*got -1"),
        ({"profile_noise": float("nan")}, r"population.profile_noise: .*got nan"),
        ({"cold_start": 1.5}, r"cold_start: must be a number in \[0, 1\], got 1.5"),
        ({"cold_start": True}, r"cold_start: .*got True"),
        ({"weeks": (0, 53)}, r"population.weeks: must be two integers.*<= 52, got \(0, 53\)"),
        ({"weeks": (3, 3)}, r"population.weeks: .*got \(3, 3\)"),
        ({"weeks": (-1, 3)}, r"population.weeks: .*got \(-1, 3\)"),
        ({"weeks": (0, 1.5)}, r"population.weeks: .*got \(0, 1.5\)"),
        ({"weeks": (1, True)}, r"population.weeks: .*got \(1, True\)"),
        ({"weeks": 8}, r"population.weeks: .*got 8"),
        ({"hours": (1,) * 23}, r"population.hours: must be 24 weights"),
        ({"hours": (0,) * 24}, r"population.hours"),
        ({"hours": (1.0,) * 23 + (math.nan,)}, r"population.hours"),
        ({"sensitivity": {"price": (1.0, -1.0)}}, r"population.sensitivity\['price'\] spread: .*got -1"),
        ({"sensitivity": {"price": (math.nan, 0.5)}}, r"population.sensitivity\['price'\]"),
        ({"sensitivity": {"price": 1.0}}, r"population.sensitivity"),
        ({"traits": {"wallet": (5.0, 0.1, 6.0, 7.0)}}, r"population.traits\['wallet'\]: .*low <= median <= high"),
        ({"traits": {"wallet": (5.0, 0.1)}}, r"population.traits"),
        ({"traits": {"interest": (5.0, 0.1, 1.0, 9.0)}}, r"TopicMixture.columns: .*got 'interest'"),
    ],
)
def test_bad_populations(world_of: WorldOf, options: dict[str, Any], fragment: str) -> None:
    world = world_of("ecommerce")
    with pytest.raises(ConfigError, match=fragment):
        world.replace(population=dataclasses.replace(world.population, **options))


def test_log_normal_interests_stay_within_their_norm() -> None:
    kind = UserTypes((1.0,), ((3.0,),), 1.0)
    assert kind.draw(np.full((2, 1), 1 - 2.0**-24, np.float32)).tolist() == [[kind.norm]]


def test_a_sensitivity_must_name_a_signal_of_the_market(world_of: WorldOf) -> None:
    """At construction: a World that cannot make a user is no World."""
    world = world_of("ecommerce")
    with pytest.raises(ConfigError, match=r"TopicMixture reads signals: .*'log_pryce'.*Did you mean 'log_price'"):
        world.replace(population=dataclasses.replace(world.population, sensitivity={"log_pryce": (1.0, 0.5)}))


# --- the catalogue


def test_draw_topics_are_orthogonal_as_far_as_possible(rng: np.random.Generator) -> None:
    topics = draw_topics(rng, 20, 16)
    assert topics.shape == (20, 16)
    assert topics[:16] @ topics[:16].T == pytest.approx(np.eye(16), abs=1e-5)
    assert np.linalg.norm(topics, axis=1) == pytest.approx(1, abs=1e-5)


def test_items_lie_around_their_topic(rng: np.random.Generator) -> None:
    centroids = draw_topics(rng, 8, 16)
    topic, embedding = draw_items(rng, 4000, centroids)
    assert np.linalg.norm(embedding, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.bincount(topic, minlength=8) / 4000 == pytest.approx(1 / 8, abs=0.03)
    match = embedding @ centroids.T
    assert (match.argmax(axis=1) == topic).mean() > 0.95
    _, tight = draw_items(rng, 400, centroids, spread=0.0)
    assert (tight @ centroids.T).max(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.3, 0.9, 1.0])
def test_noisy_copy_has_the_correlation(rng: np.random.Generator, correlation: float) -> None:
    values = rng.standard_normal(50_000)
    copy = noisy_copy(rng, values, correlation, limit=10.0)
    assert np.corrcoef(values, copy)[0, 1] == pytest.approx(correlation, abs=0.02)
    assert copy.std() == pytest.approx(1, abs=0.02)
    assert np.abs(noisy_copy(rng, values, correlation, limit=1.5)).max() <= 1.5


def test_catalog_by_name(small_catalog: Catalog) -> None:
    assert len(small_catalog) == 12
    assert np.array_equal(small_catalog["clickbait"], small_catalog.attributes[:, 1])
    total = small_catalog.weighted((("price", 2.0), ("quality", -1.0)))
    assert total.dtype == np.float32
    np.testing.assert_allclose(total, 2.0 * small_catalog["price"] - small_catalog["quality"], rtol=1e-6)
    assert not small_catalog.weighted(()).any()
    with pytest.raises(ConfigError, match=r"catalog attribute: .*got 'qualty'\. Did you mean 'quality'"):
        small_catalog.column("qualty")


def changed(catalog: Catalog, **options: Any) -> Catalog:
    return dataclasses.replace(catalog, **options)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"embedding": np.full((12, 3), np.nan)}, r"catalog.embedding: must be finite"),
        ({"embedding": np.zeros(12)}, r"catalog.embedding: must be \(N, d\), got \(12,\)"),
        ({"embedding": [["a"] * 3] * 12}, r"catalog.embedding"),
        ({"topic": np.zeros(11)}, r"catalog.topic: must have shape \(12,\), got \(11,\)"),
        ({"topic": np.full(12, 4)}, r"catalog.topic: must lie in \[0, 4\), got"),
        ({"topic": np.full(12, -1)}, r"catalog.topic: must lie in \[0, 4\)"),
        ({"topic": np.full(12, 1.5)}, r"catalog.topic: .*integer"),
        ({"attributes": np.zeros((12, 2))}, r"catalog.attributes: must have shape \(12, 3\), got \(12, 2\)"),
        ({"attributes": np.full((12, 3), np.inf)}, r"catalog.attributes: must be finite"),
        ({"visible": ("prise",)}, r"catalog attribute: .*got 'prise'\. Did you mean 'price'"),
        ({"names": ("price", "price", "quality")}, r"catalog.names: .*price"),
        ({"n_topics": 4.5}, r"catalog.n_topics: .*got 4.5"),
    ],
)
def test_bad_catalogues(small_catalog: Catalog, options: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        changed(small_catalog, **options)


def test_what_a_cold_user_likes_is_what_others_like() -> None:
    """Each property is drawn with a uniform of its own: knowing one tells nothing of another."""
    users = arrive(axes(cold_start=0.5, mixture=4, spread=0.0, traits={"stamina": (8.0, 0.5, 1.0, 99.0)}))
    n_topics = (users["interest"] > 1e-6).sum(axis=1)
    of_day, day = users["clock"] % 1440, np.floor(users["clock"] / 1440)
    columns = np.stack([users["known"], n_topics, of_day, day, users["interest"][:, 0], users["stamina"]])
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    correlation[1, 4] = correlation[4, 1] = 0.0  # more topics, less of each
    assert np.abs(correlation).max() < 5 / math.sqrt(N)
