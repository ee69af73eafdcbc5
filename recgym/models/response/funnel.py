"""Shopping: click, cart, purchase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require_count, require_number
from recgym.kernel import inlined, kernel, sigmoid
from recgym.market import Market
from recgym.models.response.base import Outcome, Response
from recgym.types import F32, F64, I32, Array, Column, Sizes, Users, copied, empty, filled, zeros


@dataclass(frozen=True, eq=False)
class Funnel(Response):
    """Click, cart, purchase: the e-commerce hurdles.

    A clicked item goes into the cart with probability sigmoid(cart + v). It is bought at once with probability
    sigmoid(purchase + v - price_weight * log_price); else it stays in the cart, which has room for `places` items, and
    the oldest falls out. Each item in the cart is bought later with probability `hazard` per step, at the price that it
    had. v is the utility of the item.

    Args:
        cart, purchase: log-odds at v = 0.
        price_weight: how much a high relative price deters from buying, >= 0.
        places: most items in the cart, >= 1.
        hazard: probability per step that an item in the cart is bought, in [0, 1].
        minutes: length of a step.

    The feedback gets two more arrays: `bought` (B, S + places) int32, the items bought from the slate and from the cart,
    -1 = none; `offers` (B, S) float32, the relative log price of what was shown, -inf where a position is empty. The
    market must have the signals `log_price` and `price` (hundreds of currency units), and a dynamics the column
    `satisfaction`. The objective `satisfaction` is this column as it is before the step, in every step.
    """

    cart: float = -1.0
    purchase: float = -0.5
    price_weight: float = 1.0
    places: int = 5
    hazard: float = 0.03
    minutes: float = 0.5
    channels: ClassVar[tuple[str, ...]] = ("click", "cart", "purchase")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "cart", "purchase", "revenue", "satisfaction")
    extras: ClassVar[tuple[str, ...]] = ("bought", "offers")

    def __post_init__(self) -> None:
        require_number("Funnel.cart", self.cart, -100, 100)
        require_number("Funnel.purchase", self.purchase, -100, 100)
        require_number("Funnel.price_weight", self.price_weight, 0, 100)
        require_count("Funnel.places", self.places, 1, 1000)
        require_number("Funnel.hazard", self.hazard, 0, 1)
        require_number("Funnel.minutes", self.minutes, 0, 1e6)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "cart_item": Column((self.places,), np.int32, -1, sizes.items - 1, -1),
            "cart_price": Column((self.places,), np.float32, 0.0, 1e9),
            "cart_size": Column((), np.float32, 0.0, self.places, visible=True),
        }

    def uniforms(self, sizes: Sizes) -> int:
        return 2 * sizes.slate + self.places

    def reads(self) -> tuple[str, ...]:
        return ("users.satisfaction", "signals.log_price", "signals.price")

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        log_price = market.column("log_price")
        channels, price = zeros((B, S, 3), F32), zeros((B, S), F64)
        _hurdles(channels, click, utility, signals, log_price, self.cart, self.purchase, self.price_weight, noise)
        _prices(price, slate, signals, market.column("price"))
        offers = empty((B, S), F32)
        _offers(offers, slate, signals, log_price)
        bought, old_item, old_price = empty((B, S + self.places), I32), users.cart_item, users.cart_price
        _buy(bought, slate, channels, old_item, self.hazard, noise)
        cart_item, cart_price, cart_size = copied(old_item), copied(old_price), empty(B, F32)
        _fill_cart(cart_item, cart_price, cart_size, bought, slate, channels, price, old_item, old_price)
        objectives = zeros((B, 5), F32)
        _record(objectives, channels, bought, price, old_price, users.satisfaction)
        return (dict(channels=channels, objectives=objectives, dt=filled(B, self.minutes, F32), bought=bought,
                     offers=offers),
                dict(cart_item=cart_item, cart_price=cart_price, cart_size=cart_size))  # fmt: skip

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        log_price, price = market.column("log_price"), market.column("price")
        given, otherwise = np.zeros((*items.shape, 5), F32), np.zeros((len(items), 5), F32)
        bought = np.zeros(items.shape)
        _expected_hurdles(
            given, bought, items, utility, signals, log_price,
            self.cart, self.purchase, self.price_weight,
        )  # fmt: skip
        _expected_otherwise(otherwise, users.cart_item, users.cart_price, users.satisfaction, self.hazard)
        _expected_purchases(given, bought, otherwise, items, signals, price)
        return given, otherwise


@kernel
def _hurdles(channels, click, utility, signals, log_price, cart, purchase, price_weight, u):
    """Which of the hurdles each position of the slate takes."""
    B, S = click.shape
    for b in range(B):
        for s in range(S):
            if click[b, s]:
                channels[b, s, 0] = 1.0
                v = utility[b, s]
                if u[s, b] < sigmoid(cart + v):
                    channels[b, s, 1] = 1.0
                    if u[S + s, b] < sigmoid(purchase + v - price_weight * signals[b, s, log_price]):
                        channels[b, s, 2] = 1.0


@kernel
def _offers(offers, slate, signals, log_price):
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            offers[b, s] = signals[b, s, log_price] if slate[b, s] >= 0 else -np.inf


@kernel
def _prices(price, slate, signals, hundreds):
    """What the items cost now, in currency units; 0 where a position is empty."""
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            if slate[b, s] >= 0:
                price[b, s] = 100.0 * signals[b, s, hundreds]


@inlined
def _buy(bought, slate, channels, cart_item, hazard, u):
    """What is bought, from the slate and from the cart."""
    B, S = slate.shape
    for b in range(B):
        for s in range(S):
            bought[b, s] = slate[b, s] if channels[b, s, 2] > 0.0 else -1
        for c in range(cart_item.shape[1]):
            bought[b, S + c] = cart_item[b, c] if u[2 * S + c, b] < hazard else -1


@inlined
def _fill_cart(cart_item, cart_price, cart_size, bought, slate, channels, price, old_item, old_price):
    """The cart after the step: what comes in now, then what was in it and has not been bought."""
    B, S = slate.shape
    places = cart_item.shape[1]
    for b in range(B):
        kept = 0
        for s in range(S):
            if channels[b, s, 1] > channels[b, s, 2] and kept < places:
                cart_item[b, kept] = slate[b, s]
                cart_price[b, kept] = price[b, s]
                kept += 1
        for c in range(places):
            if old_item[b, c] >= 0 and bought[b, S + c] < 0 and kept < places:
                cart_item[b, kept] = old_item[b, c]
                cart_price[b, kept] = old_price[b, c]
                kept += 1
        cart_size[b] = kept
        for c in range(kept, places):
            cart_item[b, c] = -1
            cart_price[b, c] = 0.0


@inlined
def _record(objectives, channels, bought, price, cart_price, satisfaction):
    B, S, _ = channels.shape
    for b in range(B):
        for s in range(S):
            objectives[b, 0] += channels[b, s, 0]
            objectives[b, 1] += channels[b, s, 1]
        for j in range(bought.shape[1]):
            if bought[b, j] >= 0:
                objectives[b, 2] += 1.0
                objectives[b, 3] += price[b, j] if j < S else np.float64(cart_price[b, j - S])
        objectives[b, 4] = satisfaction[b]


@kernel
def _expected_hurdles(given, bought, items, utility, signals, log_price, cart, purchase, price_weight):
    """Probabilities that a clicked item goes into the cart, and that it is bought at once."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            if items[b, s] >= 0:
                v = utility[b, s]
                given[b, s, 0] = 1.0
                to_cart = sigmoid(cart + v)
                given[b, s, 1] = to_cart
                bought[b, s] = to_cart * sigmoid(purchase + v - price_weight * signals[b, s, log_price])


@kernel
def _expected_otherwise(otherwise, cart_item, cart_price, satisfaction, hazard):
    """What comes with a click or without: purchases from the cart, and the satisfaction."""
    for b in range(cart_item.shape[0]):
        for c in range(cart_item.shape[1]):
            if cart_item[b, c] >= 0:
                otherwise[b, 2] += hazard
                otherwise[b, 3] += hazard * cart_price[b, c]
        otherwise[b, 4] = satisfaction[b]


@kernel
def _expected_purchases(given, bought, otherwise, items, signals, hundreds):
    """Purchases of a clicked item, and what comes without a click besides."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            if items[b, s] >= 0:
                revenue = bought[b, s] * 100.0 * signals[b, s, hundreds]
                given[b, s, 2] = bought[b, s] + otherwise[b, 2]
                given[b, s, 3] = revenue + otherwise[b, 3]
                given[b, s, 4] = otherwise[b, 4]
