"""Statistics of logs: against lifelines, statsmodels, scipy and scikit-learn, closed forms, and logs of known laws."""

from __future__ import annotations

import json
import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("polars")

import behaviour_logs as made
import polars as pl
from behaviour_logs import logs_of, made_up

from recgym.errors import ConfigError, FitError
from recgym.logs import Logs
from recgym.logs.behaviour import Behaviour, Section, behaviour, compare
from recgym.logs.estimates import gini, k_means, kaplan_meier, ratio, silhouette, student, top_share, wilson

# What other packages find. In a fresh environment with Python 3.11, scipy 1.17.1, lifelines 0.30.3, statsmodels 0.15.0
# and scikit-learn 1.9.1, with D, ENDED, Y, GROUP and POINTS as below:
#   scipy.stats.t.ppf(0.975, freedom)
#   k = lifelines.KaplanMeierFitter().fit(D, ENDED); k.survival_function_at_times(AT)
#   k.confidence_interval_survival_function_
#   the derivative of the curve of KaplanMeierFitter().fit(D, ENDED, weights=w) by the weight w of each cluster, numerically
#   statsmodels.api.OLS(Y, ones).fit(cov_type="cluster", cov_kwds={"groups": GROUP, "use_correction": False}).bse
#   statsmodels.stats.proportion.proportion_confint(7, 50, method="wilson"), and of (0, 20)
#   sklearn.metrics.silhouette_score(POINTS, LABEL), and of the three clouds
#   sklearn.cluster.KMeans(k, n_init=50, random_state=0).fit(POINTS).inertia_
STUDENT = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 4: 2.776445105, 5: 2.570581836, 8: 2.306004135,
           12: 2.178812830, 30: 2.042272456, 200: 1.971896224}  # fmt: skip
D = [5, 7, 4, 6, 2, 21, 1, 17, 4, 2, 4, 2, 6, 7, 12, 2, 19, 5, 3, 6, 1, 1, 8, 5, 14, 3, 4, 8, 4, 1, 2, 7, 4, 9, 1, 6, 2, 3,
     19, 9]  # fmt: skip
ENDED = [0, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1,
         0, 1]  # fmt: skip
AT = [0, 1, 2, 4, 7, 10]
LIFELINES = (
    [1.0, 0.95, 0.8142857143, 0.6414929898, 0.3735753293, 0.2615027305],
    [1.0, 0.8145461201, 0.6490711309, 0.4625916164, 0.2103859383, 0.1212391282],
    [1.0, 0.9872555239, 0.9069628654, 0.7743983701, 0.5368949565, 0.4262775851],
)
CLUSTERED = {1: 0.04743416491, 2: 0.06531505041, 4: 0.10162524118, 7: 0.08309723077, 10: 0.07779975576}
Y = [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0,
     0, 0, 0, 0, 0, 0, 0]  # fmt: skip
GROUP = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 9,
         10, 10, 10, 10, 10, 11, 11, 11, 11]  # fmt: skip
CLUSTER_ERROR = 0.06818712678592197
POINTS = np.random.default_rng(3).normal(size=(60, 3))
POINTS[20:40] += 3
POINTS[40:] -= 4
POINTS = POINTS.round(3)
LABEL = np.random.default_rng(4).integers(0, 3, 60)


def sums(y: Any, n: Any) -> tuple[Any, ...]:
    """The arguments of `ratio`, of (..., m) sums of clusters."""
    y, n = np.asarray(y, float), np.asarray(n, float)
    return y.sum(-1), n.sum(-1), (y * y).sum(-1), (y * n).sum(-1), (n * n).sum(-1), (n > 0).sum(-1)


def test_students_quantiles_are_scipys() -> None:
    for freedom, value in STUDENT.items():
        assert float(student(freedom)) == pytest.approx(value, rel=2e-3 if freedom < 5 else 2e-4)
    assert math.isnan(student(0))


def test_kaplan_meier_and_greenwood_are_lifelines() -> None:
    found = kaplan_meier(D, ENDED, np.arange(len(D)), AT)
    for values, expected in zip((found.value, found.low, found.high), LIFELINES, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-9)
    assert found.at_risk.tolist() == [sum(d >= t for d in D) for t in AT]


def test_clusters_widen_the_intervals_as_the_derivative_by_their_weights_says() -> None:
    found = kaplan_meier(D, ENDED, np.repeat(np.arange(10), 4), [*CLUSTERED])
    value = found.value
    error = np.array([*CLUSTERED.values()]) / value / np.abs(np.log(value))  # of log(-log S)
    np.testing.assert_allclose(found.low, value ** np.exp(1.959964 * error), rtol=1e-6)
    np.testing.assert_allclose(found.high, value ** np.exp(-1.959964 * error), rtol=1e-6)


