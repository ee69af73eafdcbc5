"""The decorator of all kernels, and the scalar functions that they share.

A kernel is a function of arrays and numbers that numba compiles: plain IEEE arithmetic, row by row, so that a user's
numbers do not depend on the batch that the user is in. Kernels are defined at the top level of a module, where numba's
cache on disk finds them. With ``NUMBA_DISABLE_JIT=1`` they run as plain Python, for a debugger or to measure coverage:
slowly, and with other last digits, as NumPy's scalars round differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial, update_wrapper
from typing import Any

import numpy as np
from numba import njit
from numba.core import config as settings
from numba.core.caching import FunctionCache, NullCache

from recgym.files import cache_folder
from recgym.tape import Ran, note, tapes

config: Any = settings
COMPILES = not config.DISABLE_JIT


class _Cache(FunctionCache):
    """numba's cache on disk. A fault of it (a full disk, a torn file, a lost folder) costs time to compile, never a run."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # what a damaged file raises when it is unpickled and linked may be anything
            with suppress(OSError):
                self.flush()  # so that the next process finds it in order
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):
            super().save_overload(sig, data)


def _cache(function: Callable[..., Any]) -> _Cache | NullCache:
    """A cache where numba puts it (beside the source or in the user's cache folder), else in recgym's own, else none."""
    given = config.CACHE_DIR
    try:
        return _Cache(function)
    except RuntimeError:
        try:
            config.CACHE_DIR = str(cache_folder() / "kernels")
            return _Cache(function)
        except (OSError, RuntimeError):
            return NullCache()
        finally:
            config.CACHE_DIR = given


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """A function that numba compiles when it is first called, and keeps on disk where it can."""
    dispatcher: Any = njit(nogil=True, error_model="numpy", **options)(function)
    if COMPILES:
        dispatcher._cache = _cache(function)
    return dispatcher


class Kernel:
    """A compiled function. Called from Python it runs, and goes on the tape where a step is being recorded.

    Other kernels call it as one of numba's own, which is what `_numba_type_` tells numba.

    Args:
        function: what to compile. inline: write it out where it is called, so that a compiled step (`recgym.fusion`) unrolls
            its loops over rows whose length is known: for the few kernels in which a step spends most of its time, since it
            takes longer to compile.
    """

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[..., Any], inline: bool = False) -> None:
        self.compiled: Any = compiled(function, forceinline=inline)
        if COMPILES:
            self._numba_type_ = self.compiled._numba_type_
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        result = self.compiled(*arguments)
        if tapes:
            note(Ran(self, arguments, result))
        return result


kernel: Callable[[Callable[..., Any]], Callable[..., Any]] = Kernel
inlined: Callable[[Callable[..., Any]], Callable[..., Any]] = partial(Kernel, inline=True)


@kernel
def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


@kernel
def normal_cdf(x):
    """Distribution function of the standard normal."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@kernel
def normal(u):
    """Quantile of the standard normal at u in (0, 1): P. J. Acklam's rational approximation, error < 1.2e-9."""
    if u < 0.02425 or u > 0.97575:
        q = math.sqrt(-2.0 * math.log(u if u < 0.5 else 1.0 - u))
        tail = (
            (((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e00) * q
               - 2.549732539343734e00) * q + 4.374664141464968e00) * q + 2.938163982698783e00)
            / ((((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e00) * q
                + 3.754408661907416e00) * q + 1.0)
        )  # fmt: skip
        return tail if u < 0.5 else -tail
    q = u - 0.5
    r = q * q
    return (
        (((((-3.969683028665376e01 * r + 2.209460984245205e02) * r - 2.759285104469687e02) * r
           + 1.383577518672690e02) * r - 3.066479806614716e01) * r + 2.506628277459239e00) * q
        / (((((-5.447609879822406e01 * r + 1.615858368580409e02) * r - 1.556989798598866e02) * r
             + 6.680131188771972e01) * r - 1.328068155288572e01) * r + 1.0)
    )  # fmt: skip


