"""A session of the playground: one user, whom a person serves or is, and what the page is told."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import gymnasium as gym
import numpy as np

import recgym
from baselines import Agent
from baselines.playground import controls, words
from baselines.playground.agents import around, key_of
from baselines.playground.person import Answer, asking, deeds_of
from recgym.compat import AutoresetMode
from recgym.errors import require, require_count, require_option
from recgym.models.response import Funnel, Watch
from recgym.render.session import Session, notes_of, outcomes, properties_of, series_of, time_of_day
from recgym.types import Array

FORMAT = "recgym-session-1"
MODES = ("recommend", "user")
MOST_SEED = 10**9


class Game:
    """One user of a world.

    Args:
        id: of the environment. options: of the page, see `controls.make`. seed: of the user, in [0, 10^9].
        mode: "recommend", the person recommends; "user", an agent recommends to the person.
        agent: who recommends, where the person is the user.

    Attributes:
        key: of the world: two games of the same key play in the same world.
        lock: to be held while a method is called.

    Raises:
        ConfigError: an argument breaks a rule.
    """

    def __init__(self, id: str, options: controls.Options, seed: int, mode: str, agent: Agent | None = None) -> None:
        require_option("mode", mode, MODES)
        require_count("seed", seed, 0, MOST_SEED)
        require(mode != "user" or agent is not None, "agent", "must be there where a person is the user", agent)
        self.id, self.seed, self.mode = id, seed, mode
        self.world, self.options, self.null = controls.make(id, options)
        self.key = key_of(id, options)
        self.lock = threading.Lock()
        self.answer = Answer()
        world = asking(self.world, self.answer) if mode == "user" else self.world
        self.arguments = around(self.world, self.null, self.options)
        self.env: Any = gym.make_vec(
            id,
            num_envs=1,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode="ansi",
            **{**self.arguments, "world": world},
        )
        self.observation, self.info = self.env.reset(seed=seed)
        self.agent, self.next = agent, np.zeros((1, self.world.slate_size), np.int64)
        self.rewards: list[float] = []
        self.steps: list[dict[str, Any]] = []  # lines of the log
        self.over = ""
        if agent is not None:
            agent.start(self.env)
            self.next = np.asarray(agent.act(self.observation, self.info["action_mask"]))

    def recommend(self, picks: list[int]) -> None:
        """Show candidates to the user.

        Args:
            picks: numbers of candidates, the top position first; none where nothing is shown.

        Raises:
            ConfigError: the person is the user here, the session is over, there are too many picks, or none where nothing is
                no action; a candidate is not there, or twice.
        """
        require(self.mode == "recommend", "picks", "must be of a session in which the person recommends", self.mode)
        require(not self.over, "step", "needs a session that goes on", self.over)
        S, candidates = self.world.slate_size, self._users().candidates[0]
        low = 0 if self._silence() else 1
        require(low <= len(picks) <= S, "picks", f"must be {low} to {S} candidates", picks)
        require(len({*picks}) == len(picks), "picks", "must name each candidate once", picks)
        for pick in picks:
            there = 0 <= pick < len(candidates) and candidates[pick] >= 0
            require(there, "picks", "must be candidates that are there", pick)
        # Positions without a pick show nothing; where that is no action, an item that is repeated is shown once, and a
        # candidate that is not there is not shown.
        rest = picks[0] if picks and not self.null else 0
        filled = [*(pick + self.null for pick in picks), *[rest] * (S - len(picks))]
        self._step(self.env.actions.encode(np.array([filled], np.int64)), {})

    def _silence(self) -> bool:
        """Whether nothing may be shown: where it is an action, or where there is no candidate."""
        return self.null or not (self._users().candidates >= 0).any()

    def respond(self, answer: Answer) -> None:
        """Answer what the agent shows.

        Raises:
            ConfigError: the person recommends here, the session is over, or the answer does not fit what is shown.
        """
        require(self.mode == "user", "answer", "must be of a session in which the person is the user", self.mode)
        require(not self.over, "step", "needs a session that goes on", self.over)
        answer.check(self.world, self.shown())
        vars(self.answer).update(vars(answer))
        given = {name: value for name, value in vars(answer).items() if value != getattr(Answer(), name)}
        self._step(self.next, {"answer": given})
        if not self.over:
            assert self.agent is not None
            self.next = np.asarray(self.agent.act(self.observation, self.info["action_mask"]))

    def shown(self) -> Array:
        """(S,) item ids that the agent shows now."""
        return self.env.actions.decode(self.env.actions.batch(self.next, 1), self._users())[0]

    def _step(self, action: Array, more: dict[str, Any]) -> None:
        users = self._users()
        self.observation, reward, terminated, truncated, info = self.env.step(action)
        self.info = info
        self.rewards.append(float(reward[0]))
        self.over = "left" if terminated[0] else "horizon" if truncated[0] else ""
        objectives = dict(zip(self.world.objectives, map(float, info["objectives"][0]), strict=True))
        self.steps.append({
            "t": int(users.t[0]), "minute": float(users.clock[0]), "candidates": users.candidates[0].tolist(),
            "action": np.asarray(action)[0].tolist(), "slate": info["slate"][0].tolist(), "click": info["click"][0].tolist(),
            "probability": [float(p) for p in info["probability"][0]], "objectives": objectives,
            "reward": self.rewards[-1], "terminated": bool(terminated[0]), "truncated": bool(truncated[0]), **more,
        })  # fmt: skip

    def _users(self) -> Any:
        return self.env.get_state().users

    def log(self) -> str:
        """The session as JSON Lines: a line about the session, then one for each step."""
        head = {"format": FORMAT, "recgym": recgym.__version__, "env": self.id, "options": self.options, "seed": self.seed,
                "mode": self.mode, "agent": type(self.agent).__name__ if self.agent else None}  # fmt: skip
        return "".join(json.dumps(line) + "\n" for line in (head, *self.steps))

    def close(self) -> None:
        """Let the env go."""
        self.env.close()

    # What the page is told

    def view(self) -> dict[str, Any]:
        """The session as it is now, in words and numbers."""
        world, users, session = self.world, self._users(), self.env.session()
        told: dict[str, Any] = {
            "id": self.id, "mode": self.mode, "seed": self.seed, "step": len(self.rewards), "horizon": world.horizon,
            "over": self._end(session), "clock": time_of_day(users.clock[0]), "null": self._silence(), "slate_size": world.slate_size,
            "single": world.choice.single, "user": words.USERS[words.domain(self.id)], "item": words.ITEMS[words.domain(self.id)],
            "rewards": self.rewards, "paid": self._paid(), "history": self._history(users), "last": self._last(session),
            "totals": self._totals(), "series": self._series(session), "course": self._course(session) if self.over else [],
        }  # fmt: skip
        if self.mode == "recommend":
            return {**told, **self._candidates(users), "about": self._about(users)}
        shown = self.shown() if not self.over else np.full(world.slate_size, -1)
        return {
            **told,
            "shown": self._items(shown, users.clock[0]),
            "deeds": list(deeds_of(world)),
            **self._own(users),
        }

    def _end(self, session: Session) -> str:
        if not self.over or self.mode == "recommend":
            return session.ended.replace("The user", f"The {words.USERS[words.domain(self.id)]}") if self.over else ""
        if self.steps[-1].get("answer", {}).get("leaves"):
            return "You left."
        return "Your patience or time has run out." if self.over == "left" else session.ended

    def _paid(self) -> str:
        """What a reward is made of."""
        if self.options.get("like_dislike"):
            return "+1 for a clicked item, −1 for an ignored one"
        if callable(self.world.reward):
            return self.world.reward.kind
        weights, each = self.world.reward.weights(self.world.objectives)
        found = [
            f"{w:g} × {name.replace('_', ' ')}" for name, w in zip(self.world.objectives, weights, strict=True) if w
        ]
        return " + ".join([*found, *([f"{each:g} × item shown"] if each else [])]).replace("+ -", "− ")

    def _totals(self) -> dict[str, float]:
        """Sums of the objectives so far."""
        return {
            name.replace("_", " "): sum(step["objectives"][name] for step in self.steps)
            for name in self.world.objectives
        }

    def _items(self, items: Array, clock: Any) -> list[dict[str, Any] | None]:
        """Items in words; None for an empty position."""
        items = np.ascontiguousarray(items, np.int32)
        texts = properties_of(self.world, items, clock, most=99)
        found: list[dict[str, Any] | None] = []
        for position, item in enumerate(items):
            facts = [{**_named(name), "text": words.signed(column[position])} for name, column in texts.items()]
            found.append({**self._topic(int(item)), "facts": facts} if item >= 0 else None)
        return found

    def _topic(self, item: int) -> dict[str, Any]:
        topic = int(self.world.catalog.topic[item])
        return {"item": item, "topic": topic, "name": words.topic_name(self.id, topic)}

    def _candidates(self, users: Any) -> dict[str, Any]:
        """The candidates as the observation shows them, in the order of the actions."""
        block, items = self.env.observation_layout["candidates"], users.candidates[0]
        seen = self.observation[0][block.slice].reshape(block.shape)
        columns, at = {}, 0
        for part in block.parts:
            if part.width == 1:
                columns[part.name] = seen[:, at]
            at += part.width
        texts = properties_of(self.world, items, users.clock[0], most=99)
        order = [name for name in words.CANDIDATE if name in columns] + [n for n in columns if n not in words.CANDIDATE]
        there = items >= 0
        rows = []
        for k in np.flatnonzero(there):
            cells = []
            for name in order:
                values = columns[name][there]
                low, high = float(values.min()), float(values.max())
                x = float(columns[name][k])
                text = words.signed(texts[name][k]) if name in texts else words.number(name, x)
                cells.append({"text": text, "value": x, "share": (x - low) / (high - low) if high > low else 0.0})
            rows.append({"pick": int(k), **self._topic(int(items[k])), "cells": cells})
        return {"columns": [{"key": name, **_named(name)} for name in order], "candidates": rows}

    def _about(self, users: Any) -> list[dict[str, str]]:
        """The block "user" of the observation in words; the time is told as a time."""
        block, at, found = self.env.observation_layout["user"], 0, []
        seen = self.observation[0][block.slice]
        for part in block.parts:
            x = float(seen[at])
            at += part.width
            if part.width != 1 or part.name in ("progress", "sine of the day", "cosine of the day"):
                continue
            column = self.world.owned.get(part.name)
            x = x * column.high if column else x
            word = words.USER.get(part.name, words.Word(part.name.replace("_", " "), ""))
            flag = part.name in ("known", "is_watching", "liked")
            text = ("yes" if x else "no") if flag else words.signed(f"{x:.2f}".rstrip("0").rstrip("."))
            if not (part.name.startswith("last_") and not self.rewards):
                found.append({"label": word.label, "hint": word.hint, "text": text})
        return found

    def _history(self, users: Any) -> list[dict[str, Any]]:
        """The items clicked last, latest first."""
        return [self._topic(int(item)) for item in users.history[0] if item >= 0]

    def _last(self, session: Session) -> dict[str, Any] | None:
        """What the last step did."""
        if not session.steps:
            return None
        step = session.steps[-1]
        feedback = step.feedback
        did = outcomes(self.world, feedback)[0]
        shown = [
            {**item, "did": ", ".join(did[s].values()), "clicked": bool(feedback.click[s]), "probability": float(feedback.probability[s])}
            for s, item in enumerate(self._items(feedback.slate, step.before.clock)) if item
        ]  # fmt: skip
        notes = [self._worded(note) for note in notes_of(self.world, step)]
        return {"shown": shown, "notes": notes, "reward": self.rewards[-1]}

    def _course(self, session: Session) -> list[dict[str, Any]]:
        """All steps in short: what was shown, and what came of it."""
        found = []
        for number, step in enumerate(session.steps):
            did = outcomes(self.world, step.feedback)[0]
            shown = [{**self._topic(int(item)), "did": ", ".join(did[s].values())}
                     for s, item in enumerate(step.feedback.slate) if item >= 0]  # fmt: skip
            notes = [self._worded(note) for note in notes_of(self.world, step)]
            found.append({"shown": shown, "notes": notes, "reward": self.rewards[number]})
        return found

    def _worded(self, note: str) -> str:
        """A note of `recgym.render` in the words of the page: the name of its topic stands for an item."""
        topic, who = self.world.catalog.topic, words.USERS[words.domain(self.id)]
        note = note.replace("the user browses", "you browse" if self.mode == "user" else f"the {who} browses")
        return re.sub(
            r"item (\d+)( \(topic \d+\))?", lambda found: words.topic_name(self.id, int(topic[int(found[1])])), note
        )

    def _series(self, session: Session) -> list[dict[str, Any]]:
        """The hidden state over the session, as `recgym.render` draws it."""
        if not session.steps:
            return []
        found = series_of(session)
        return [{"name": name.replace("_", " "), "values": [float(x) for x in series.values], "low": series.low,
                 "high": series.high} for name, series in found.items()]  # fmt: skip

    def _own(self, users: Any) -> dict[str, Any]:
        """What a person who is the user has: a cart, or a stream on screen."""
        response = self.world.response
        found: dict[str, Any] = {"cart": None, "screen": None}
        if isinstance(response, Funnel):
            found["cart"] = [{**self._topic(int(item)), "place": place, "price": f"{float(users.cart_price[0, place]):.2f}"}
                             for place, item in enumerate(users.cart_item[0]) if item >= 0]  # fmt: skip
        if isinstance(response, Watch):
            item, visit = int(users.watching[0]), float(users.visit[0])
            found["screen"] = {**self._topic(item), "minutes": visit} if item >= 0 else False
        return found


def _named(name: str) -> dict[str, str]:
    word = words.CANDIDATE.get(name, words.Word(name.replace("_", " "), ""))
    return {"label": word.label, "hint": word.hint}
