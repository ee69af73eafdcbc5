"""Logs that have a row for each thing that happened, as one row for each item with what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recgym.logs.needs import need_polars

if TYPE_CHECKING:
    import polars as pl

# What logs call what happens -> the column of the event table; "shown" is none, but the row itself.
KINDS = {
    "shown": ("impression", "impressions", "show", "shown", "exposure", "display", "displayed"),
    "click": ("view", "views", "click", "clicks", "clicked", "pv", "pageview", "page_view", "detail", "product_view", "listen",
              "play", "watch", "read", "open"),
    "cart": ("cart", "carts", "addtocart", "add_to_cart", "add-to-cart", "basket", "add_to_basket"),
    "purchase": ("purchase", "purchases", "purchased", "transaction", "buy", "order", "orders", "conversion"),
    "like": ("like", "likes", "liked", "fav", "favorite", "favourite", "add_to_wishlist", "wishlist"),
    "share": ("share", "shares", "shared", "forward", "repost"),
    "gift": ("gift", "gifts", "donate", "donation", "tip"),
}  # fmt: skip
OUTCOMES = ("click", "cart", "purchase", "like", "share", "gift")  # in this order they are joined to rows


def kinds_by_word(given: dict[str, str | None]) -> dict[str, str | None]:
    """Words of a log -> what they mean, None for what is to be set aside; `given` goes before what is usual."""
    usual = {word: kind for kind, words in KINDS.items() for word in words}
    return usual | given


def folded(rows: pl.DataFrame, gap: float) -> tuple[pl.DataFrame, dict[str, int]]:
    """One row for each item that was shown (or, where that is not logged, clicked), with what came of it.

    What happens later belongs to the latest row of the same user and item that is not older than `gap` minutes. What belongs to
    none, such as a purchase of an item that was put into the cart last week, is a row of its own, and counts as clicked.

    Args:
        rows: `user`, `item`, `time` in microseconds, and `kind`, one of `KINDS`; other columns go along. `gift` is the amount
            in rows of that kind.
        gap: minutes.

    Returns:
        the rows, with a column for each outcome that happens at all, and how many of each kind were rows of their own.
    """
    pl = need_polars()
    there = set(rows["kind"].unique())
    base_kind = "shown" if "shown" in there else "click"
    outcomes = [name for name in OUTCOMES if name in there and name != base_kind]
    flags = ["click", *(name for name in outcomes if name not in ("click", "gift"))]
    amounts = rows["gift"] if "gift" in rows.columns else None

    def based(some: pl.DataFrame, kind: str) -> pl.DataFrame:
        """Rows of one kind as rows of the result."""
        sure: Any = [pl.lit(name == kind or (name == "click" and kind != "shown")).alias(name) for name in flags]
        if "gift" in outcomes:
            amount = pl.col("gift") if kind == "gift" and amounts is not None else pl.lit(0.0)
            sure.append(amount.cast(pl.Float32).alias("gift"))
        return some.with_columns(sure)

    base = based(rows.filter(pl.col("kind") == base_kind), base_kind)
    alone: dict[str, int] = {}
    for kind in outcomes:
        some = rows.filter(pl.col("kind") == kind).sort("time")
        base = base.sort("time").with_row_index("_base")
        found = some.with_columns(pl.col("time").set_sorted()).join_asof(
            base.select("user", "item", pl.col("time").set_sorted(), "_base"), on="time", by=["user", "item"],
            strategy="backward", tolerance=round(gap * 60e6), check_sortedness=False,
        )["_base"]  # fmt: skip
        matched, lost = found.is_not_null(), some.filter(found.is_null())
        if kind == "gift":
            sums = (
                pl.DataFrame({"_base": found, "_sum": some["gift"]})
                .filter(matched)
                .group_by("_base")
                .agg(pl.col("_sum").sum())
            )
            base = base.join(sums, on="_base", how="left", maintain_order="left")
            base = base.with_columns(pl.col("gift") + pl.col("_sum").fill_null(0.0)).drop("_sum")
            base = base.with_columns(pl.col("click") | pl.col("_base").is_in(sums["_base"].to_list()))
        else:
            hit = pl.repeat(False, len(base), eager=True).scatter(found.drop_nulls().unique(), True)
            base = base.with_columns(pl.col(name) | hit for name in {kind, "click"})
        if "price" in base.columns:
            prices = pl.DataFrame({"_base": found, "_price": some["price"]}).drop_nulls().unique("_base", keep="last")
            base = base.join(prices, on="_base", how="left", maintain_order="left")
            base = base.with_columns(pl.col("price").fill_null(pl.col("_price"))).drop("_price")
        base = base.drop("_base")
        if len(lost):
            alone[kind] = len(lost)
            base = pl.concat([base, based(lost, kind).select(base.columns)])
    return base.drop("kind"), alone
