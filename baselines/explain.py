"""Why an agent prefers a candidate: contributions of groups of features to its values, by occlusion.

    observation, info = env.reset(seed=0)
    why = explain(agent, observation, info["action_mask"])       # or agent.explain(observation, mask)
    print(why.to_markdown(row=3))

The contribution of a group is the value minus the value with the group's features replaced by their average, as in the
occlusion maps of Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014 (arXiv 1311.2901,
section 4.2). For a linear model it is theta_g . (x_g - average_g), and the contributions and the value of the average
choice add up to the value. For other models they need not: what two groups do only together counts in full for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.agent import Agent
from recgym.envs import RecEnv, RecVectorEnv
from recgym.errors import require, require_count
from recgym.observations import Layout
from recgym.render import Reasons

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Values of an agent, and what groups of features contribute to them."""

    values: Array  # (B, n) float; -inf where a choice is not available
    contributions: Array  # (B, n, G) float64, in units of the value; 0 where a choice is not available
    groups: tuple[str, ...]  # G names

    def reasons(self, row: int) -> Reasons:
        """What `recgym.render.render` draws for one user.

        Raises:
            ConfigError: no such user.
        """
        require_count("row", row, 0, len(self.values) - 1)
        return Reasons(self.values[row], self.contributions[row], self.groups)

    def importance(self) -> dict[str, float]:
        """Group -> mean absolute contribution over all users and available choices, largest first."""
        there = np.isfinite(self.values)
        means = np.abs(self.contributions[there]).sum(axis=0) / max(int(there.sum()), 1)
        return {self.groups[g]: float(means[g]) for g in np.argsort(-means, kind="stable")}

    def to_markdown(self, row: int, items: Array | None = None, choices: int = 10, groups: int = 5) -> str:
        """A Markdown table of one user's best choices, with the groups that contribute most.

        Args:
            row: which user. items: (n,) item ids of the choices, -1 = nothing; without them the table names none.
            choices, groups: how many to show at most, >= 1. The other groups' contributions add up in "other".

        Raises:
            ConfigError: no such user, or items of another number.
        """
        require_count("choices", choices, 1, 10**9)
        require_count("groups", groups, 1, 10**9)
        reasons = self.reasons(row)
        digits = reasons.digits
        n = len(reasons.values)
        require(items is None or len(items) == n, "items", f"must be {n} item ids", items)
        named = reasons.strongest(groups)
        heads = ["choice", *(["item"] if items is not None else []), "value", *(self.groups[g] for g in named)]
        heads += ["other"] if len(named) < len(self.groups) else []
        lines = [f"| {' | '.join(heads)} |", f"|{'---:|' * len(heads)}"]
        for c in reasons.best(choices):
            part = reasons.contributions[c]
            cells = [str(c)]
            if items is not None:
                cells.append(str(items[c]) if items[c] >= 0 else "nothing")
            cells += [f"{reasons.values[c]:.{digits}f}", *(f"{part[g]:+.{digits}f}" for g in named)]
            if len(named) < len(self.groups):
                cells.append(f"{part.sum() - part[named].sum():+.{digits}f}")
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def feature_groups(layout: Layout) -> dict[str, Array]:
    """Group -> its columns in the flat observation: (K, w) for what candidates have, (w,) or (H, w) for the rest.

    profile (and whether it is known), session (progress and time of day), last_feedback and the visible columns of the user;
    history; embedding (where it is shown), attributes and market signals of the candidates by their own names, match_profile, match_history and exposure; the
    parts of the hidden state where the observation has it. The mask is in no group.
    """
    groups: dict[str, list[Array]] = {}
    feedback = {f"last_{part.name}" for part in layout["history"].parts}
    together = {"profile": "profile", "known": "profile", "progress": "session", "sine of the day": "session",
                "cosine of the day": "session", **dict.fromkeys(feedback, "last_feedback")}  # fmt: skip
    for name, block in layout.items():
        if name == "mask":
            continue
        columns = np.arange(block.slice.start, block.slice.stop).reshape(block.shape)
        if name == "history":
            groups["history"] = [columns]
            continue
        at = 0
        for part in block.parts:
            label = together.get(part.name, part.name) if name == "user" else part.name.replace(" ", "_")
            if name != "user" and label in groups:  # a hidden part may go by the name of a visible one
                label = f"{name}_{label}"
            groups.setdefault(label, []).append(columns[..., at : at + part.width])
            at += part.width
    return {label: np.concatenate(parts, axis=-1) for label, parts in groups.items()}


