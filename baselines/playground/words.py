"""Words for what an observation shows; what is not here goes by its own name."""

from __future__ import annotations

import math
from typing import NamedTuple

TOPICS = {  # made-up names for the topics 0, 1, 2, ...; in the shop 0 and 1, 2 and 3, ... go together
    "Ecommerce": ("cameras", "lenses", "coffee", "mugs", "tents", "sleeping bags", "bicycles", "helmets", "guitars", "amplifiers",
                  "paint", "brushes", "pasta", "sauces", "skis", "ski boots", "printers", "ink", "plants", "pots"),
    "News": ("politics", "economy", "science", "health", "football", "tennis", "cinema", "music", "travel", "food",
             "technology", "climate", "books", "courts", "schools", "cars", "fashion", "history", "city", "weather"),
    "LiveStream": ("chess", "cooking", "football talk", "drawing", "guitar", "fitness", "travel", "comedy", "speedruns", "crafts",
                   "dance", "singing", "quiz", "gardening", "make-up", "coding", "puzzles", "racing", "pets", "fishing"),
}  # fmt: skip
USERS = {"Ecommerce": "shopper", "News": "reader", "LiveStream": "viewer"}
ITEMS = {"Ecommerce": "item", "News": "article", "LiveStream": "stream"}


class Word(NamedTuple):
    """A label, and what it means in a sentence."""

    label: str
    hint: str


CANDIDATE = {
    "price": Word("price", "What it costs now."),
    "discount": Word("offer", "A promotion, already in the price."),
    "log_price": Word("vs usual", "The price compared with what is usual in its category."),
    "heat": Word("heat", "How much is going on: audience and highlights."),
    "freshness": Word("fresh", "1 is new; it halves every 2 to 24 hours, by topic."),
    "age": Word("age", "How long it has been there."),
    "quality_signal": Word(
        "quality", "A noisy sign of the quality, such as ratings. Quality keeps people coming back."
    ),
    "brand": Word("brand", "How strong the brand is; it draws clicks."),
    "hype": Word("hype", "A noisy look at clickbait: it draws clicks and disappoints."),
    "match_profile": Word("match", "How well it fits the taste profile that the platform has; 0 where there is none."),
    "match_history": Word("like last", "How well it fits what was clicked lately; 0 before the first click."),
    "popularity": Word("popular", "How much others look at it."),
    "click_rate": Word("clicks", "How often it was clicked in the past, compared with others."),
    "exposure": Word("seen", "How much of its topic was shown in the last steps; too much tires."),
}

USER = {
    "known": Word("taste profile", "Whether the platform has one; new users have none."),
    "cart_size": Word("in the cart", "Items that wait in the cart."),
    "level": Word("level", "What the user has got used to: low prices in the shop, heat in live streams."),
    "pages": Word("pages", "Pages in this visit."),
    "is_watching": Word("watching", "Whether a stream is on screen; a recommendation may interrupt."),
    "visit": Word("minutes", "Minutes of this visit to a stream."),
    "liked": Word("liked", "Whether the stream on screen was liked."),
    "last_click": Word("clicks", "In the last step."),
    "last_cart": Word("into the cart", "In the last step."),
    "last_purchase": Word("bought", "In the last step, from what was shown."),
    "last_dwell": Word("reading", "Minutes / 15 in the last step."),
    "last_satisfied_click": Word("satisfied", "Clicks of the last step that were read for more than half a minute."),
    "last_share": Word("shared", "In the last step."),
    "last_watch": Word("watched", "Minutes / 3 in streams joined in the last step."),
    "last_like": Word("likes", "In the last step, of streams joined in it."),
    "last_gift": Word("gifts", "In the last step, of streams joined in it."),
}


def domain(id: str) -> str:
    """The domain that an id is of."""
    name = id.partition("/")[2].partition("-")[0]
    return name.removesuffix("Slate")


def topic_name(id: str, topic: int) -> str:
    """A name for a topic."""
    names = TOPICS[domain(id)]
    return names[topic] if topic < len(names) else f"topic {topic}"


def number(name: str, value: float) -> str:
    """A number of a candidate that has no unit of its own."""
    if name == "log_price":
        percent = round(100 * (math.exp(value) - 1))
        return f"{percent:+d}%".replace("-", "−") if percent else "usual"
    return signed(f"{value:.2f}")


def signed(text: str) -> str:
    """A number with a minus as it is set; none before a zero."""
    return (text.removeprefix("-") if text.strip("-0.%") == "" else text).replace("-", "−")
