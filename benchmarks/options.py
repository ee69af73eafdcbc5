"""How options of the command line are read."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Spreading(TyperCommand):
    """A command whose repeated options take several words: `--users 64 1024` is `--users 64 --users 1024`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say the name of such an option before each of its words."""
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        spread, name, first = [], "", False
        for word in args:
            if word.startswith("-") and not word[1:].isdecimal():
                name, first = word if word in several else "", True
            elif name and not first:
                spread.append(name)
            else:
                first = False
            spread.append(word)
        return super().parse_args(ctx, spread)
