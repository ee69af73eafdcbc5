"""Counter-based randomness: uniforms as a pure function of (user key, episode, step).

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
The 64-bit user key is the Philox key; the counter is (block, step + 1, episode, 0), step -1 being the arrival.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recgym.errors import require
from recgym.kernel import inlined, kernel
from recgym.types import F32, Array, empty


def mix(seeds: int | Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint64]:
    """User keys of seeds: the finaliser of splitmix64 (Steele, Lea and Flood 2014), a bijection of 64 bits.

    Args:
        seeds: one seed or a list of n, each an integer in [0, 2**64).

    Returns:
        (n,) uint64 keys.

    Raises:
        ConfigError: a seed is not an integer, or is negative or too large.
    """
    if isinstance(seeds, np.ndarray):
        seeds = seeds.ravel().tolist()
    seeds = list(seeds) if isinstance(seeds, Sequence) else [seeds]
    for seed in seeds:
        fits = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and 0 <= int(seed) < 2**64
        require(fits, "seed", "must be an integer in [0, 2**64)", seed)
    z = np.array([(int(seed) + 0x9E3779B97F4A7C15) % 2**64 for seed in seeds], dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def philox(c0, c1, c2, c3, k0, k1):
    """Four words of Philox4x32-10 for counter (c0..c3) and key (k0, k1), all uint32."""
    shift = np.uint64(32)
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * np.uint64(c0)
        p1 = np.uint64(0xCD9E8D57) * np.uint64(c2)
        c0 = np.uint32(np.uint32(p1 >> shift) ^ c1 ^ k0)
        c2 = np.uint32(np.uint32(p0 >> shift) ^ c3 ^ k1)
        c1, c3 = np.uint32(p1), np.uint32(p0)
        k0 = np.uint32(np.uint64(k0) + np.uint64(0x9E3779B9))
        k1 = np.uint32(np.uint64(k1) + np.uint64(0xBB67AE85))
    return c0, c1, c2, c3


def noise(keys: Array, episodes: Array, steps: Array, n: int) -> Array:
    """Uniforms of one step for B users.

    Args:
        keys: (B,) uint64 user keys.
        episodes: (B,) int32 episode counters.
        steps: (B,) int32, steps taken before this one; -1 for the arrival.
        n: how many uniforms a user gets, >= 1.

    Returns:
        (n, B) float32 in (0, 1), 23 bits each. Uniforms come first so that the block of any component,
        ``noise[a:b]``, is contiguous; column b depends on nothing but keys[b], episodes[b] and steps[b].
    """
    out = empty((n + -n % 4, keys.shape[0]), F32)  # a block of Philox is four numbers
    _noise(out, keys, episodes, steps)
    return out[:n]


@kernel
def _noise(out, keys, episodes, steps):
    for block in range(out.shape[0] // 4):
        _block(out[4 * block], out[4 * block + 1], out[4 * block + 2], out[4 * block + 3], block, keys, episodes, steps)


@kernel
def _block(first, second, third, fourth, block, keys, episodes, steps):
    """One block of all users. A function of its own, in which LLVM sees that the rows are apart, and takes users as lanes."""
    bits, half, scale = np.uint32(9), np.float32(0.5), np.float32(1.0 / 8388608.0)
    for b in range(keys.shape[0]):
        w0, w1, w2, w3 = philox(
            np.uint32(block), np.uint32(steps[b] + 1), np.uint32(episodes[b]), np.uint32(0),
            np.uint32(keys[b]), np.uint32(keys[b] >> np.uint64(32)),
        )  # fmt: skip
        first[b] = (np.float32(np.int32(w0 >> bits)) + half) * scale  # exact: 23 bits and a half
        second[b] = (np.float32(np.int32(w1 >> bits)) + half) * scale
        third[b] = (np.float32(np.int32(w2 >> bits)) + half) * scale
        fourth[b] = (np.float32(np.int32(w3 >> bits)) + half) * scale