def test_the_curve_where_nobody_and_where_all_have_ended() -> None:
    found = kaplan_meier([3.0, 3.0, 5.0], [True, True, True], [0, 1, 2], [0, 2, 3, 5, 9])
    np.testing.assert_allclose(found.value, [1, 1, 1 / 3, 0, 0])
    assert np.isfinite(found.low).all()
    assert found.at_risk.tolist() == [3, 3, 3, 1, 0]


def test_a_rate_has_the_cluster_robust_error_of_statsmodels() -> None:
    y, n = np.bincount(GROUP, Y), np.bincount(GROUP)
    plain = ratio(*sums(y, n))
    m = len(n)
    reach = float(student(n.sum() ** 2 / (n**2).sum() - 1)) * CLUSTER_ERROR * math.sqrt(m / (m - 1))
    assert float(plain.value) == pytest.approx(np.mean(Y))
    assert float(plain.high - plain.value) == pytest.approx(reach, rel=1e-9)
    assert float(plain.value - plain.low) == pytest.approx(reach, rel=1e-9)


def test_wilson_is_statsmodels() -> None:
    for share, n, expected in ((7 / 50, 50, (0.06950833427, 0.26186193711)), (0.0, 20, (0.0, 0.16112515805))):
        found = wilson(share, n)
        np.testing.assert_allclose([found.low, found.high], expected, atol=1e-9)


def test_silhouette_and_k_means_are_scikit_learns() -> None:
    clouds = np.repeat([0, 1, 2], 20)
    assert silhouette(POINTS, LABEL) == pytest.approx(-0.07093969778, abs=1e-9)
    assert silhouette(POINTS, clouds) == pytest.approx(0.5900908830, abs=1e-9)
    for k, cost in ((2, 457.6925785), (3, 190.7186434)):
        found = k_means(POINTS, k, np.random.default_rng(0))
        assert found.cost == pytest.approx(cost, rel=1e-9)
    assert len(np.unique(np.c_[found.label, clouds], axis=0)) == 3  # each cloud is a group
    assert k_means(POINTS, 4, np.random.default_rng(0), starts=50).cost == pytest.approx(162.4958584, rel=1e-3)


def test_concentration_of_known_amounts() -> None:
    assert gini(np.arange(1, 101)) == pytest.approx(99 / 300)  # (n - 1) / 3 n
    assert gini([5, 5, 5]) == pytest.approx(0)
    assert gini([0, 0, 0, 8]) == pytest.approx(3 / 4)
    assert math.isnan(gini([0, 0]))
    pareto = (1 - (np.arange(10**5) + 0.5) / 10**5) ** (-1 / 3)  # of shape 3: the Gini coefficient is 1 / 5
    assert gini(pareto) == pytest.approx(0.2, abs=1e-3)
    assert top_share(pareto, 0.1) == pytest.approx(0.1 ** (2 / 3), abs=1e-3)


@pytest.mark.parametrize(("users", "rate", "alike"), [(12, 0.3, 4), (40, 0.05, 30), (200, 0.05, 4)])
def test_intervals_of_rates_cover_the_truth_where_users_differ(users: int, rate: float, alike: float) -> None:
    """Beta-binomial users with geometric numbers of rows, of which plain Wilson intervals make too much."""
    rng = np.random.default_rng(0)
    n = rng.geometric(0.05, (2000, users))
    y = rng.binomial(n, rng.beta(alike * rate, alike * (1 - rate), (2000, users)))
    found = ratio(*sums(y, n), share=True)
    covered = ((found.low <= rate) & (rate <= found.high)).mean()
    assert 0.92 <= covered <= 0.975
    naive = wilson(y.sum(1) / n.sum(1), n.sum(1))
    assert ((naive.low <= rate) & (rate <= naive.high)).mean() < 0.85


def test_intervals_of_survival_cover_the_truth_where_users_differ() -> None:
    """Users with a chance to stay of their own, six sessions each, some censored."""
    rng = np.random.default_rng(1)
    at, covered, naive = np.array([1, 3, 6]), np.zeros(3), np.zeros(3)
    stay = rng.beta(8, 4, 10**6)
    truth = np.array([(stay**t).mean() for t in at])
    for _ in range(400):
        mine = np.repeat(rng.beta(8, 4, 80), 6)
        length, seen = rng.geometric(1 - mine), rng.geometric(0.08, len(mine))
        spells = np.minimum(length, seen), length <= seen
        for count, cluster in ((covered, np.repeat(np.arange(80), 6)), (naive, np.arange(480))):
            found = kaplan_meier(*spells, cluster, at)
            count += (found.low <= truth) & (truth <= found.high)
    assert (covered / 400 >= 0.915).all()
    assert (covered / 400 <= 0.98).all()
    assert (naive / 400 < covered / 400).all()


