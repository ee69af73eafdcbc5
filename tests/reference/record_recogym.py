"""Records RecoGym v1, default configuration (10 products): `recogym` 0.1.3 (Apache 2.0; Rohde et al., arXiv 1808.00720).

    python record_recogym.py OUT_DIR              # writes recogym_v1.npz, prints its means

Shims. The package requires TensorFlow, PyTorch, Jupyter and more, all for its agents and plots, which its `__init__`
imports. Hence `--no-deps` below with every package that the environment does need, and `recogym` and `recogym.agents`
are put in `sys.modules` as bare packages before `recogym.envs` is imported (which takes from the latter one base class,
for an annotation). NumPy 1.26 because gym 0.26 does not support NumPy 2. The environment itself runs as shipped.

How the original orders things
------------------------------
States: 0 organic, 1 bandit, 2 stop. A user starts organic, with omega ~ N(0, I).
organic event: a view ~ softmax(Gamma omega + mu_organic), then the chain moves.
bandit step: a click on the recommended product with probability ff(beta omega + mu_bandit), then the chain moves,
then a click sends the user to organic whatever the chain drew, stop included.
The chain moves by `transition[state]`. Where it drew organic, from organic or bandit, omega += N(0, 0.1^2 I) before the
view that follows; a user sent to organic by the click alone keeps omega. So omega is constant over a bandit visit.
`prob_leave_bandit` is read by nothing (both states leave with `prob_leave_organic`, by default its equal). Upstream
seeds its generator again after drawing Gamma, so the first user's omega is Gamma[0]: `reset_random_seed(epoch)` with
epoch >= 1, as here, avoids that.

recogym_v1.npz: arrays flat over events, T of them, of which at least 20,000 are bandit steps; `episode` (U,) int32 holds
the index of each user's first event; users are complete. Values marked * are rounded to a multiple of 2**-20 (error
below 5e-7), which lets them compress. V views (organic events), B bandit visits.
Trace policy: each action is random with probability 0.7, else that of `popularity` below.
    kind (T,) uint8                    0 organic, 1 bandit
    item (T,) uint8                    product viewed or recommended
    probability (T,) float32 *         the original's: of that view, or of a click
    click (T,) bool                    whether it was clicked, False for views
    chain (T,) uint8                   state drawn by the chain after the event
    next (T,) uint8                    state after the event: 0 if clicked, else chain
    omega (V, 5) float32 *             user at each view. At event t it is omega[cumsum(kind == 0)[t] - 1], for bandit
                                       steps too; the walk's noise is 0.1 times a standard normal
    visit (B,) int32                   event of the first step of each bandit visit
    view_probability (B, 10) float32 * the original's for all products, of the last view before the visit
    click_probability (B, 10) float32 *   the original's for all actions, the same for the whole visit
and the model: gamma (10, 5), mu_organic (10,), beta (10, 5), mu_bandit (10,), all float64; transition (3, 3) float64;
sigma_omega_initial, sigma_omega () float64; model_seed () int64.
Distributions, all with that model, for each policy P in `policies`, one entry a user:
    P_return (N,) float32, P_clicks (N,) uint16   clicks
    P_length (N,) uint16                          bandit steps, 0 for some 4 % (who stop in their first organic session)
    P_views (N,) uint16                           organic events
    P_expected (N,) float32 *                     sum over bandit steps of the click probability: the click rate is
                                                  sum(P_clicks) / sum(P_length), with less noise
                                                  sum(P_expected) / sum(P_length)
    P_position_clicks (1,) int64, P_impressions () int64   their totals
Policies; ties to the lowest product:
    random             uniform over products
    popularity         the product that this user has viewed most, all views so far
    global_popularity  the product viewed most by all users of the run so far, this one included
    oracle             the product of highest click probability
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

REQUIREMENTS = (
    "--no-deps",
    "recogym==0.1.3.0",
    "gym==0.26.2",
    "gym-notices==0.1.0",
    "cloudpickle==3.1.2",
    "numpy==1.26.4",
    "scipy==1.17.1",
    "numba==0.68.1",
    "llvmlite==0.50.0",
    "pandas==3.0.6",
    "python-dateutil==4.0.0",
    "tzdata==2026.6",
    "tqdm==4.70.1",
)


def shim() -> None:
    """Lets `recogym.envs` be imported without the package's agents."""
    spec = importlib.util.find_spec("recogym")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package, agents = ModuleType("recogym"), ModuleType("recogym.agents")
    package.__path__ = list(spec.submodule_search_locations)
    agents.Agent = object
    sys.modules |= {"recogym": package, "recogym.agents": agents}


