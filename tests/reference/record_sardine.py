"""Records SARDINE, the eight registered ids of `sardine-rec` 1.0.8 (MIT; Deffayet et al., arXiv 2311.16586).

    python record_sardine.py OUT_DIR              # writes the nine .npz files below, prints their means

No shim is needed: the package runs on current Gymnasium and NumPy and draws from its own `np_random`. `Spy` stands in
for that generator, passes every call on, and notes the click probabilities: those recorded are the ones the original
really used. ID is upstream's without `sardine/` and `-v0`: SlateTopK-BoredInf, for instance.

How the original orders things
------------------------------
reset: draw the user; show a slate of independent uniform items (repeats possible); draw its clicks, which are not
rewarded; then the same update as after a step, so they count for boredom *and* influence the user.
step: relevances under the user in force (all zeros while any topic is bored), clicks, update, observation.
update, t -> t + 1 (t = 0 for the reset slate):
    1. forget clicks made before t - 5, so those of the last five slates stay, and never more than the last ten
       clicks (a slate's clicks are added from the top, so its lower slots push out its upper ones, too);
    2. topics bored before this update: timer -= 1; those that reach 0 are no longer bored, timer back to 5;
    3. topics with at least `boredom_threshold` remembered clicks are bored; this does not restart a running timer, but
       a topic freed in 2 can be bored again at once, with a timer of 5: a spell is five steps long, and spells can join;
    4. influence on the underlying user, bored or not, of this slate's clicked items;
    5. user in force = the underlying user, or zeros if any topic is bored.
Influence is u <- normalise(omega u + (1 - omega) m) with m the mean over clicked items *and* topics, a scalar added to
every topic. The corrected formula has the vector of means over items instead: tell them apart by the direction of
user[i + 1] - user[i].

All arrays are flat over steps; `episode` (E,) int32 holds the index of each episode's first step; episodes are complete
(`horizon` steps). Values marked * are rounded to a multiple of 2**-20 (error below 5e-7), which lets them compress.
Slots count from 0; a state is the one in force *before* the step, so the next state is the next row of the episode.
Trace policy: an episode has an informed share of 0, 0.3 or 1 (probability 0.4, 0.3, 0.3); each of its steps shows, with
that probability, the slate of `greedy` below, else that of `random`.

sardine_single_item_{static,boredinf,uncertain}.npz, sardine_slate_topk_{bored,boredinf,uncertain}.npz,
sardine_slate_rerank_{static,bored}.npz (S slots, 10 topics, E episodes, T >= 20,000 steps)
    user_initial (E, 10) float64             user as drawn, unit norm
    reset_slate (E, S) uint16 or uint8       items of the slate shown at reset
    reset_click_probability (E, S) float32 * and reset_click (E, S) bool
    user_start (E, 10) float64               underlying user at the first step; only where omega < 1 (else user_initial)
    slate (T, S) uint16 or uint8             items shown
    click (T, S) bool                        what was clicked; the reward is their number
    expected_clicks (T,) float32 *           sum over slots of the click probability
    bored (T, 10) bool                       topics bored
    timer (T, 10) uint8                      steps left of the spell; 5 where not bored, too
    recent (T, 10) uint8                     remembered clicks by main topic (argmax of the embedding)
    checked (C,) int32                       steps for which the following two are recorded: all those of every fifth
                                             episode, so that rows of one episode are consecutive
    click_probability (C, S) float32 *
    user (C, 10) float32                     underlying user (before boredom zeroes it); only where omega < 1
and parameters, each () int64 or float64: num_items, slate_size, horizon, offset, slope, propensity (click_prop), omega,
boredom_threshold (11, more than can be remembered: never bored), boredom_window (5), max_clicks (10), max_norm (by
which scores are divided).
Every file also has distributions, for each policy P in `policies`:
    P_return (N,) float32, P_length (N,) uint16, P_clicks (N,) uint16   one entry an episode, undiscounted
    P_bored (N,) uint16                                                 its steps with any topic bored
    P_position_clicks (S,) int64, P_impressions () int64                clicks by slot; times each slot was shown
Policies:
    random           independent uniform items, repeats possible (what `action_space.sample()` gives)
    random_distinct  a uniform ordered sample without repeats (slate ids only; rerank: a random order)
    greedy           one-step greedy oracle: the S items of highest true relevance under the user in force (hence item
                     0, 1, ... S - 1 while bored), in descending order, ties to the lowest item. Upstream's own oracle
                     (an action of -1) differs in ties only.

sardine_items.npz, which is in the package: recgym/data/sardine/items.npz
    topk (1000, 10) float32, rerank (10, 10) float64   the item embeddings shipped with the package, exact
    licence () str                                     its MIT licence, which asks to travel with them
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib.metadata import distribution as package
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import sardine  # noqa: F401 - registers the ids

REQUIREMENTS = ("sardine-rec==1.0.8", "gymnasium==1.4.0", "numpy==2.4.6")

STEPS = 20_000
INFORMED_SHARES, SHARE_PROBABILITIES = (0.0, 0.3, 1.0), (0.4, 0.3, 0.3)
CHECKED_EVERY = 5  # episodes
STEPS_PER_POLICY = {"random": 400_000, "random_distinct": 200_000, "greedy": 200_000}
IDS = {
    "sardine_single_item_static": "SingleItem-Static",
    "sardine_single_item_boredinf": "SingleItem-BoredInf",
    "sardine_single_item_uncertain": "SingleItem-Uncertain",
    "sardine_slate_topk_bored": "SlateTopK-Bored",
    "sardine_slate_topk_boredinf": "SlateTopK-BoredInf",
    "sardine_slate_topk_uncertain": "SlateTopK-Uncertain",
    "sardine_slate_rerank_static": "SlateRerank-Static",
    "sardine_slate_rerank_bored": "SlateRerank-Bored",
}

Arrays = dict[str, np.ndarray]
Policy = Callable[[Any, np.random.Generator], np.ndarray]  # (environment, rng) -> (S,) items


class Spy:
    """Stands in for the original's generator and keeps the probabilities of its last draw of clicks."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.click_probability = np.zeros(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.generator, name)

    def binomial(self, n: int, p: np.ndarray) -> np.ndarray:
        self.click_probability = p
        return self.generator.binomial(n=n, p=p)


