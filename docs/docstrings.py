"""Docstrings as Markdown: Google's sections as lists, indented blocks as code or equations, names as links."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import equations

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):\s*(.*)")
EQUATION = re.compile(r"[A-Za-z]\w*(\([^)]*\)|\[[^]]*\])? (=|<-) ")
CODE = re.compile(r"\b(import|env|gym|gymnasium|world|class|def|agent)\b")
Link = Callable[[str], str | None]  # a name -> the address of its section, if it has one


def markdown(doc: str, link: Link = lambda name: None, names: Iterable[str] = (), maths: bool = False) -> str:
    """A docstring as Markdown.

    Args:
        doc: the docstring. link: address of a name, None where it has no section of its own.
        names: of parameters; where several stand on a line of "Args", each begins an item of the list.
        maths: whether equations, and formulas in the text, are typeset.
    """
    known = set(names)
    prose = _typeset(doc) if maths else _escaped
    blocks: list[str] = []
    for block in _blocks(inspect.cleandoc(doc).splitlines()):
        head = SECTION.match(block[0])
        if head and not block[0].startswith(" "):
            blocks.append(_section(head[1], head[2], block[1:], known, prose))
        elif block[0].startswith("    "):
            python = blocks and blocks[-1].endswith("::")
            if python:
                blocks[-1] = blocks[-1][:-1]
            text = _indented(block, bool(python))
            equation = equations.display(_dedented(block)) if maths and not text.startswith("```python") else None
            blocks += _equation(equation, prose) if equation else [text]
        else:
            text = "\n".join(block)
            if text.startswith(("#", "|")):
                blocks.append(_escaped(text))
            elif EQUATION.match(text):
                equation = equations.display(text) if maths else None
                blocks += _equation(equation, prose) if equation else [f"{_escaped(text)}\n{{ .equation }}"]
            else:
                blocks.append(prose(text))
    if blocks and blocks[-1].endswith("::"):
        blocks[-1] = blocks[-1][:-1]
    return linked("\n\n".join(blocks), link) + "\n"


def first_sentence(doc: str | None) -> str:
    """The first sentence of a docstring, on one line."""
    line = " ".join(inspect.cleandoc(doc or "").split("\n\n")[0].split())
    ends = [match.end() for match in re.finditer(r"(?<!al)(?<=[\w)\]`])\.(?= )", line)]
    whole = [end for end in ends if line[:end].count("(") == line[:end].count(")")]
    return _escaped(line[: whole[0]] if whole else line).rstrip(":").replace("|", "\\|")


def linked(text: str, link: Link) -> str:
    """Names in single backticks that have a section become links; code blocks stay as they are."""

    def replace(match: re.Match[str]) -> str:
        address = link(match[1]) if re.search(r"[A-Z._]", match[1]) else None  # `mix` may be a parameter
        return f"[`{match[1]}`]({address})" if address else match[0]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.S | re.M)
    parts[::2] = [re.sub(r"(?<![`\[])`([A-Za-z_][\w.]*)`(?![`\]])", replace, part) for part in parts[::2]]
    return "".join(parts)


def signature(function: Any, name: str) -> str:
    """A call as Python writes it, one argument a line where it is long."""
    made = inspect.isclass(function) and function.__init__ is not object.__init__
    try:
        found = inspect.signature(function.__init__ if made else function)
    except (TypeError, ValueError):
        return f"{name}(...)"
    given = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name not in ("self", "cls")]
    parts: list[str] = []
    for p in given:
        if p.kind is p.KEYWORD_ONLY and "*" not in parts and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts.append(re.sub(r"<factory>|<class '(\w+)'>", lambda m: m[1] or "...", str(p)))
    line = f"{name}({', '.join(parts)})"
    return line if len(line) <= 88 else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _typeset(doc: str) -> Callable[[str], str]:
    """What makes HTML of the prose of a docstring: formulas are typeset, and so are the letters that are names in them."""
    letters = equations.variables(re.sub(r"`+[^`]*`+", "", doc))

    def prose(text: str) -> str:
        parts = re.split(r"(`+[^`]*`+)", text)
        parts[::2] = [equations.inline(part, letters) for part in parts[::2]]
        return "".join(parts)

    return prose


def _equation(equation: tuple[str, str], prose: Callable[[str], str]) -> list[str]:
    """Paragraphs: an equation with a remark such as "for all k", and the sentences that follow."""
    shown, rest = equation
    if rest and not shown.endswith("."):
        remark, stop, rest = rest.partition(". ")
        shown += f" {prose(remark)}{stop.strip()}"
    return [f"{shown}\n{{ .equation }}", *([prose(rest)] if rest else [])]


def _blocks(lines: list[str]) -> list[list[str]]:
    """Runs of lines between blank ones. An indented run goes on over blank lines, and so does a section of Google's."""
    blocks: list[list[str]] = []
    blank = True
    for line in lines:
        inside = line.startswith("    ")
        joins = bool(blocks) and inside and (blocks[-1][0].startswith("    ") or bool(SECTION.match(blocks[-1][0])))
        starts = bool(SECTION.match(line))
        if not line:
            blank = True
        elif joins:
            blocks[-1] += ["", line] if blank else [line]
            blank = False
        elif blank or starts or not blocks or (inside != blocks[-1][-1].startswith("    ") and not _item(blocks[-1])):
            blocks.append([line])
            blank = False
        else:
            blocks[-1].append(line)
    return blocks


