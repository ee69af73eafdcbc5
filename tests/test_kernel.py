"""The scalar functions of the kernels against the standard library, NumPy and quadrature."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from recgym.kernel import capped_lognormal_mean, kernel, lower_gamma, normal, normal_cdf, sigmoid


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
