"""Equations of docstrings, written in plain text, as MathML: browsers draw it without a script and without a font.

A docstring writes ``v = 3 u.x + 0.3 q``, ``s <- 0.85 s``, ``P(k) = exp(v_k - 0.5 ln k) / (1 + sum over j of exp(v_j))``.
What this notation is says the grammar of `_Parser`, one method a rule. What does not follow it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from xml.etree import ElementTree

TOKEN = re.compile(
    r"\d+(?:,\d{3})+|\d+(?:\.\d+)?|[a-z]{2,}(?:_[a-z]{2,})+|[A-Za-z]+(?:-[a-z]+)*(?:'s?)?|<-|<=|>=|\+-|\.\.\.|[-+*/^_.,=<>~|(){}\[\]]"
)
RELATIONS = {"=": "=", "<-": "←", "<": "<", ">": ">", "<=": "≤", ">=": "≥", "~": "∼"}
SIGNS = {"+": "+", "-": "−", "+-": "±"}
PREFIX = ("ln", "log")  # functions that need no brackets
FUNCTIONS = (*PREFIX, "exp", "sigmoid", "normalise", "clip", "min", "max", "sqrt", "softmax", "ff", "N", "U", "LogN")
DRAWS = ("N", "U", "LogN")  # distributions, in brackets of their own: U[0, 1]
OVER = ("sum", "mean", "least", "most")  # with "over ... of ...", or a subscript
GREEK = {"mu": "μ", "sigma": "σ", "Gamma": "Γ", "alpha": "α", "beta": "β", "gamma": "γ", "omega": "ω"}
CLOSE = {"(": ")", "[": "]", "{": "}"}
Element = ElementTree.Element


class _Token(NamedTuple):
    text: str
    start: int
    end: int
    apart: bool  # whether a space stands before it


class _Unknown(Exception):
    """What stands here is not of the notation."""


def display(text: str) -> tuple[str, str] | None:
    """An equation as HTML, in pieces between which a line may end, and the prose after it; None where it is none."""
    text = " ".join(text.split())
    parser = _Parser(text, words=True, large=True)
    try:
        pieces = list(parser.pieces())
    except _Unknown:
        return None
    rest = text[parser.offset() :]
    if not parser.evidence or (rest and not re.match(r"[,.;](?!\w)", rest)):
        return None
    return " ".join(pieces) + rest[:1], rest[1:].strip()


def inline(text: str, variables: str = "") -> str:
    """Prose as HTML: what is surely a formula becomes MathML, all else stays as it is.

    Args:
        text: without code and markup. variables: letters that are names in it, where they stand alone.
    """
    out, at = [], 0
    text = re.sub(r"\b[a-z]{3,}( x [a-z-]{3,}){2,}", lambda match: match[0].replace(" x ", " × "), text)
    for start, end, math in _formulas(text):
        out += [_plain(text[at:start], variables), _html(math, text[start:end])]
        at = end
    return "".join(out) + _plain(text[at:], variables)


def variables(text: str) -> str:
    """The letters that are names in the formulas of some prose, but for those that are words."""
    found = {m.text or "" for _, _, formula in _formulas(text) for m in formula.iter("mi") if not m.get("mathvariant")}
    return "".join(sorted(name for name in found if re.fullmatch("[b-zB-HJ-Z]", name) or name in GREEK.values()))


def _plain(text: str, variables: str) -> str:
    """Prose between formulas."""
    text = re.sub(r"<(?=[A-Za-z/!])", "&lt;", text).replace("+-", "±")
    for word, letter in GREEK.items():
        text = re.sub(rf"(?<![\w-]){word}(?![\w-])", letter, text) if letter in variables else text
    return re.sub(rf"(?<![\w'’&/.-])[{variables}](?![\w'’;]|[./-]\w)", r"<var>\g<0></var>", text) if variables else text


def _formulas(text: str) -> Iterator[tuple[int, int, Element]]:
    """Where formulas begin and end, and what they are."""
    at = 0
    for token in _tokens(text):
        if token.start < at or not _begins(text, token):
            continue
        parser = _Parser(text[token.start :], words=False, large=False)
        try:
            math = parser.formula()
        except _Unknown:
            continue
        end = token.start + parser.offset()
        if parser.evidence and parser.used > 2 and not re.match(r"[\w`\[({]|-\w", text[end:]):
            yield token.start, end, math
            at = end


def _begins(text: str, token: _Token) -> bool:
    """Whether a formula may begin with a token of prose."""
    before, after = text[: token.start], text[token.end :]
    if re.search(r"[\w`\]/.&-]\Z", before):
        return False
    if token.text == "~":
        return bool(re.match(r"\s(N|U|LogN)[(\[]", after))
    if token.text == "-":
        return bool(re.match(r"[a-z]\b", after))
    if token.text[0].isdigit():
        return bool(re.match(r"\s(\((?![a-z]+ [=<~])|[a-z]\b|[a-z]+\()", after))
    if token.text == "(":
        return bool(re.match(r"[a-z] [-+.] ", after))
    if not token.text[0].isalpha() or re.match(r"[a-z]+_[a-z]", token.text):
        return False
    if re.match(r"\s(<-|=|<|>)\s|[_^](?!\s)", after) or (token.text in GREEK and re.match(r"\s~\s", after)):
        return True
    if token.text in FUNCTIONS:
        return bool(re.match(r"[(\[]|\s[a-z]\s~", after))
    return (
        len(token.text) == 1
        and token.text not in "aA"
        and bool(re.match(r"[(\[]|\.[a-z]\b|\s(~|[-+./] [a-z0-9(])", after))
    )


def _tokens(text: str) -> Iterator[_Token]:
    end = 0
    for match in TOKEN.finditer(text):
        yield _Token(match[0], match.start(), match.end(), bool(text[end : match.start()]))
        end = match.end()


def _html(math: Element, source: str) -> str:
    """A formula; in a span, as Markdown takes `math` at the beginning of a line for a block. The source is for those who hear it."""
    math.set("alttext", " ".join(source.split()))
    return f"<span>{ElementTree.tostring(math, 'unicode')}</span>"


def _make(tag: str, *children: Element, text: str = "", **attributes: str) -> Element:
    made = Element(tag, attributes)
    made.text = text or None
    made.extend(children)
    return made


def _row(children: list[Element]) -> Element:
    return children[0] if len(children) == 1 else _make("mrow", *children)


class _Parser:
    """The notation: relation = sum { relation-sign sum }, sum = term { +- term }, term = factor { factor }, see below.

    Args:
        text: begins with an equation. words: whether words may stand everywhere, as in an equation of its own, or only where
            no sentence can be meant. large: whether fractions are drawn.
    """

    def __init__(self, text: str, words: bool, large: bool) -> None:
        self.text, self.words, self.large = text, words, large
        self.tokens = self._until_unknown(text)
        self.used = 0
        self.depth = 0  # of brackets
        self.inside_bars = False
        self.seen: set[str] = set()  # words that were names so far
        self.evidence = False  # of maths rather than prose

    @staticmethod
    def _until_unknown(text: str) -> list[_Token]:
        found: list[_Token] = []
        for token in _tokens(text):
            gap = text[found[-1].end if found else 0 : token.start]
            if gap.strip():
                break
            found.append(token)
        return found

    def offset(self) -> int:
        """Where in the text what was read ends."""
        return self.tokens[self.used - 1].end if self.used else 0

    def peek(self, ahead: int = 0) -> str:
        at = self.used + ahead
        return self.tokens[at].text if at < len(self.tokens) else ""

    def apart(self, ahead: int = 0) -> bool:
        at = self.used + ahead
        return at < len(self.tokens) and self.tokens[at].apart

    def take(self) -> str:
        text = self.peek()
        if not text:
            raise _Unknown
        self.used += 1
        return text

    # Rules

    def formula(self) -> Element:
        """A relation in one piece, and the members of a list that follow it: ``k = 1, 2, ...``."""
        children = [_make("mo", text=RELATIONS[self.take()], form="infix")] if self.peek() == "~" else []
        children += self.relation()
        while (
            self.peek() == ","
            and (self.peek(1) == "..." or re.match(r"\d", self.peek(1)))
            and self.peek(2) in (",", "...")
        ):
            children += [_make("mo", text=self.take()), _make("mn", text=self.take())]
            if self.peek() == "," and self.peek(1) == "...":
                children += [_make("mo", text=self.take()), _make("mo", text="…")]
                self.used += 1
        return _make("math", *children)

    def pieces(self) -> Iterator[str]:
        """A relation in pieces: its left side with the sign, and each term of its right side."""
        begin = self.used
        left = self.sum()
        self.evidence = True
        while (sign := self.peek()) in RELATIONS:
            self.used += 1
            yield self._piece([*left, _make("mo", text=RELATIONS[sign], form="infix")], begin)
            begin = self.used
            left = self.signed("prefix")
            while self.peek() in SIGNS:
                yield self._piece(left, begin)
                begin = self.used
                left = self.signed()
        yield self._piece(left, begin)

    def _piece(self, children: list[Element], begin: int) -> str:
        source = self.text[self.tokens[begin].start : self.offset()]
        remark = re.search(r"\([A-Za-z ,']{40,}\)$", source)  # in words, which break as text does
        if remark:
            children.pop()
        html = _html(_make("math", *children, displaystyle="true"), source[: remark.start()] if remark else source)
        return f"{html} {remark[0]}" if remark else html

    def relation(self) -> list[Element]:
        children = self.sum()
        while self.peek() in RELATIONS:
            self.evidence = True
            children.append(_make("mo", text=RELATIONS[self.take()]))
            children += self.sum()
        return children

    def sum(self) -> list[Element]:
        children = self.signed("prefix")
        while self.peek() in SIGNS and self._follows():
            children += self.signed()
        return children

    def _follows(self) -> bool:
        """Whether a sign is followed by a factor, and by no word of a sentence."""
        after = self.peek(1)
        return bool(after) and (after[0].isalnum() or after in "(|{")

    def signed(self, form: str = "infix") -> list[Element]:
        """[sign] term."""
        sign = [_make("mo", text=SIGNS[self.take()], form=form)] if self.peek() in SIGNS else []
        return sign + self.term()

    def term(self) -> list[Element]:
        """Factors beside each other, ``a b``, ``a * b``, ``a . b``; all of them over the next one, ``a b / c``."""
        children = [self.factor()]
        while True:
            text = self.peek()
            if text == "/" and not (self.peek(1).isalpha() and self.peek(2) == "="):
                self.used += 1
                below = self.factor()
                children = [self._over(children, below)]
            elif text in ("*", ".") and self._product(text):
                self.used += 1
                self.evidence = self.evidence or text == "." or not self.words
                children += [_make("mo", text="×" if text == "*" else "·"), self.factor()]
            elif (
                text
                and (text[0].isalnum() or text in "({" or (text == "|" and not self.inside_bars))
                and self._goes_on(text)
            ):
                before = self.used, self.depth, self.evidence
                try:
                    children += [_make("mspace", width="0.2em"), self.factor()]
                except _Unknown:
                    if self.words or before[1]:
                        raise
                    self.used, self.depth, self.evidence = before
                    return children
            else:
                return children

    def _product(self, text: str) -> bool:
        after = self.peek(1)
        return bool(after) and (after[0].isalpha() or after in "(|") and (text == "*" or self.apart() == self.apart(1))

    def _goes_on(self, text: str) -> bool:
        """Whether a word of a sentence may be a factor: in brackets it may, else where a letter, number or bracket follows."""
        if self.words or self.depth:
            return True
        if text == "(" and self.apart():  # a remark?
            return not (re.match(r"[A-Za-z]{3}", self.peek(1)) and re.match(r"\)|[A-Za-z]{2}|\d", self.peek(2)))
        if len(text) == 1 or not text[0].isalpha() or text in GREEK or text in self.seen:
            return text not in "aA"
        return text in FUNCTIONS and bool(re.match(r"[(\[]|[a-z]$", self.peek(1)))

    def _over(self, above: list[Element], below: Element) -> Element:
        self.evidence = True
        if self.large:
            return _make("mfrac", _row(self._bare(above)), _row(self._bare([below])))
        return _make("mrow", *above, _make("mo", text="/"), below)

    @staticmethod
    def _bare(children: list[Element]) -> list[Element]:
        """What stands in brackets, without them."""
        whole = children[0]
        if (
            len(children) == 1
            and whole.tag == "mrow"
            and len(whole)
            and whole[0].text == "("
            and whole.get("class") == "group"
        ):
            return list(whole)[1:-1]
        return children

    def factor(self) -> Element:
        """A number, a name, a call, a group, or a norm, with subscript, exponent and index."""
        text = self.peek()
        if text == "(" or text == "{":
            made = self.group()
        elif text == "|":
            made = self.norm()
        elif re.match(r"\d", text):
            made = _make("mn", text=self.take())
        elif text == "...":
            self.used += 1
            made = _make("mo", text="…")
        elif text[:1].isalpha():
            made = self.named()
        else:
            raise _Unknown
        return self.marked(made)

    def marked(self, made: Element) -> Element:
        while self.peek() in ("_", "^") and not self.apart():
            self.evidence = True
            tag = "msub" if self.take() == "_" else "msup"
            mark = self.group(bare=True) if self.peek() == "{" else self.short()
            made = _make(tag, made, mark)
        return made

    def short(self) -> Element:
        """A number or a name, without what may follow it."""
        text = self.take()
        if not text[0].isalnum():
            raise _Unknown
        return _make("mn", text=text) if text[0].isdigit() else self.name(text)

    def name(self, text: str) -> Element:
        if text in GREEK:
            return _make("mi", text=GREEK[text])
        return _make("mi", text=text.replace("'", "′")) if len(text.strip("'")) == 1 else _make("mtext", text=text)

    def named(self) -> Element:
        text = self.take()
        self.seen.add(text)
        if text in OVER and self.peek() in ("over", "_"):
            return self.over(text)
        if text == "sqrt" and self.peek() == "(":
            return _make("msqrt", *self.inner("("))
        if self.peek() == "(" and not self.apart():
            self.evidence = self.evidence or text in FUNCTIONS
            return _make("mrow", self.function(text), self.group())
        if self.peek() == "[" and not self.apart():
            self.evidence = True
            if text in DRAWS:
                return _make("mrow", self.function(text), self.group())
            return _make("msub", self.name(text), _row(self.inner("[")))
        if text in PREFIX:
            self.evidence = True
            return _make("mrow", self.function(text), _make("mspace", width="0.15em"), self.factor())
        if (
            len(text) > 1 and text not in GREEK and self.peek() not in ("_", "^")
        ):  # words beside each other are one text
            words = [text]
            while (
                re.fullmatch(r"[A-Za-z][a-z'-]+", self.peek())
                and self.peek() not in (*FUNCTIONS, *OVER, *GREEK)
                and self._plain()
            ):
                words.append(self.take())
            return _make("mtext", text=" ".join(words))
        return self.name(text)

    def _plain(self) -> bool:
        """Whether the next word is one more of a text."""
        return (
            (self.words or bool(self.depth))
            and self.peek(1) not in ("_", "^", "[")
            and (self.peek(1) != "(" or self.apart(1))
        )

    def function(self, text: str) -> Element:
        upright = text not in GREEK and (len(text) > 1 or text in DRAWS)
        return _make("mi", text=text, mathvariant="normal") if upright else self.name(text)

    def over(self, text: str) -> Element:
        """``sum_j x``, ``sum over j of x``, ``least over the items shown of x``: the operator, and the rest of the term."""
        self.evidence = True
        sign = _make("mo", text="∑") if text == "sum" else self.function(text)
        if self.take() == "_":
            below = self.short() if self.peek() != "{" else self.group(bare=True)
        else:
            words: list[str] = []
            while self.peek() != "of":
                words.append(self.take())
            self.used += 1
            words = words[1:] if words[:1] == ["the"] else words
            below = self.name(words[0]) if len(words) == 1 else _make("mtext", text=" ".join(words))
        return _make("mrow", _make("munder", sign, below), _make("mspace", width="0.2em"), *self.term())

    def group(self, bare: bool = False) -> Element:
        """What stands in brackets: relations, by commas."""
        open = self.peek()
        inner = self.inner(open)
        if bare or open == "{":
            return _row(inner)
        return _make("mrow", _make("mo", text=open), *inner, _make("mo", text=CLOSE[open]), **{"class": "group"})

    def inner(self, open: str) -> list[Element]:
        self.used += 1
        self.depth += 1
        bars, self.inside_bars = self.inside_bars, False
        children = self.relation()
        while self.peek() == ",":
            self.used += 1
            children.append(_make("mo", text=","))
            children += self.relation()
        if self.take() != CLOSE[open]:
            raise _Unknown
        self.inside_bars = bars
        self.depth -= 1
        return children

    def norm(self) -> Element:
        self.used += 1
        self.evidence = self.inside_bars = True
        children = self.sum()
        if self.take() != "|":
            raise _Unknown
        self.inside_bars = False
        bar: Callable[[], Element] = lambda: _make("mo", text="|", stretchy="false")  # noqa: E731
        return _make("mrow", bar(), *children, bar())
