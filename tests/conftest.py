"""Fixtures of the core's tests. Worlds are immutable, so the tests share them."""

from __future__ import annotations

from benchmarks import limit_threads

limit_threads()  # small work is slower on several threads, the more so beside other tests

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import recgym
from recgym import registry
from recgym.actions import Action
from recgym.catalog import Catalog
from recgym.observations import Observation
from recgym.world import World

DOMAINS = ("ecommerce", "news", "livestream")


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """What a test registers, worlds, ids and forms, is gone after it: no test may depend on another."""
    tables: list[dict[str, Any]] = [gym.registry, registry._WORLDS, Action.known, Observation.known]
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)


@cache
def _world(name: str, slate_size: int) -> World:
    return recgym.load_world(name, slate_size=slate_size)


@pytest.fixture(scope="session")
def world_of() -> Callable[..., World]:
    """The world of a domain, made once: ``world_of("news", 5)``."""
    return lambda name, slate_size=1: _world(name, slate_size)


@pytest.fixture(params=DOMAINS)
def world(request: pytest.FixtureRequest) -> World:
    """Each domain's world with a slate of three."""
    return _world(request.param, 3)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture
def no_global_rng(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every function of the global generators of `random` and `numpy.random` raises."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a global random generator was used")

    for module in (random, np.random):
        for name in dir(module):
            owner = getattr(getattr(module, name), "__self__", None)
            if isinstance(owner, (random.Random, np.random.RandomState)):
                monkeypatch.setattr(module, name, refuse)


@pytest.fixture
def small_catalog(rng: np.random.Generator) -> Catalog:
    """Twelve items of four topics in three dimensions, with every attribute that a built-in part asks for."""
    embedding = rng.standard_normal((12, 3))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    attributes = np.stack([rng.normal(size=12), rng.uniform(size=12), rng.uniform(1, 50, 12)], axis=1)
    return Catalog(embedding, np.arange(12) % 4, attributes, ("quality", "clickbait", "price"), 4)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Of torch, where a test looks at who changes their number: by default there is one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
