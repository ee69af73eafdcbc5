"""A person in the place of the simulated user.

The step of the simulation stays the one of `World.advance`. Three parts of the world are replaced by the same parts with
one answer changed: the choice gives the clicks of the person instead of drawn ones, the response hears what the person
decides instead of chance, and the departure lets the person leave. All else, from the history of clicks to satisfaction
and fatigue, follows from that as it does for a simulated user.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recgym.component import Component
from recgym.errors import require
from recgym.models.choice import Choice
from recgym.models.departure import Departure, Hazard
from recgym.models.response import Dwell, Funnel, Response, Watch
from recgym.types import Array, Feedback, Users
from recgym.world import World

YES, NO = np.float32(1e-38), np.float32(1 - 2**-24)  # an event happens where the noise is below its probability
DEEDS: dict[type[Response], tuple[str, ...]] = {
    Funnel: ("look", "cart", "buy"),
    Dwell: ("glance", "read", "share"),
    Watch: ("glance", "watch"),
}
SKIM, READ, LONG = 0.1, 0.75, 0.9  # quantiles of the minutes on an article


def deeds_of(world: World) -> tuple[str, ...]:
    """What can be done with an item of a world, the least first."""
    return next((deeds for kind, deeds in DEEDS.items() if isinstance(world.response, kind)), ("look",))


@dataclass
class Answer:
    """What a person does in a step.

    Args:
        took: position of the slate -> deed, one of `deeds_of` the world. Every deed is a click.
        buys: places of the cart whose items are bought now.
        stays: whether what is on screen is watched on. like, gift: whether it, or what is joined, is liked, gets a gift.
        leaves: whether the session ends after this step.
    """

    took: dict[int, str] = field(default_factory=dict)
    buys: list[int] = field(default_factory=list)
    stays: bool = True
    like: bool = False
    gift: bool = False
    leaves: bool = False

    def check(self, world: World, slate: Array) -> None:
        """Require an answer to a slate (S,).

        Raises:
            ConfigError: a position shows nothing or is none, a deed is unknown, or there are more clicks than one where the
                world gives a slate at most one.
        """
        deeds = deeds_of(world)
        for position, deed in self.took.items():
            there = 0 <= position < len(slate) and slate[position] >= 0
            require(there, "took", "must be of positions that show an item", position)
            require(deed in deeds, "took", f"must be deeds among {list(deeds)}", deed)
        rule = "must be one item at most, as this world gives a slate one click"
        require(len(self.took) <= 1 or not world.choice.single, "took", rule, sorted(self.took))
        places = world.response.places if isinstance(world.response, Funnel) else 0
        for place in self.buys:
            require(0 <= place < places, "buys", f"must be places of a cart of {places}", place)


class _Asks:
    """What the three kinds of asking parts share."""

    fusable = False  # the answer of a person is no kernel
    answer: Answer


class _Chooses(_Asks, Choice, abstract=True):
    """Clicks what the person takes; the probabilities are those of the model."""

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        click, probability = super().sample(utility, outside, noise)
        click = np.zeros_like(click)
        for position in self.answer.took:
            click[:, position] = utility[:, position] > -np.inf
        return click, probability


class _Responds(_Asks, Response, abstract=True):
    """Does what the person decides: noise that makes it happen takes the place of chance.

    Whoever goes on watching a stream prefers it to browsing: its utility counts as that of browsing at least.
    """

    browsing: float

    def __call__(
        self, users: Users, catalog: Any, market: Any, slate: Array, signals: Array, utility: Array, outside: Array,
        click: Array, noise: Array,
    ) -> Any:  # fmt: skip
        noise, S, took = noise.copy(), slate.shape[1], self.answer.took
        if isinstance(self, Funnel):
            noise[: 2 * S + self.places] = NO
            for position, deed in took.items():
                noise[position] = NO if deed == "look" else YES
                noise[S + position] = YES if deed == "buy" else NO
            for place in self.answer.buys:
                noise[2 * S + place] = YES
        elif isinstance(self, Dwell):
            for position, deed in took.items():
                noise[position] = {"glance": SKIM, "read": READ, "share": LONG}[deed]
                noise[S + position] = YES if deed == "share" else NO
        elif isinstance(self, Watch):
            stays = all(deed == "watch" for deed in took.values()) if took else self.answer.stays
            noise[0] = YES if stays else NO
            noise[1] = YES if self.answer.like else NO
            noise[2] = YES if self.answer.gift else NO
            noise[3] = 0.5  # the median gift
            if stays:
                utility = np.where(click, np.maximum(utility, np.float32(self.browsing)), utility)
                outside = np.maximum(outside, np.float32(self.browsing))
        return super().__call__(users, catalog, market, slate, signals, utility, outside, click, noise)


class _Leaves(_Asks, Departure, abstract=True):
    """Leaves when the person does. Patience and time that have run out end a session as ever, chance does not."""

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        departed = super().__call__(users, feedback, noise)
        stays = np.zeros_like(departed["left"]) if isinstance(self, Hazard) else departed["left"]
        return {**departed, "left": stays | self.answer.leaves}


def asking(world: World, answer: Answer) -> World:
    """The world with a person as its user, who answers with what `answer` holds at each step. For batches of one."""
    browsing = float(getattr(world.preference, "browsing", 0.0))
    return world.replace(
        choice=_with(_Chooses, world.choice, answer=answer),
        response=_with(_Responds, world.response, answer=answer, browsing=browsing),
        departure=_with(_Leaves, world.departure, answer=answer),
    )


def _with(mixin: type, part: Component, **attributes: Any) -> Any:
    """A part of the same class and fields, with the methods of a mixin before its own."""
    kind = types.new_class(f"Asked{type(part).__name__}", (mixin, type(part)), {"abstract": True})
    made = object.__new__(kind)
    made.__dict__.update(part.__dict__, **attributes)
    return made
