"""Operations on rows: in vector lanes they give the bits that the plain functions give."""

from __future__ import annotations

import numpy as np
import pytest

from recgym.kernel import kernel
from recgym.lanes import copy_row, dot

WIDTHS = (1, 2, 7, 8, 9, 16, 23, 31, 32, 33, 63, 64, 100)


@kernel
def _dots(out, a, b):
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            out[i, j] = dot(a, i, b, j)


@kernel
def _copies(out, at, source, n):
    for i in range(source.shape[0]):
        copy_row(out, i, at, source, i, n)


@pytest.mark.parametrize("d", WIDTHS)
def test_dot_is_the_plain_sum_to_the_bit(d: int, rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal((n, d)).astype(np.float32) for n in (5, 9))
    out = np.empty((5, 9), np.float32)
    _dots(out, a, b)
    plain = np.array([[dot(a, i, b, j) for j in range(9)] for i in range(5)])
    assert plain.dtype == np.float32
    assert out.tobytes() == plain.tobytes()
    assert out == pytest.approx(a.astype(np.float64) @ b.astype(np.float64).T, abs=1e-4)


@pytest.mark.parametrize("d", WIDTHS)
def test_dot_of_other_arrays(d: int, rng: np.random.Generator) -> None:
    """Of views and of float64 the plain function is compiled: the same order of the sum."""
    a, b = (rng.standard_normal((n, d)).astype(np.float32) for n in (5, 9))
    out, wide = np.empty((5, 9), np.float32), np.empty((5, 9))
    _dots(out, np.asfortranarray(a), b)
    _dots(wide, a.astype(np.float64), b.astype(np.float64))
    assert out.tobytes() == np.array([[dot(a, i, b, j) for j in range(9)] for i in range(5)]).tobytes()
    assert wide == pytest.approx(a.astype(np.float64) @ b.astype(np.float64).T, rel=1e-9, abs=1e-9)


def test_dot_does_not_depend_on_where_a_row_lies(rng: np.random.Generator) -> None:
    for d in (5, 16, 23):
        x, y = rng.standard_normal((2, d)).astype(np.float32)
        a, b = np.tile(x, (8, 1)), np.tile(y, (8, 1))
        out = np.empty((8, 8), np.float32)
        _dots(out, a, b)
        assert len({*out.ravel().tolist()}) == 1


@pytest.mark.parametrize("d", WIDTHS)
def test_copy_row(d: int, rng: np.random.Generator) -> None:
    source = rng.standard_normal((5, d)).astype(np.float32)
    for n, at in ((d, 0), (d, 3), (d - 1, 2), (0, 1)):
        out, plain = (np.full((5, d + 5), np.nan, np.float32) for _ in range(2))
        _copies(out, at, source, n)
        for i in range(5):
            copy_row(plain, i, at, source, i, n)
        assert out.tobytes() == plain.tobytes()
        assert (out[:, at : at + n] == source[:, :n]).all()
        assert np.isnan(out).sum() == 5 * (d + 5 - n)
