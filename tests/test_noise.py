"""The counter-based noise against published answers and against what a uniform must look like."""

from __future__ import annotations

import numpy as np
import pytest

from recgym import ConfigError
from recgym.noise import mix, noise, philox

# Random123, examples/kat_vectors: philox4x32 10, counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox_by_hand(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in Python integers, as the paper writes it."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]) -> None:
    assert tuple(int(word) for word in philox(*map(np.uint32, counter), *map(np.uint32, key))) == answer
    assert tuple(philox_by_hand(list(counter), list(key))) == answer


def test_noise_is_philox_of_key_episode_and_step() -> None:
    keys, episodes, steps, n = mix([3, 2**63]), np.array([0, 7], np.int32), np.array([-1, 99], np.int32), 10
    out = noise(keys, episodes, steps, n)
    assert out.shape == (n, 2)
    assert out.dtype == np.float32
    for b in range(2):
        key = [int(keys[b]) % 2**32, int(keys[b]) >> 32]
        for j in range(n):
            word = philox_by_hand([j // 4, int(steps[b]) + 1, int(episodes[b]), 0], key)[j % 4]
            assert out[j, b] == np.float32(((word >> 9) + 0.5) / 2**23)


@pytest.mark.parametrize("word", [0, 0x1FF, 0xFFFFFE00, 0xFFFFFFFF])
def test_extreme_words_stay_inside_the_open_interval(word: int) -> None:
    uniform = np.float32((np.float64(word >> 9) + 0.5) * (1.0 / 8388608.0))
    assert 0.0 < uniform < 1.0
    assert np.float32(1.0) - uniform > 0.0


def test_uniforms_are_strictly_inside_and_hold_no_column_back() -> None:
    out = noise(mix(range(2000)), np.zeros(2000, np.int32), np.ones(2000, np.int32), 64)
    assert out.min() > 0.0
    assert out.max() < 1.0
    assert len(np.unique(out)) > 0.99 * out.size  # 2**23 values, 128,000 draws


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("axis", ["key", "episode", "step"])
def test_uniform_and_independent_along_every_axis(axis: str) -> None:
    n, B = 4, 16_384
    counter = np.arange(B, dtype=np.int32)
    zero = np.zeros(B, np.int32)
    keys = mix(range(B)) if axis == "key" else np.repeat(mix(5), B)
    out = noise(keys, counter if axis == "episode" else zero, counter if axis == "step" else zero, n)
    dof = 255
    limit = dof + 5 * np.sqrt(2 * dof)  # mean + 5 standard deviations of a chi-square
    for j in range(n):
        assert chi_square(np.bincount((out[j] * 256).astype(int), minlength=256)) < limit
    pairs = [(out[0], out[1]), (out[0], out[3]), (out[0, :-1], out[0, 1:]), (out[2, :-1], out[1, 1:])]
    for a, b in pairs:
        cells = (a * 16).astype(int) * 16 + (b * 16).astype(int)
        assert chi_square(np.bincount(cells, minlength=256)) < limit


def test_low_bits_are_uniform_too() -> None:
    out = noise(mix(range(8192)), np.zeros(8192, np.int32), np.ones(8192, np.int32), 2)
    low = (out.ravel().astype(np.float64) * 2**23).astype(np.int64) % 64
    assert chi_square(np.bincount(low, minlength=64)) < 63 + 5 * np.sqrt(126)


def test_a_column_depends_on_its_own_key_episode_and_step_only() -> None:
    keys, episodes, steps = mix(range(9)), np.arange(9, dtype=np.int32), np.arange(9, dtype=np.int32)[::-1].copy()
    whole = noise(keys, episodes, steps, 7)
    for b in range(9):
        assert np.array_equal(whole[:, b], noise(keys[b : b + 1], episodes[b : b + 1], steps[b : b + 1], 7)[:, 0])
    assert np.array_equal(whole[:5], noise(keys, episodes, steps, 5))  # more uniforms leave the first alone


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 33])
def test_shape_is_what_was_asked_for(n: int) -> None:
    assert noise(mix([1, 2, 3]), np.zeros(3, np.int32), np.zeros(3, np.int32), n).shape == (n, 3)


def splitmix64(state: int) -> int:
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_mix_is_splitmix64() -> None:
    assert int(mix(0)[0]) == 0xE220A8397B1DCDAF  # the published first output of a generator seeded 0
    assert int(mix(0x9E3779B97F4A7C15)[0]) == 0x6E789E6AA1B965F4  # and its second
    for seed in (1, 12345, 2**32, 2**63, 2**64 - 1):
        assert int(mix(seed)[0]) == splitmix64(seed)


def test_mix_takes_ints_lists_and_arrays_alike() -> None:
    want = mix([4, 5, 6])
    assert want.dtype == np.uint64
    assert np.array_equal(want, mix(range(4, 7)))
    assert np.array_equal(want, mix(np.array([4, 5, 6])))
    assert np.array_equal(want[:1], mix(np.int64(4)))
    assert np.array_equal(want[:1], mix(np.array(4)))


def test_keys_are_distinct() -> None:
    assert len(np.unique(mix(range(100_000)))) == 100_000


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", True, [0, -3], [None], np.array([0.5])])
def test_bad_seeds(seed: object) -> None:
    with pytest.raises(ConfigError, match=r"seed: must be an integer in \[0, 2\*\*64\)"):
        mix(seed)  # type: ignore[arg-type]