@cache
def logs() -> Logs:
    return made_up()


@cache
def report() -> Behaviour:
    return behaviour(logs())


def inside(section: Section, truth: Any, width: float = 1.5) -> np.ndarray:
    """Whether each truth lies in the interval, `width` times as wide: a test of many points, not of one."""
    value = section.value
    truth = np.asarray(truth)
    return (value - width * (value - section.low) <= truth) & (truth <= value + width * (section.high - value))


def test_every_section_is_there_in_plain_numbers() -> None:
    found = report()
    assert not found.missing
    assert len(found.sections) == 21
    for section in found.sections:
        assert section.reading.endswith(".")
        assert section.about
        known = np.isfinite(section.low)
        assert (section.low[known] <= section.value[known]).all()
        assert (section.value[known] <= section.high[known] + 1e-12).all()
    data = found.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert found.about["rows"] == len(logs())


def test_levels_are_plain_counts() -> None:
    events = logs().events
    levels = dict(zip(report()["levels"].x, report()["levels"].value, strict=True))
    assert levels["clicks per item shown"] == pytest.approx(events["click"].mean())
    assert levels["steps per session"] == pytest.approx(events["slate"].n_unique() / events["session"].n_unique())
    assert levels["sessions per user"] == pytest.approx(events["session"].n_unique() / 300)
    assert levels["clicks per session"] == pytest.approx(events["click"].sum() / events["session"].n_unique())
    assert levels["dwell where there is any"] == pytest.approx(events["dwell"].mean())
    assert f"{events['click'].sum():,} clicks" in report()["levels"].reading
    assert inside(report()["funnel"], [report()["funnel"].value[0], 0.3, 0.4]).all()