def explain(agent: Agent, observation: Array, mask: Array, background: Array | None = None) -> Explanation:
    """The agent's values, and the contribution of each group of features to them.

    A group is occluded for all candidates at once. Its features become averages over `background`: features of users
    their averages over users, features of candidates those over all available candidates of all users; candidates that
    are not there stay empty. So a contribution says what the features do *compared with the average* user or candidate.
    The match of candidate and profile is a feature of its own, and stays when the profile is occluded.

    Args:
        agent: has `values(observation, mask) -> (B, n)`, and has started in an env.
        observation: (B, width) float32, flat. mask: (B, n) bool, the choices that show something.
        background: (M, width) observations to compare with, M >= 2; see `background`. None: the batch itself.

    Raises:
        ConfigError: an agent without values, arrays of other shapes, or one user and no background.
    """
    value_of = getattr(agent, "values", None)
    has = "must have values(observation, mask), as LinUCB, DQN or SlateQ do; this one ranks by none"
    require(callable(value_of), "agent", has, type(agent).__name__)
    require(hasattr(agent, "env"), "agent", "must have started in an env (agent.start)", type(agent).__name__)
    layout = agent.env.observations.layout
    width = max(block.slice.stop for block in layout.values())
    observation, mask = np.asarray(observation), np.asarray(mask).astype(np.bool_)
    among = observation if background is None else np.asarray(background)
    for name, array in (("observation", observation), ("background", among)):
        rule = f"must have shape ({'B' if name == 'observation' else 'M'}, {width})"
        require(array.ndim == 2 and array.shape[1] == width, name, rule, array.shape)
    require(mask.ndim == 2 and len(mask) == len(observation), "mask", f"must have {len(observation)} rows", mask.shape)
    rule = "must have 2 users at least to compare with (baselines.explain.background collects some)"
    require(len(among) >= 2, "background", rule, len(among))

    values = np.asarray(value_of(observation, mask))  # type: ignore[misc]
    require(values.shape == mask.shape, "agent", f"must have values of shape {mask.shape}", values.shape)
    groups, average, present = feature_groups(layout), _average(layout, among), _present(layout, observation)
    contributions, valued = np.zeros((*values.shape, len(groups))), np.isfinite(values)
    for g, columns in enumerate(groups.values()):
        hidden = np.zeros(width, np.bool_)
        hidden[columns.ravel()] = True
        without = np.asarray(value_of(np.where(hidden & present, average, observation), mask))  # type: ignore[misc]
        contributions[valued, g] = values[valued].astype(np.float64) - without[valued]
    return Explanation(values, contributions, tuple(groups))


def _present(layout: Layout, observation: Array) -> Array:
    """(B, width) bool: all features but those of candidates that are not there."""
    present = np.ones(observation.shape, np.bool_)
    block = layout["candidates"]
    present[:, block.slice] = np.repeat(observation[:, layout["mask"].slice] > 0, block.shape[1], axis=1)
    return present


def _average(layout: Layout, observation: Array) -> Array:
    """(width,) float32: means over users; features of candidates are means over those that are there, of all users."""
    average = observation.mean(axis=0, dtype=np.float64)
    block = layout["candidates"]
    candidates = observation[:, block.slice].reshape(len(observation), *block.shape)
    there = candidates[observation[:, layout["mask"].slice] > 0]
    if len(there):
        average[block.slice] = np.tile(there.mean(axis=0, dtype=np.float64), block.shape[0])
    return average.astype(np.float32)


def background(env: RecVectorEnv, users: int = 256, steps: int = 20, seed: int = 0) -> Array:
    """(users, width) float32: observations to compare with, each of another user after 0 to `steps` random actions.

    Args:
        env: an env of the same world, which is not touched.
        users: >= 2. steps: >= 0, through several sessions of a user who leaves. seed: of users and actions.
    """
    require_count("users", users, 2, 10**7)
    require_count("steps", steps, 0, 10**6)
    require(env.observations.form != "dict", "observation", "must be flat", "dict")
    own = RecVectorEnv(num_envs=users, **env.options)
    observation, _ = own.reset(seed=seed)
    own.action_space.seed(seed)
    moment = np.random.default_rng(seed).integers(0, steps + 1, users)
    kept = np.array(observation)
    for t in range(1, steps + 1):
        observation, *_ = own.step(own.action_space.sample())
        kept[moment == t] = observation[moment == t]
    own.close()
    return kept


def show(env: Any, explanation: Explanation, row: int = 0) -> Any:
    """What `env.render()` shows of one user, beside it the agent's values and what they are made of.

    Args:
        env: of `gymnasium.make` or `make_vec`, with a render_mode.
        explanation: of the observation before the env's last step, or of the present one where none was made yet.
        row: which user, of the explanation and of the env.

    Returns:
        Text ("ansi") or a picture, (700, 1200, 3) uint8 ("rgb_array").

    Raises:
        ConfigError: no such user, an env that renders nothing, or an explanation of other choices.
    """
    inner = env.unwrapped
    batch = inner.batch if isinstance(inner, RecEnv) else inner
    require(isinstance(batch, RecVectorEnv), "env", "must be an environment of recgym", inner)
    return batch.frame(row, explanation.reasons(row))
