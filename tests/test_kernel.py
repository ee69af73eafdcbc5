"""The scalar functions of the kernels against the standard library, NumPy and quadrature."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from recgym.kernel import (
    capped_lognormal_mean,
    exp32,
    exp_all,
    kernel,
    lower_gamma,
    normal,
    normal_cdf,
    sigmoid,
    sigmoid32,
    sigmoid_all,
    sine32,
)
from recgym.types import Array


@kernel
def _each(f, x):
    """f of every element, compiled: what the other kernels see."""
    out = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        out[i] = f(x[i])
    return out


def test_normal_quantile() -> None:
    u = np.concatenate(
        [[2.0**-24, 1e-5, 0.02425, 0.5, 0.97575, 1 - 1e-5, 1 - 2.0**-24], np.linspace(0.001, 0.999, 997)]
    )
    want = np.array([NormalDist().inv_cdf(p) for p in u])
    assert np.abs(_each(normal, u) - want).max() < 1e-8


def test_normal_quantile_of_float32_noise_is_finite_and_ascends() -> None:
    u = (np.arange(0, 2**23, 4097) + 0.5).astype(np.float32) / np.float32(2**23)
    x = _each(normal, u)
    assert np.isfinite(x).all()
    assert (np.diff(x) > 0).all()


def test_normal_cdf() -> None:
    x = np.linspace(-8, 8, 321)
    want = np.array([NormalDist().cdf(v) for v in x])
    assert np.allclose(_each(normal_cdf, x), want, rtol=1e-12, atol=1e-15)
    tail = float(normal_cdf(-10.0))
    assert tail == pytest.approx(7.619853024160527e-24, rel=1e-9)  # no cancellation far out


def test_quantile_inverts_the_distribution_function() -> None:
    x = np.linspace(-5, 5, 101)
    assert np.abs(_each(normal, _each(normal_cdf, x)) - x).max() < 1e-7


def test_sigmoid() -> None:
    x = np.linspace(-40, 40, 801)
    assert np.allclose(_each(sigmoid, x), 1 / (1 + np.exp(-x)), rtol=1e-14)
    assert sigmoid(800.0) == 1.0
    assert sigmoid(-800.0) == 0.0
    assert sigmoid(0.0) == 0.5


@pytest.mark.parametrize("mu", [-3.0, -0.3, 0.0, 1.5])
@pytest.mark.parametrize("sigma", [0.05, 0.7, 2.0])
@pytest.mark.parametrize("cap", [0.01, 1.0, 15.0, 1e6])
def test_capped_lognormal_mean_against_quadrature(mu: float, sigma: float, cap: float) -> None:
    # E[min(X, cap)] is the integral of P(X > x) over (0, cap); in z = (log x - mu) / sigma it is smooth.
    top = (math.log(cap) - mu) / sigma
    z = np.linspace(min(-12.0, top - 1.0), top, 200_001)
    survival = np.array([0.5 * math.erfc(v / math.sqrt(2)) for v in z])
    integrand = survival * np.exp(mu + sigma * z) * sigma
    rest = math.exp(mu + sigma * z[0])  # below the grid X exceeds x almost surely
    want = float(np.trapezoid(integrand, z)) + rest
    assert capped_lognormal_mean(mu, sigma, cap) == pytest.approx(want, rel=2e-6)


def test_capped_lognormal_mean_has_the_right_limits() -> None:
    assert capped_lognormal_mean(0.3, 0.5, 1e12) == pytest.approx(math.exp(0.3 + 0.125), rel=1e-12)
    assert capped_lognormal_mean(5.0, 0.1, 2.0) == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize("x", [0.0, 1e-9, 1e-3, 0.3, 1.0, 2.5, 10.0, 50.0, 700.0, 1e30])
def test_lower_gamma_where_it_has_a_closed_form(x: float) -> None:
    assert lower_gamma(1.0, x) == pytest.approx(-math.expm1(-x), rel=1e-10)
    assert lower_gamma(0.5, x) == pytest.approx(math.sqrt(math.pi) * math.erf(math.sqrt(x)), rel=1e-10)
    if 1e-3 <= x < 700:  # closer to 0 the closed form itself cancels
        assert lower_gamma(2.0, x) == pytest.approx(1 - (1 + x) * math.exp(-x), rel=1e-8)


@pytest.mark.parametrize("a", [0.01, 0.5, 1.0, 3.0])
def test_lower_gamma_of_infinity_is_the_gamma_function(a: float) -> None:
    """What a hopeless match comes to: (cap / scale) ** shape overflows."""
    for x in (1e3, 1e300, math.inf):
        assert lower_gamma(a, x) == pytest.approx(math.gamma(a), rel=1e-12)


@pytest.mark.parametrize("a", [0.1, 0.7, 1.6, 5.0, 20.0])
def test_lower_gamma_against_quadrature(a: float) -> None:
    for x in (0.05, 0.9 * a, a + 0.9, a + 1.1, 3 * a + 5):
        s = (np.arange(400_000) + 0.5) / 400_000
        if a < 1:  # t = x s^(1/a) takes away the pole at 0
            want = x**a / a * np.exp(-x * s ** (1 / a)).mean()
        else:
            want = x * ((x * s) ** (a - 1) * np.exp(-x * s)).mean()
        assert lower_gamma(a, x) == pytest.approx(want, rel=1e-6)


# --- float32 functions in vector lanes


@kernel
def _each32(f, x, out):
    """f of every element of a float32 array, compiled into vector lanes."""
    for i in range(x.shape[0]):
        out[i] = f(x[i])


def each32(f: object, x: Array) -> Array:
    out = np.empty_like(x)
    _each32(f, x, out)
    return out


def ulps(got: Array, want: Array) -> float:
    """Largest error in units of the last place of a float32."""
    return float((np.abs(got - want) / np.spacing(want.astype(np.float32))).max())


DENSE = np.concatenate([np.linspace(-87, 87, 1_000_001), np.linspace(-1, 1, 200_001)]).astype(np.float32)


def test_exp32() -> None:
    assert ulps(each32(exp32, DENSE), np.exp(DENSE.astype(np.float64))) < 1.1
    beyond = np.array([-np.inf, -1e30, -87.01, 87.01, 1e30, np.inf, 0.0, -0.0], np.float32)
    assert each32(exp32, beyond).tolist() == [0, 0, 0, np.inf, np.inf, np.inf, 1, 1]


def test_sigmoid32() -> None:
    assert ulps(each32(sigmoid32, DENSE), 1 / (1 + np.exp(-DENSE.astype(np.float64)))) < 3
    beyond = np.array([-np.inf, -1e30, -87.01, 87.01, 1e30, np.inf, 0.0], np.float32)
    assert each32(sigmoid32, beyond).tolist() == [0, 0, 0, 1, 1, 1, 0.5]


def test_sine32() -> None:
    turns = np.linspace(-0.5, 0.5, 1_000_001).astype(np.float32)
    assert np.abs(each32(sine32, turns) - np.sin(2 * np.pi * turns.astype(np.float64))).max() < 3e-7


@pytest.mark.parametrize("f", [exp32, sigmoid32, sine32])
def test_a_lane_gives_the_bits_of_a_single_call(f: object, rng: np.random.Generator) -> None:
    """Row i of a batch is the single environment, whose loops are too short for lanes."""
    x = rng.uniform(-0.5, 0.5, 301).astype(np.float32) * np.float32(1 if f is sine32 else 100)
    alone = np.concatenate([each32(f, x[i : i + 1]) for i in range(len(x))])
    assert each32(f, x).tobytes() == alone.tobytes()


def test_whole_arrays_in_place(rng: np.random.Generator) -> None:
    x = rng.normal(0, 20, (7, 3)).astype(np.float32)
    for all_of, f in ((exp_all, exp32), (sigmoid_all, sigmoid32)):
        y = x.copy()
        all_of(y)
        assert np.array_equal(y.ravel(), each32(f, x.ravel()))