def test_position_and_fatigue_are_as_planted() -> None:
    position = report()["click rate by position"]
    np.testing.assert_allclose(position.value / position.value[0], made.POSITION, rtol=0.12)
    assert position.n.tolist() == [len(logs()) // 3] * 3
    tired = report()["click rate by exposures of the topic"]
    seen = np.array(tired.x)
    assert set(tired.x) <= {0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50}
    few = seen <= 5
    assert inside(tired, tired.value[0] * made.TIRING**seen, 1.8)[few].all()


def test_exposures_are_those_of_earlier_steps() -> None:
    """Counted by hand: what a session had shown of the topic, and a user of the item, before the step."""
    part = logs_of(logs().events.head(9000), logs().items["topic"].to_list())
    found = behaviour(part)
    events = part.events.join(part.items, on="item", how="left", maintain_order="left")
    for name, keys in (("topic", ("session", "topic")), ("item", ("user", "item"))):
        shown: dict[Any, int] = {}
        expected: dict[int, list[int]] = {0: [0, 0], 1: [0, 0], 5: [0, 0]}
        for (_,), step in events.group_by("slate", maintain_order=True):
            before = {key: shown.get(key, 0) for key in step.select(keys).iter_rows()}
            for *key, click in step.select(*keys, "click").iter_rows():
                if (k := before[tuple(key)]) in expected:
                    expected[k][0] += 1
                    expected[k][1] += click
                shown[tuple(key)] = shown.get(tuple(key), 0) + 1
        section = found[f"click rate by exposures of the {name}"]
        for k, (n, clicks) in expected.items():
            assert (int(section.n[k]), float(section.value[k])) == (n, pytest.approx(clicks / n))


def test_survival_is_as_planted() -> None:
    stay = report()["survival of sessions"]
    assert stay.x[:3] == (0.0, 1.0, 2.0)
    assert inside(stay, made.STAY ** np.array(stay.x))[:12].all()
    gone = report()["survival until return"]
    hours = np.array(gone.x)
    # From the end of a session to the start of the next are 0.6 hours and an exponential pause.
    truth = np.exp(-np.maximum(hours - 0.6, 0) / made.RETURN)
    assert inside(gone, truth)[(hours > 1) & (hours <= 72)].all()


def test_censoring_matters_and_is_seen() -> None:
    """Users whose logs end while they are away are no users who never come back; so with a session that goes on."""
    events = logs().events
    cut = events.filter(pl.col("time") < pl.lit(made.START) + pl.duration(days=14))
    gone = behaviour(logs_of(cut, ["a"] * 60)).find("survival until return")
    assert gone is not None
    at = gone.x.index(48.0)
    assert abs(gone.value[at] - math.exp(-47.4 / made.RETURN)) < 0.06
    # Users who are watched for three steps in all.
    steps = pl.col("slate") - pl.col("slate").min().over("user")
    short = logs_of(events.filter(steps < 3), ["a"] * 60, horizon=3)
    found = behaviour(short)["survival of sessions"]
    assert inside(found, made.STAY ** np.arange(4))[:3].all()
    assert found.value[-1] == found.value[-2]  # nobody is known to have left after the third
    assert "still going on" in found.reading


def test_dwell_is_as_planted() -> None:
    dwell = report()["dwell"]
    mean, deviation = made.DWELL
    normal = np.array([-1.281552, -0.674490, 0.0, 0.674490, 1.281552, 1.644854, 2.326348])
    assert inside(dwell, np.exp(mean + deviation * normal)).all()
    bars = report()["dwell histogram"]
    assert bars.value.sum() == pytest.approx(1)
    assert bars.n.sum() == logs().events["dwell"].is_not_null().sum()


def test_prices_and_topics_are_as_planted() -> None:
    response = report()["click rate by price"]
    assert (np.diff(response.value) < 0).all()  # a click rate that falls as price^-0.5
    assert response.value[0] / response.value[-1] == pytest.approx(math.sqrt(2.5 / 0.42), rel=0.2)
    paid = dict(zip(report()["price paid"].x, report()["price paid"].value, strict=True))
    assert paid["with a click / shown"] == pytest.approx(paid["with a click"] / paid["shown"])
    assert paid["with a click / shown"] < 1
    moves = report()["topic transitions"]
    clicks = logs().events.join(logs().items, on="item", how="left", maintain_order="left").filter(pl.col("click"))
    pairs: dict[tuple[str, str], int] = {}
    for (_,), mine in clicks.group_by("session", maintain_order=True):
        topics = mine["topic"].to_list()
        for pair in pairwise(topics):
            pairs[pair] = pairs.get(pair, 0) + 1
    counted = [[pairs.get((a, b), 0) for b in moves.x] for a in moves.rows]
    assert moves.n.tolist() == counted
    n = np.array(counted)
    np.testing.assert_allclose(moves.value, n * n.sum() / np.outer(n.sum(1), n.sum(0)))
    assert (np.diag(moves.low) > 0.9).all()  # users have tastes
    assert np.diag(moves.value).mean() > 1.2


def test_shuffled_topics_are_independent() -> None:
    rng = np.random.default_rng(0)
    events = pl.DataFrame({"user": np.repeat(np.arange(400, dtype=np.uint32), 20)}).with_columns(
        item=pl.Series(rng.integers(0, 40, 8000), dtype=pl.UInt32),
        time=pl.lit(made.START) + pl.duration(minutes=pl.int_range(pl.len())),
    )
    moves = behaviour(logs_of(events, [f"t{k % 4}" for k in range(40)], impressions=False))["topic transitions"]
    assert inside(moves, np.ones((4, 4)), 1.6).all()
    assert (moves.high - moves.low).max() < 0.6


def test_retention_counts_users_whose_week_is_over() -> None:
    day = 24 * 60
    first = {0: [0, 8 * day, 15 * day], 1: [1 * day, 16 * day], 2: [8 * day, 9 * day], 3: [21 * day]}
    rows = [(user, 0, minutes) for user, times in first.items() for minutes in times]
    events = pl.DataFrame(rows, schema={"user": pl.UInt32, "item": pl.UInt32, "minutes": pl.Int64}, orient="row")
    time = pl.lit(made.START) + pl.duration(minutes="minutes")
    found = behaviour(logs_of(events.select("user", "item", time=time), impressions=False))
    kept = found["retention"]
    # Week 1 is over for users 0, who is back, and 1. Week 2 is over for 0 alone, and 0 is there.
    assert kept.x == (1, 2)
    np.testing.assert_allclose(kept.value, [1 / 2, 1.0])
    assert kept.n.tolist() == [2, 1]
    cohorts = found["retention by cohort"]
    assert cohorts.rows == ("week 1", "week 2")
    assert cohorts.n.tolist() == [[2, 2, 1], [1, 0, 0]]


def test_groups_find_two_kinds_of_users_and_none_is_small() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1], [70, 50])
    size = np.where(kinds, 60, 10)
    user = np.repeat(np.arange(120), size)
    rate = np.where(kinds, 0.5, 0.05)[user]
    events = pl.DataFrame({"user": user, "item": rng.integers(0, 30, len(user)), "click": rng.random(len(user)) < rate}).cast(
        {"user": pl.UInt32, "item": pl.UInt32}).with_columns(time=pl.lit(made.START) + pl.duration(minutes=pl.int_range(pl.len())))  # fmt: skip
    table = logs_of(events)
    groups = behaviour(table)["segments"]
    assert groups.n[:, 0].tolist() == [70, 50]
    columns = dict(zip(groups.x, groups.value.T, strict=True))
    np.testing.assert_allclose(columns["rows"], [10, 60])
    assert columns["click rate"][1] > 5 * columns["click rate"][0]
    merged = behaviour(table, segments=2, min_size=60)["segments"]
    assert merged.n[:, 0].tolist() == [120]
    assert "merged" in merged.reading
    assert "at least 100" in behaviour(table, min_size=100).missing["segments"]
    many = behaviour(table, segments=12, min_size=15)["segments"]
    assert many.n[:, 0].min() >= 15
    assert many.n[:, 0].sum() == 120