def make(name: str, seed: int) -> tuple[Any, np.random.Generator]:
    """The original environment recorded as `name`, seeded, and a generator for the policy."""
    env_seed, policy_seed = np.random.SeedSequence(seed).spawn(2)
    env = gymnasium.make(f"sardine/{IDS[name]}-v0").unwrapped
    env.np_random = np.random.default_rng(env_seed)
    return env, np.random.default_rng(policy_seed)


def random(env: Any, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(env.num_items, size=env.slate_size)


def random_distinct(env: Any, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(env.num_items)[: env.slate_size]


def greedy(env: Any, rng: np.random.Generator) -> np.ndarray:
    return np.argsort(-(env.item_embedd @ env.cur_user_embedd), kind="stable")[: env.slate_size]


POLICIES: dict[str, Policy] = {"random": random, "random_distinct": random_distinct, "greedy": greedy}


def distribution(name: str, policy: Policy, n_steps: int, seed: int) -> Arrays:
    """Per-episode totals of `policy` over about `n_steps` steps, and its clicks by slot."""
    env, rng = make(name, seed)
    returns, lengths, bored = [], [], []
    position_clicks = np.zeros(env.slate_size, np.int64)
    for _ in range(n_steps // env.H):
        env.reset()
        total, length, bored_steps, done = 0.0, 0, 0, False
        while not done:
            bored_steps += bool(env.bored.any())
            obs, reward, done, _, _ = env.step(policy(env, rng))
            total += float(reward)
            length += 1
            position_clicks += obs["clicks"]
        returns.append(total)
        lengths.append(length)
        bored.append(bored_steps)
    return {
        "return": np.array(returns, np.float32),
        "length": np.array(lengths, np.uint16),
        "clicks": np.array(returns, np.uint16),
        "bored": np.array(bored, np.uint16),
        "position_clicks": position_clicks,
        "impressions": np.array(sum(lengths)),
    }


def trace(name: str, seed: int) -> Arrays:
    """At least `STEPS` steps of whole episodes, in the arrays described in the module."""
    env, rng = make(name, seed)
    spy = env.np_random = Spy(env.np_random)
    episode: list[int] = []
    starts: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    checked: list[dict[str, Any]] = []
    initial = {}
    draw_user = env._reset_user_embedds

    def draw_user_and_keep() -> None:
        draw_user()
        initial["user"] = env.user_embedd.copy()

    env._reset_user_embedds = draw_user_and_keep
    while len(steps) < STEPS:
        obs, _ = env.reset()
        starts.append(
            {
                "user_initial": initial["user"],
                "reset_slate": obs["slate"],
                "reset_click_probability": spy.click_probability,
                "reset_click": obs["clicks"],
                "user_start": env.user_embedd.copy(),
            }
        )
        share = rng.choice(INFORMED_SHARES, p=SHARE_PROBABILITIES)
        is_checked = len(episode) % CHECKED_EVERY == 0
        episode.append(len(steps))
        done = False
        while not done:
            slate = (greedy if rng.random() < share else random)(env, rng)
            state = {
                "bored": env.bored.copy(),
                "timer": env.bored_timeout.copy(),
                "recent": np.bincount(np.array(env.clicked_item_topics, int), minlength=env.num_topics),
            }
            user = env.user_embedd.copy()
            obs, _, done, _, _ = env.step(slate)
            probability = spy.click_probability
            if is_checked:
                checked.append({"checked": len(steps), "click_probability": probability, "user": user})
            steps.append(state | {"slate": slate, "click": obs["clicks"], "expected_clicks": probability.sum()})
    arrays = {"episode": np.array(episode, np.int32)}
    for rows in (starts, steps, checked):
        arrays |= {key: np.array([row[key] for row in rows]) for key in rows[0]}
    if env.omega == 1:
        del arrays["user_start"], arrays["user"]
    return compact(arrays, np.dtype(np.uint8 if env.num_items <= 256 else np.uint16)) | {
        "num_items": np.array(env.num_items),
        "slate_size": np.array(env.slate_size),
        "horizon": np.array(env.H),
        "offset": np.array(env.offset),
        "slope": np.array(float(env.slope)),
        "propensity": np.array(float(env.spec.kwargs["click_prop"])),
        "omega": np.array(env.omega),
        "boredom_threshold": np.array(env.boredom_thresh),
        "boredom_window": np.array(env.boredom_moving_window),
        "max_clicks": np.array(env.recent_items_maxlen),
        "max_norm": np.array(float(env.max_score)),
    }


def compact(arrays: Arrays, item: np.dtype) -> Arrays:
    """Small dtypes; probabilities rounded to a multiple of 2**-20, whose zero low bits compress."""
    dtypes = {
        "slate": item,
        "reset_slate": item,
        "click": bool,
        "reset_click": bool,
        "bored": bool,
        "timer": np.uint8,
        "recent": np.uint8,
        "episode": np.int32,
        "checked": np.int32,
        "user": np.float32,
        "user_initial": np.float64,
        "user_start": np.float64,
    }
    return {
        key: values.astype(dtypes[key]) if key in dtypes else np.float32(np.round(values * 2.0**20) / 2.0**20)
        for key, values in arrays.items()
    }


def save(out: Path, name: str, arrays: Arrays) -> None:
    """Writes `out / name.npz` whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{name}.npz"
    np.savez_compressed(partial, **arrays)
    os.replace(partial, out / f"{name}.npz")


def record(name: str, out: Path) -> None:
    """Writes `out / name.npz`; prints the means and their standard errors."""
    seed = 10 * list(IDS).index(name)
    arrays = trace(name, seed + 1)
    policies = [label for label in POLICIES if label != "random_distinct" or arrays["slate_size"] > 1]
    for i, label in enumerate(policies):
        summary = distribution(name, POLICIES[label], STEPS_PER_POLICY[label], seed + 2 + i)
        arrays |= {f"{label}_{key}": values for key, values in summary.items()}
        returns, bored = summary["return"].astype(float), summary["bored"].astype(float)
        print(
            f"{name} {label} n={returns.size} return {returns.mean():.3f} +- {returns.std() / returns.size**0.5:.3f}"
            f" (sd {returns.std():.2f}) bored steps {bored.mean():.2f} click rates",
            (summary["position_clicks"] / summary["impressions"]).round(4),
            flush=True,
        )
    arrays["policies"] = np.array(policies)
    save(out, name, arrays)


def record_items(out: Path) -> None:
    """Writes `out / sardine_items.npz`."""
    licence = package("sardine-rec").read_text("LICENSE")
    assert licence is not None
    tables = {key: make(f"sardine_slate_{key}_bored", 0)[0].item_embedd for key in ("topk", "rerank")}
    save(out, "sardine_items", tables | {"licence": np.array(licence)})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    arguments = parser.parse_args()
    record_items(arguments.out)
    for name in IDS:
        record(name, arguments.out)


if __name__ == "__main__":
    main()