def _item(block: list[str]) -> bool:
    return block[0].startswith(("*", "-"))


def _section(title: str, rest: str, lines: list[str], known: set[str], prose: Callable[[str], str]) -> str:
    """A section of Google's: a list of what has a name, or a paragraph."""
    lines = inspect.cleandoc("\n" + "\n".join(lines)).splitlines()
    if rest or title in ("Returns", "Yields"):
        return f"**{title}:** " + prose(" ".join([rest, *lines]).strip())
    items: list[str] = []
    for line in lines:
        named = re.match(r"[\w.*\"]+(, [\w.*\"]+)*: |Others: ", line)
        if named or not items:
            items.append(line)
        elif line:
            items[-1] += " " + line.strip()
    out = [f"**{title}:**\n"]
    for item in items:
        cut = re.split(r"(?<=[.;?]) (?=[a-z_]\w*(?:, [a-z_]\w*)*: |[A-Z]\w*Error: )", item)
        joined: list[str] = []
        for piece in cut:  # a sentence with a colon is no new item unless it begins with parameters
            of = piece.partition(": ")[0].split(", ")
            fresh = not joined or all(name in known or name.endswith("Error") for name in of)
            joined = [*joined, piece] if fresh else [*joined[:-1], f"{joined[-1]} {piece}"]
        for piece in joined:
            name, colon, text = piece.partition(": ")
            marked = ", ".join(f"`{part}`" for part in name.split(", ")) if colon and name != "Others" else name
            out.append(f"- {marked}{colon}{prose(text)}" if colon else f"- {prose(piece)}")
    return "\n".join(out)


def _indented(lines: list[str], python: bool) -> str:
    text = _dedented(lines)
    if not python and CODE.search(text):
        try:
            ast.parse(text)
            python = True
        except SyntaxError:
            pass
    return f"```python\n{text}\n```" if python else f"```{{ .text .equation }}\n{text}\n```"


def _dedented(lines: list[str]) -> str:
    return inspect.cleandoc("\n" + "\n".join(lines))


def _escaped(text: str) -> str:
    """Text whose angle brackets are no HTML, outside of code."""
    parts = re.split(r"(`+[^`]*`+)", text)
    parts[::2] = [re.sub(r"<(?=[A-Za-z/!])", "&lt;", part) for part in parts[::2]]
    return "".join(parts)