@kernel
def capped_lognormal_mean(mu, sigma, cap):
    """E[min(X, cap)] for log X ~ N(mu, sigma^2) and cap > 0."""
    z = (math.log(cap) - mu) / sigma
    return math.exp(mu + 0.5 * sigma * sigma) * normal_cdf(z - sigma) + cap * (1.0 - normal_cdf(z))


@kernel
def lower_gamma(a, x):
    """Lower incomplete gamma function, integral_0^x t^(a-1) e^-t dt, for a > 0, x >= 0.

    The power series below a + 1, Lentz's continued fraction of the complement above (DLMF 8.11.4 and 8.9.2).
    """
    if x <= 0.0:
        return 0.0
    if x > 700.0 + a:
        return math.gamma(a)
    front = math.exp(a * math.log(x) - x)
    if x < a + 1.0:
        term = total = 1.0 / a
        n = a
        while term > 1e-12 * total:
            n += 1.0
            term *= x / n
            total += term
        return front * total
    b = x + 1.0 - a
    c, d = 1e300, 1.0 / b
    h = d
    for i in range(1, 200):
        step = -i * (i - a)
        b += 2.0
        d = step * d + b
        d = 1.0 / (d if abs(d) > 1e-300 else 1e-300)
        c = b + step / c
        c = c if abs(c) > 1e-300 else 1e-300
        h *= c * d
        if abs(c * d - 1.0) < 1e-12:
            break
    return math.gamma(a) - front * h


# Functions of float32 numbers in plain arithmetic, without branches or calls: LLVM turns a loop over a contiguous array
# into vector lanes, in which a number takes a fifth of the time of `math.exp`. A number gets the same bits in a lane as
# alone, and on every machine. For a number by itself they are no faster than `math`.

NEAREST = np.float32(1.5 * 2**23)  # x + NEAREST - NEAREST is the integer nearest to a float32 |x| < 2^22
LIMIT = np.float32(87.0)


@kernel
def exp32(x):
    """e^x of a float32, off by less than 1.1 ulp; 0 for x < -87 and infinity for x > 87.

    With x = n ln 2 + r, where n is an integer and |r| <= ln 2 / 2, it is 2^n, made of exponent bits, times a polynomial.
    """
    y = min(max(x, -LIMIT), LIMIT)
    n = (y * np.float32(1.442695) + NEAREST) - NEAREST
    r = (y - n * np.float32(0.693359375)) + n * np.float32(2.1219444e-4)  # ln 2 is the first less the second
    p = np.float32(1.3814456e-3) * r + np.float32(8.3687855e-3)
    p = p * r + np.float32(4.1668396e-2)
    p = p * r + np.float32(1.666652e-1)
    p = p * r + np.float32(0.49999994)
    p = ((p * r) * r + r + np.float32(1.0)) * np.int32((np.int32(n) + np.int32(127)) << 23).view(np.float32)
    p = np.float32(0.0) if x < -LIMIT else p
    return np.float32(np.inf) if x > LIMIT else p


@kernel
def exp_all(x):
    """x <- e^x for all numbers of a contiguous float32 array."""
    flat = x.reshape(-1)
    for j in range(flat.size):
        flat[j] = exp32(flat[j])


@kernel
def sigmoid32(x):
    """1 / (1 + e^-x) of a float32, off by less than 3 ulp; 0 for x < -87."""
    return np.float32(1.0) / (np.float32(1.0) + exp32(-x))


@kernel
def sigmoid_all(x):
    """x <- 1 / (1 + e^-x) for all numbers of a contiguous float32 array."""
    flat = x.reshape(-1)
    for j in range(flat.size):
        flat[j] = sigmoid32(flat[j])


@kernel
def sine32(turns):
    """sin(2 pi turns) of a float32 within [-0.5, 0.5], off by less than 3e-7."""
    z = turns * turns
    p = np.float32(-3.1933718) * z + np.float32(14.065504)
    p = p * z + np.float32(-38.498417)
    p = p * z + np.float32(67.07676)
    p = p * z + np.float32(-64.83582)
    p = p * z + np.float32(25.132742)
    return p * turns * (np.float32(0.25) - z)