shim()
from recogym.envs import RecoEnv1, env_1_args  # noqa: E402
from recogym.envs.reco_env_v1 import ff  # noqa: E402

NAME = "recogym_v1"
MODEL_SEED = 42
BANDIT_STEPS = 20_000
INFORMED_SHARE = 0.3
USERS = 5_000
ORGANIC, BANDIT, STOP = range(3)

Arrays = dict[str, np.ndarray]
Policy = Callable[[Any, np.ndarray, np.ndarray, np.random.Generator], int]  # (env, user's views, all views, rng)


class Spy:
    """Stands in for the original's generator and writes down the events that its draws decide."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.generator = env.rng
        self.action = -1  # product recommended in the step under way
        self.view_probability = np.zeros(0)
        self.events: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.visits: list[dict[str, Any]] = []

    def normal(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self.generator.normal(*args, **kwargs)

    def choice(self, options: Any, p: np.ndarray) -> Any:
        value = self.generator.choice(options, p=p)
        if options == self.env.config.num_products:
            self.view_probability = p
            self.views.append({"omega": self.env.omega.ravel().copy()})
            self.events.append({"kind": ORGANIC, "item": value, "probability": p[value], "click": 0})
        elif options == [0, 1]:
            if self.events[-1]["kind"] == ORGANIC:
                self.visits.append(
                    {
                        "visit": len(self.events),
                        "view_probability": self.view_probability,
                        "click_probability": ff(self.env.cached_state_seed),
                    }
                )
            self.events.append({"kind": BANDIT, "item": self.action, "probability": p[1], "click": value})
        else:
            last = self.events[-1]
            last |= {"chain": value, "next": ORGANIC if last["click"] else value}
        return value


def make(epoch: int) -> tuple[Any, np.random.Generator]:
    """The original environment, always with the same model, its users seeded, and a generator for the policy."""
    env = RecoEnv1()
    env.init_gym({**env_1_args, "random_seed": MODEL_SEED})
    env.reset_random_seed(epoch)
    return env, np.random.default_rng([MODEL_SEED, epoch])


def count(env: Any, sessions: list[dict[str, Any]]) -> np.ndarray:
    """(P,) views of each product."""
    return np.bincount([event["v"] for event in sessions], minlength=env.config.num_products)


def click_probability(env: Any) -> np.ndarray:
    """(P,) that of each product for the present user."""
    return ff((env.beta @ env.omega + env.mu_bandit).ravel())


def random(env: Any, mine: np.ndarray, everyone: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.integers(env.config.num_products))


def popularity(env: Any, mine: np.ndarray, everyone: np.ndarray, rng: np.random.Generator) -> int:
    return int(mine.argmax())


def global_popularity(env: Any, mine: np.ndarray, everyone: np.ndarray, rng: np.random.Generator) -> int:
    return int(everyone.argmax())


def oracle(env: Any, mine: np.ndarray, everyone: np.ndarray, rng: np.random.Generator) -> int:
    return int(click_probability(env).argmax())


POLICIES: dict[str, Policy] = {
    "random": random,
    "popularity": popularity,
    "global_popularity": global_popularity,
    "oracle": oracle,
}


def distribution(policy: Policy, epoch: int) -> Arrays:
    """Totals of `USERS` users under `policy`."""
    env, rng = make(epoch)
    everyone = np.zeros(env.config.num_products, int)
    clicks, lengths, views, expected = np.zeros((4, USERS))
    for user in range(USERS):
        env.reset(user)
        observation, _, done, _ = env.step(None)
        mine = count(env, observation.sessions())
        everyone += mine
        while not done:
            action = policy(env, mine, everyone, rng)
            expected[user] += click_probability(env)[action]
            observation, reward, done, _ = env.step(action)
            clicks[user] += reward
            lengths[user] += 1
            if observation.sessions():
                new = count(env, observation.sessions())
                mine += new
                everyone += new
        views[user] = mine.sum()
    return {
        "return": clicks.astype(np.float32),
        "clicks": clicks.astype(np.uint16),
        "length": lengths.astype(np.uint16),
        "views": views.astype(np.uint16),
        "expected": np.float32(np.round(expected * 2.0**20) / 2.0**20),
        "position_clicks": np.array([clicks.sum()], np.int64),
        "impressions": np.array(lengths.sum(), np.int64),
    }


def trace(epoch: int) -> Arrays:
    """Whole users until there are `BANDIT_STEPS` steps, in the arrays described in the module."""
    env, rng = make(epoch)
    spy = env.rng = Spy(env)
    episode: list[int] = []
    n_steps = 0
    while n_steps < BANDIT_STEPS:
        episode.append(len(spy.events))
        env.reset(len(episode))
        observation, _, done, _ = env.step(None)
        mine = count(env, observation.sessions())
        while not done:
            spy.action = (popularity if rng.random() < INFORMED_SHARE else random)(env, mine, mine, rng)
            observation, _, done, _ = env.step(spy.action)
            mine += count(env, observation.sessions())
            n_steps += 1
    arrays = {"episode": np.array(episode)}
    for rows in (spy.events, spy.views, spy.visits):
        arrays |= {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return compact(arrays) | {
        "gamma": env.Gamma,
        "mu_organic": env.mu_organic.ravel(),
        "beta": env.beta,
        "mu_bandit": env.mu_bandit.ravel(),
        "transition": env.state_transition,
        "sigma_omega_initial": np.array(float(env.config.sigma_omega_initial)),
        "sigma_omega": np.array(float(env.config.sigma_omega)),
        "model_seed": np.array(MODEL_SEED),
    }


def compact(arrays: Arrays) -> Arrays:
    """Small dtypes; floats rounded to a multiple of 2**-20, whose zero low bits compress."""
    dtypes = {"episode": np.int32, "visit": np.int32, "click": np.bool_}
    dtypes |= dict.fromkeys(("kind", "item", "chain", "next"), np.uint8)
    return {
        key: values.astype(dtypes[key]) if key in dtypes else np.float32(np.round(values * 2.0**20) / 2.0**20)
        for key, values in arrays.items()
    }


def record(out: Path) -> None:
    """Writes `out / recogym_v1.npz` whole or not at all; prints rates and their standard errors."""
    arrays = trace(1)
    for i, (label, policy) in enumerate(POLICIES.items()):
        summary = distribution(policy, 2 + i)
        arrays |= {f"{label}_{key}": values for key, values in summary.items()}
        length = summary["length"].astype(float)
        rates = []
        for key in ("clicks", "expected"):
            rate = summary[key].sum(dtype=float) / length.sum()
            error = (summary[key] - rate * length).std() / USERS**0.5 / length.mean()
            rates.append(f"{rate:.5f} +- {error:.5f}")
        means = [f"{x.mean():.2f} +- {x.std() / USERS**0.5:.2f}" for x in (length, summary["views"].astype(float))]
        print(
            NAME, label, "click rate", rates[0], "expected", rates[1], "steps", means[0], "views", means[1], flush=True
        )
    arrays["policies"] = np.array(list(POLICIES))
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{NAME}.npz"
    np.savez_compressed(partial, **arrays)
    os.replace(partial, out / f"{NAME}.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    arguments = parser.parse_args()
    record(arguments.out)


if __name__ == "__main__":
    main()
