"""Choice models against hand-worked fractions, brute-force enumeration and their own samples."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from recgym import ConfigError
from recgym.models.choice import Cascade, Choice, MultinomialLogit, PositionBased
from recgym.testing import check_component
from recgym.types import Array, Sizes

INF = np.float32(np.inf)
MODELS = [
    MultinomialLogit(),
    MultinomialLogit(null=-1.0, decay=0.7),
    PositionBased(),
    PositionBased(examination=(0.9, 0.3, 0.5, 1.0), threshold=-0.5),
    Cascade(),
    Cascade(attention=1.0, continuation=1.0, threshold=0.5),
    Cascade(attention=0.7, continuation=0.0, threshold=-1.0),
]
NAMES = [f"{type(m).__name__}{i}" for i, m in enumerate(MODELS)]


def row(*values: float) -> Array:
    return np.array([values], np.float32)


def zero(n: int = 1) -> Array:
    return np.zeros(n, np.float32)


def logs(*weights: int) -> Array:
    return np.log(np.array([weights], np.float64)).astype(np.float32)


def patterns(S: int) -> Array:
    return np.array(list(itertools.product([False, True], repeat=S)))


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_contract(model: Choice) -> None:
    check_component(model)


def test_logit_by_hand() -> None:
    """Weights 1, 2, 4 against a null of weight 3: exact tenths."""
    model = MultinomialLogit(null=math.log(3))
    got = model.probability(logs(1, 2, 4), zero())[0]
    assert got.tolist() == pytest.approx([float(Fraction(w, 10)) for w in (1, 2, 4)], rel=1e-6)


def test_logit_outside_option_adds_to_the_null() -> None:
    model = MultinomialLogit(null=math.log(3))
    outside = np.array([math.log(2)], np.float32)  # null weight 3 * 2
    got = model.probability(logs(1, 2, 4), outside)[0]
    assert got.tolist() == pytest.approx([float(Fraction(w, 13)) for w in (1, 2, 4)], rel=1e-6)


def test_logit_position_decay() -> None:
    """exp(-decay ln(1 + s)) = (1 + s)^-decay: with decay 1 the weights 1, 2, 3 all count 1."""
    model = MultinomialLogit(null=0.0, decay=1.0)
    got = model.probability(logs(1, 2, 3), zero())[0]
    assert got.tolist() == pytest.approx([0.25] * 3, rel=1e-6)
    got = MultinomialLogit(null=0.0, decay=2.0).probability(logs(1, 4, 9), zero())[0]
    assert got.tolist() == pytest.approx([0.25] * 3, rel=1e-6)


def test_logit_survives_huge_utilities() -> None:
    got = MultinomialLogit(null=0.0).probability(row(900.0, 900.0, -900.0), zero())[0]
    assert got.tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_logit_samples_by_inversion() -> None:
    """The null first, then the positions in order: every u maps to the one whose interval holds it."""
    model = MultinomialLogit(null=math.log(3))
    utility = logs(1, 2, 4)
    for u, want in [
        (0.05, None),
        (0.299, None),
        (0.301, 0),
        (0.399, 0),
        (0.401, 1),
        (0.599, 1),
        (0.601, 2),
        (0.999, 2),
    ]:
        click, _ = model.sample(utility, zero(), np.array([[u]], np.float32))
        assert np.flatnonzero(click[0]).tolist() == ([] if want is None else [want])


def test_logit_with_a_hopeless_null_clicks_at_every_u() -> None:
    u = np.array([[2.0**-24, 0.5, 1 - 2.0**-24]], np.float32)
    click, _ = MultinomialLogit(null=-1000.0).sample(np.zeros((3, 7), np.float32), zero(3), u)
    assert (click.sum(axis=1) == 1).all()


@pytest.mark.parametrize("gap", [60.0, 95.0, 100.0, 110.0, 600.0, 690.0])
def test_logit_whose_best_item_stands_where_hardly_anybody_looks(gap: float) -> None:
    """The weights of the others are then tiny, and float32 keeps no more than a few bits of such numbers."""
    v, model = row(0.0, 1.0, gap), MultinomialLogit(null=0.0, decay=1000.0)
    expected = np.exp(model.log_prob(v, zero(), np.eye(3, dtype=bool)[:1]))
    assert model.probability(v, zero())[0].tolist() == pytest.approx([float(expected[0]), 0.0, 0.0], abs=1e-6)


def test_position_based_by_hand() -> None:
    model = PositionBased(examination=0.5, threshold=1.0)
    got = model.probability(row(1.0, 1.0 + math.log(3), 1.0 - math.log(3)), zero())[0]
    assert got.tolist() == pytest.approx([1 / 2, 1 / 2 * 3 / 4, 1 / 4 * 1 / 4], rel=1e-6)
    model = PositionBased(examination=(0.1, 0.9, 0.0), threshold=0.0)
    assert model.probability(row(0, 0, 0), zero())[0].tolist() == pytest.approx([0.05, 0.45, 0.0])


def test_position_based_ignores_the_rivals(rng: np.random.Generator) -> None:
    utility = rng.normal(size=(1, 4)).astype(np.float32)
    other = utility.copy()
    other[0, 1] = 9.0
    model = PositionBased()
    a, b = model.probability(utility, zero())[0], model.probability(other, zero())[0]
    assert np.array_equal(np.delete(a, 1), np.delete(b, 1))
    assert b[1] > a[1]


def enumerate_cascade(model: Cascade, attraction: list[float]) -> dict[tuple[bool, ...], float]:
    """P(click pattern) by walking every branch: click or not, read on or stop."""
    chance: dict[tuple[bool, ...], float] = {}
    S = len(attraction)

    def walk(s: int, clicks: tuple[bool, ...], p: float) -> None:
        if s == S:
            chance[clicks] = chance.get(clicks, 0.0) + p
            return
        for clicked, q in ((True, attraction[s]), (False, 1 - attraction[s])):
            on = model.attention * (model.continuation if clicked else 1.0)
            walk(s + 1, (*clicks, clicked), p * q * on)
            stopped = (*clicks, clicked, *(False,) * (S - s - 1))
            chance[stopped] = chance.get(stopped, 0.0) + p * q * (1 - on)

    walk(0, (), 1.0)
    return chance


@pytest.mark.parametrize("S", [1, 2, 3, 5])
@pytest.mark.parametrize("model", [m for m in MODELS if isinstance(m, Cascade)], ids=["default", "sure", "classic"])
def test_cascade_against_all_branches(model: Cascade, S: int, rng: np.random.Generator) -> None:
    utility = rng.normal(0, 2, (1, S)).astype(np.float32)
    if S > 2:
        utility[0, 1] = -INF
    attraction = [0.0 if v == -INF else 1 / (1 + math.exp(model.threshold - v)) for v in utility[0].astype(float)]
    chance = enumerate_cascade(model, attraction)
    assert sum(chance.values()) == pytest.approx(1)
    marginal = [sum(p for clicks, p in chance.items() if clicks[s]) for s in range(S)]
    assert model.probability(utility, zero())[0].tolist() == pytest.approx(marginal, rel=1e-6, abs=1e-8)
    for clicks in patterns(S):
        want = chance.get(tuple(clicks.tolist()), 0.0)
        assert math.exp(model.log_prob(utility, zero(), clicks[None])[0]) == pytest.approx(want, rel=1e-9, abs=1e-15)


def test_classic_cascade_stops_at_the_first_click() -> None:
    """continuation 0: P(s) = a_s prod_{r<s} attention (1 - a_r), Craswell et al. 2008."""
    model = Cascade(attention=0.8, continuation=0.0)
    got = model.probability(row(0.0, math.log(3), 0.0), zero())[0]
    a = [0.5, 0.75, 0.5]
    want = [a[0], 0.8 * (1 - a[0]) * a[1], 0.8**2 * (1 - a[0]) * (1 - a[1]) * a[2]]
    assert got.tolist() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_joint_frequencies_are_exp_log_prob(model: Choice, rng: np.random.Generator) -> None:
    n, S = 60_000, 3
    utility = rng.normal(0, 1.5, (1, S)).astype(np.float32)
    noise = rng.random((model.uniforms(Sizes(S, 20, 100, 8, 5, 0)), n), np.float32).clip(2.0**-24, 1 - 2.0**-24)
    click, _ = model.sample(np.repeat(utility, n, axis=0), zero(n), noise)
    for pattern in patterns(S):
        p = math.exp(model.log_prob(utility, zero(), pattern[None])[0])
        assert (click == pattern).all(axis=1).mean() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n) + 1e-4)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_probability_rises_with_the_own_utility(model: Choice, rng: np.random.Generator) -> None:
    utility = rng.normal(size=(64, 4)).astype(np.float32)
    for s in range(4):
        better = utility.copy()
        better[:, s] += 0.5
        assert (model.probability(better, zero(64))[:, s] > model.probability(utility, zero(64))[:, s]).all()


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_a_higher_outside_option_never_helps(model: Choice, rng: np.random.Generator) -> None:
    utility = rng.normal(size=(64, 4)).astype(np.float32)
    low, high = model.probability(utility, zero(64)), model.probability(utility, zero(64) + 1)
    assert (high <= low).all()
    assert not model.single or (high < low).all()


def test_logit_without_decay_does_not_see_positions(rng: np.random.Generator) -> None:
    utility = rng.normal(size=(32, 5)).astype(np.float32)
    order = np.array([3, 0, 4, 1, 2])
    model = MultinomialLogit(null=0.5)
    a = model.probability(utility, zero(32))[:, order]
    assert a == pytest.approx(model.probability(utility[:, order].copy(), zero(32)), rel=1e-6)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_empty_positions(model: Choice, rng: np.random.Generator) -> None:
    empty = np.full((50, 3), -INF)
    noise = rng.random((6, 50), np.float32)
    click, probability = model.sample(empty, zero(50), noise)
    assert not click.any()
    assert not probability.any()
    assert model.log_prob(empty[:1], zero(), np.zeros((1, 3), bool))[0] == pytest.approx(0.0, abs=1e-12)
    assert np.isneginf(model.log_prob(empty[:1], zero(), np.array([[True, False, False]]))[0])


def test_logit_ignores_an_empty_position(rng: np.random.Generator) -> None:
    model = MultinomialLogit(null=0.5)
    a = model.probability(row(0.3, -INF, 1.2), zero())[0]
    b = model.probability(row(0.3, 1.2), zero())[0]
    assert a[[0, 2]].tolist() == b.tolist()


@pytest.mark.parametrize("utility", [-1000.0, -200.0, 200.0, 1000.0])
@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_extreme_utilities_stay_numbers(model: Choice, utility: float) -> None:
    u = np.array([[utility, 0.0, 1.0]], np.float32)
    probability = model.probability(u, zero())
    assert np.isfinite(probability).all()
    assert not np.isnan(model.log_prob(u, zero(), np.array([[True, False, False]]))).any()


@pytest.mark.parametrize("v", [3.0, 10.0, 18.0])
def test_logit_log_prob_of_no_click_is_exact_where_clicks_are_almost_sure(v: float) -> None:
    """ln P(none) = -ln(1 + 2 e^v): what a propensity of 1e-8 must still say."""
    got = MultinomialLogit(null=0.0).log_prob(row(v, v), zero(), np.zeros((1, 2), bool))[0]
    assert got == pytest.approx(-math.log(1 + 2 * math.exp(v)), rel=1e-5)


@pytest.mark.parametrize("v", [3.0, 10.0, 18.0])
def test_position_based_log_prob_of_no_click_is_exact_where_a_click_is_almost_sure(v: float) -> None:
    got = PositionBased(examination=1.0).log_prob(row(v), zero(), np.array([[False]]))[0]
    assert got == pytest.approx(-math.log1p(math.exp(v)), rel=1e-5)


def test_logit_log_prob_of_a_rare_click_is_exact() -> None:
    got = MultinomialLogit(null=0.0).log_prob(row(-120.0, 0.0), zero(), np.array([[True, False]]))[0]
    assert got == pytest.approx(-120 - math.log(2), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: MultinomialLogit(null=float("nan")), r"MultinomialLogit.null: must be a number in .*, got nan"),
        (lambda: MultinomialLogit(decay=-0.1), r"MultinomialLogit.decay: .*got -0.1"),
        (lambda: MultinomialLogit(null="2"), r"MultinomialLogit.null: .*got '2'"),
        (lambda: PositionBased(examination=1.2), r"PositionBased.examination: .*got 1.2"),
        (lambda: PositionBased(examination=(0.5, 1.2)), r"PositionBased.examination: .* \[0, 1\], got 1.2"),
        (lambda: PositionBased(examination=()), r"PositionBased.examination"),
        (lambda: PositionBased(examination="0.9"), r"PositionBased.examination.*0\.9"),
        (lambda: PositionBased(examination=None), r"PositionBased.examination.*None"),
        (lambda: PositionBased(examination=("a",)), r"PositionBased.examination.*a"),
        (lambda: Cascade(attention=-0.5), r"Cascade.attention: .*got -0.5"),
        (lambda: Cascade(continuation=2), r"Cascade.continuation: .*got 2"),
        (lambda: Cascade(threshold=float("inf")), r"Cascade.threshold: .*got inf"),
    ],
)
def test_bad_parameters(make: object, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make()  # type: ignore[operator]