def test_what_logs_lack_is_said() -> None:
    events = logs().events
    bare = behaviour(logs_of(events.filter(pl.col("click")).select("user", "item", "time"), impressions=False))
    assert {section.name for section in bare.sections} == {
        "levels", "activity by hour", "popularity", "retention", "retention by cohort", "segments"
    }  # fmt: skip
    assert bare.missing["click rate by hour"].startswith("The logs have clicks alone")
    assert bare.missing["survival of sessions"].startswith("The logs have no sessions")
    assert bare.missing["price paid"] == "The logs have no price."
    assert bare.missing["click rate by exposures of the topic"] == "The logs have no session and no topic."
    with pytest.raises(KeyError, match="no price"):
        _ = bare["price paid"]
    shown = behaviour(logs_of(events.drop("click", "cart", "purchase"), ["a"] * 60))
    assert shown.missing["click rate by position"] == "The logs do not say what was clicked."
    assert "appearances" in shown["popularity"].reading
    one = behaviour(logs_of(events.drop("session", "slate").with_columns(user=pl.lit(0, pl.UInt32)), ["a"] * 60))
    assert "one user" in one.about["note"]
    assert np.isfinite(one["click rate by position"].low).all()


def test_odd_tables_are_read() -> None:
    """A single row, columns of nulls."""
    single = logs().events.head(1)
    assert behaviour(logs_of(single, ["a"] * 60)).about["rows"] == 1
    empty = [pl.lit(None).cast(dtype).alias(name) for name, dtype in logs().events.schema.items()
             if name not in ("user", "item", "time", "session", "slate")]  # fmt: skip
    nothing = behaviour(logs_of(logs().events.with_columns(empty), ["a"] * 60))
    assert nothing.missing["dwell"] == "No row has a dwell above 0."
    json.dumps(nothing.to_dict(), allow_nan=False)


def test_arguments_are_checked() -> None:
    with pytest.raises(FitError, match="must have rows"):
        behaviour(Logs(logs().events.head(0), logs().items, logs().users))
    for wrong in ({"gap": -1}, {"segments": 0}, {"min_size": 0}, {"resamples": 3}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            behaviour(logs(), **wrong)


def test_the_same_seed_gives_the_same_report() -> None:
    small = logs_of(logs().events.head(6000), ["a"] * 60)
    assert behaviour(small, seed=3).to_dict() == behaviour(small, seed=3).to_dict()


def test_two_samples_of_one_law_agree_and_of_two_do_not() -> None:
    other, tamer = (
        made_up(seed=1),
        logs_of(made_up(seed=2).events.with_columns(pl.col("click") & (pl.col("item") % 2 == 0))),
    )
    same = {pair.name: pair for pair in compare(logs(), other)}
    points = [
        (pair.apart, len(pair.x)) for name, pair in same.items() if name not in ("topic transitions", "popularity")
    ]
    apart, n = np.sum(points, axis=0)
    assert n > 150
    assert apart / n < 0.12  # 5 % of independent points
    assert "segments" not in same
    different = {pair.name: pair for pair in compare(logs(), tamer)}
    position = different["click rate by position"]
    assert position.apart == 3
    assert (position.high < 0).all()
    np.testing.assert_allclose(position.difference, position.simulated.value - position.logged.value)  # type: ignore[union-attr]
    assert different["topic transitions"].simulated is None
    assert "no topic" in different["topic transitions"].missing
    data = [pair.to_dict() for pair in different.values()]
    assert json.loads(json.dumps(data, allow_nan=False)) == data
