"""What users view of their own accord."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.component import float_array
from recgym.errors import require, require_count, require_number
from recgym.kernel import kernel, normal
from recgym.lanes import dot
from recgym.models.dynamics.base import Dynamics
from recgym.types import BOOL, F64, I32, Array, Column, Feedback, Sizes, Users, copied, empty, filled, zeros


@dataclass(frozen=True, eq=False)
class OrganicSessions(Dynamics):
    """Browsing between advertisements: a chain of organic views, then advertisements again (RecoGym).

    After an advertisement (a step) the user browses with probability `browse`, and always after a click; without a
    click the user leaves with probability `leave`. To browse is to view an item i ~ softmax(affinity . interest +
    appeal). A view is followed by advertisements with probability `advertise`, by leaving with probability `leave`,
    and else by another view; after `longest` views come advertisements. A user arrives browsing, and does not leave
    before the first advertisement.

    Each time that the chain moves to browsing, other than by a click, every coordinate of the interest takes a step of
    a random walk, N(0, sd), within +-100 / sqrt(d).

    Views enter the history without feedback. Columns: `views` (T,), visible, the share of each topic in all views so
    far; `n_views`, their number; `present`, 0 once the user has left.

    Args:
        affinity: (N, d) float32.
        appeal: (N,) float32.
        browse, leave, advertise: probabilities; `browse` and `advertise` are at most 1 - leave.
        sd: >= 0.
        longest: most views in a row, >= 1.
    """

    affinity: Array
    appeal: Array
    browse: float = 0.05
    leave: float = 0.01
    advertise: float = 0.25
    sd: float = 0.1
    longest: int = 32
    reach: ClassVar[float] = 100.0

    def __post_init__(self) -> None:
        float_array(self, "affinity")
        float_array(self, "appeal", (len(self.affinity),))
        for name in ("leave", "browse", "advertise"):
            require_number(f"OrganicSessions.{name}", getattr(self, name), 0, 1 if name == "leave" else 1 - self.leave)
        require_number("OrganicSessions.sd", self.sd, 0, 100)
        require_count("OrganicSessions.longest", self.longest, 1, 10_000)

    def check(self, catalog: Catalog) -> None:
        shape = catalog.embedding.shape
        require(self.affinity.shape == shape, "OrganicSessions.affinity", f"must be {shape}", self.affinity.shape)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "views": Column((sizes.topics,), np.float32, 0.0, 1.0, visible=True),
            "n_views": Column((), np.float32, 0.0, 1e9),
            "present": Column((), np.float32, 0.0, 1.0, 1.0),
        }

    def uniforms(self, sizes: Sizes) -> int:
        # The move after the advertisement, then of each view the item, the move after it, and the walks of both moves.
        return (1 + sizes.dimensions) + self.longest * (2 + sizes.dimensions)

    def uniforms_at_arrival(self, sizes: Sizes) -> int:
        return self.uniforms(sizes)

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        return self._browse(users, catalog, zeros((len(users.t), 1), BOOL), True, noise)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        return self._browse(users, catalog, feedback.click, False, noise)

    def _browse(self, users: Users, catalog: Catalog, click: Array, arrival: bool, noise: Array) -> dict[str, Array]:
        viewed = filled((len(users.t), self.longest), -1, I32)  # items in order, -1 = no further view
        interest, present = copied(users.interest), copied(users.present)
        score = empty((len(self.affinity),), F64)
        _browse(viewed, score, interest, present, click, arrival, self.affinity, self.appeal, self.browse, self.leave,
                self.advertise, self.sd, noise)  # fmt: skip
        history, history_feedback = copied(users.history), copied(users.history_feedback)
        _remember(history, history_feedback, viewed)
        views, n_views = copied(users.views), copied(users.n_views)
        _count(views, n_views, viewed, catalog.topic)
        return dict(interest=interest, history=history, history_feedback=history_feedback, views=views,
                    n_views=n_views, present=present)  # fmt: skip


@kernel
def _browse(viewed, score, interest, present, click, arrival, affinity, appeal, browse, leave, advertise, sd, u):
    """The chain, from an advertisement or the arrival to the next advertisement or to leaving; `score` is room for `_drawn`."""
    B, d = interest.shape
    for b in range(B):
        browsing = arrival
        if not arrival:
            clicked = False
            for s in range(click.shape[1]):
                clicked = clicked or click[b, s]
            browsing = u[0, b] < browse
            if browsing:
                _walk(interest, b, sd, u, 1)
            if not browsing and not clicked and u[0, b] < browse + leave:
                present[b] = 0.0
            browsing = browsing or clicked
        for n in range(viewed.shape[1]):
            if not browsing:
                break
            at = 1 + d + n * (2 + d)
            viewed[b, n] = _drawn(score, interest, b, affinity, appeal, u[at, b])
            move = np.float64(u[at + 1, b])
            if move < advertise + leave:
                browsing = False
                if move >= advertise and not arrival:
                    present[b] = 0.0
            else:
                _walk(interest, b, sd, u, at + 2)


@kernel
def _drawn(score, interest, b, affinity, appeal, uniform):
    """An item drawn from softmax(affinity . interest + appeal); `score` is room for one number per item."""
    top, total = -np.inf, 0.0
    for i in range(len(score)):
        score[i] = np.float64(appeal[i]) + dot(interest, b, affinity, i)
        top = max(top, score[i])
    for i in range(len(score)):
        score[i] = math.exp(score[i] - top)
        total += score[i]
    item, level = 0, score[0]
    while item < len(score) - 1 and uniform * total >= level:
        item += 1
        level += score[item]
    return item


@kernel
def _walk(interest, b, sd, u, at):
    furthest = 100.0 / math.sqrt(interest.shape[1])
    for k in range(interest.shape[1]):
        interest[b, k] = min(max(interest[b, k] + sd * normal(u[at + k, b]), -furthest), furthest)


@kernel
def _remember(history, history_feedback, viewed):
    """Put views at the front of the history, without feedback."""
    H, C = history.shape[1], history_feedback.shape[2]
    for b in range(viewed.shape[0]):
        for n in range(viewed.shape[1]):
            if viewed[b, n] < 0:
                break
            for h in range(H - 1, 0, -1):
                history[b, h] = history[b, h - 1]
                for c in range(C):
                    history_feedback[b, h, c] = history_feedback[b, h - 1, c]
            history[b, 0] = viewed[b, n]
            for c in range(C):
                history_feedback[b, 0, c] = 0.0


@kernel
def _count(views, n_views, viewed, topic):
    """Update the number of views and the share of each topic in them."""
    for b in range(viewed.shape[0]):
        for n in range(viewed.shape[1]):
            if viewed[b, n] < 0:
                break
            n_views[b] += 1.0
            for z in range(views.shape[1]):
                views[b, z] += ((1.0 if topic[viewed[b, n]] == z else 0.0) - views[b, z]) / n_views[b]
