"""Adversarial action fuzzer: malformed, hostile and valid actions for robustness tests of environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from sdar_gym.validation import finite_number, whole_number

# Inputs that often break parsers: patterns, templates, unbalanced tags and brackets, paths, odd numbers.
_TRAPS = (
    "search[",
    "search[]",
    "search[[a]]",
    "click[",
    "click[]",
    "click[[",
    "<search>",
    "<search></search>",
    "<search><search>a</search>",
    "</search><search>",
    "<answer>",
    "<answer></answer>",
    "<answer>a</answer><answer>b</answer>",
    "<search>a</search><answer>b</answer>",
    "<think><action>",
    "{0}{goal}",
    "%s %d %(x)s",
    "\\1\\g<0>",
    "(((((((((((((((((((((((((((((((a",
    "[^]*+?{1,99999}",
    "a" * 60 + "!",
    "../../etc/passwd",
    "C:\\\x00",
    "-1",
    "1e999",
    "NaN",
    "٣",
    "None",
    "null",
    '{"action": ["look"]}',
    "'; DROP TABLE items; --",
    "\ufeff",
    "\u202egnihton",
    "e\u0301" * 8,
    "👩‍👩‍👧‍👦",
    "go to fridge \U0001f9ca",
)
_WHITE = (" ", "\t", "\n", "\r\n", "\u00a0", "\u2028", "\x0b", "\x85", "\u3000", "\u200b")


class ActionFuzzer:
    """Draws fuzzed actions; the same seed and the same lists of admissible actions give the same sequence.

    About a third are admissible actions, so that episodes make progress; a third are admissible actions with a small
    fault; the rest is meaningless text: empty, control characters, any Unicode, lone surrogates, well-formed tool calls
    with such content, and rarely a very long text.

    Args:
        seed: Seed of the draws.
        longest: Length of the very long actions, in characters without a tag around them.
        long_share: Fraction of very long actions.

    Raises:
        ValueError: A share outside 0 to 1, or a length or seed that is not a whole number.
    """

    def __init__(self, seed: int = 0, longest: int = 1_000_000, long_share: float = 0.005):
        self._longest = whole_number("longest", longest, 1)
        self._long_share = finite_number("long_share", long_share, 0, 1)
        self._rng = Random(whole_number("seed", seed))
        self._nonsense: tuple[Callable[[], str], ...] = (
            lambda: "",
            self._white,
            self._controls,
            self._unicode,
            self._surrogates,
            lambda: self._rng.choice(_TRAPS),
            # Well-formed calls with meaningless content, for environments that list no actions.
            lambda: self._tagged(self._rng.choice((self._unicode, self._surrogates, self._controls, self._words))()),
            lambda: self._tagged(self._words()),
            lambda: f"{self._rng.choice(('search', 'click'))}[{self._words()}]",
        )
        self._faults: tuple[Callable[[str], str], ...] = (
            str.upper,
            str.swapcase,
            lambda text: text[:-1],
            lambda text: text[1:],
            lambda text: text + self._white(),
            lambda text: self._white() + text,
            lambda text: text + text,
            lambda text: text + "\x00",
            lambda text: text.replace(" ", "  "),
            lambda text: text.replace("e", "е"),  # A Cyrillic е.
            lambda text: text + " 99999999999999999999",
            self._cut,
            self._brackets,
            self._tagged,
        )

    def draw(self, admissible: Sequence[str]) -> str:
        """Draw the next action.

        Args:
            admissible: The admissible actions of this turn; may be empty.
        """
        kind = self._rng.random()
        if kind < self._long_share:
            return self._long(admissible)
        if admissible and kind < 0.35:
            return self._rng.choice(admissible)
        if admissible and kind < 0.7:
            return self._rng.choice(self._faults)(self._rng.choice(admissible))
        return self._rng.choice(self._nonsense)()

    def _long(self, admissible: Sequence[str]) -> str:
        seeds = ("a", "look ", "[", "<search>", "\U0001f9ca", *admissible[:3])
        piece = self._rng.choice(seeds) or "a"
        text = (piece * (self._longest // len(piece) + 1))[: self._longest]
        return self._tagged(text) if self._rng.random() < 0.3 else text

    def _words(self) -> str:
        words = ("who", "the", "red", "shirt", "2018", "under", "$", "AND", "OR", '"', "*", "~", "né", "NOT", "title:")
        return " ".join(self._rng.choice(words) for _ in range(self._rng.randrange(1, 9)))

    def _white(self) -> str:
        return "".join(self._rng.choice(_WHITE) for _ in range(self._rng.randrange(1, 6)))

    def _controls(self) -> str:
        return "".join(chr(self._rng.randrange(32)) for _ in range(self._rng.randrange(1, 20)))

    def _unicode(self) -> str:
        letters = []
        for _ in range(self._rng.randrange(1, 30)):
            code = self._rng.randrange(0x110000)
            letters.append(chr(code) if not 0xD800 <= code < 0xE000 else "x")
        return "".join(letters)

    def _surrogates(self) -> str:
        return "".join(
            chr(self._rng.randrange(0xD800, 0xE000)) + self._rng.choice(("", "a", " "))
            for _ in range(self._rng.randrange(1, 6))
        )

    def _cut(self, text: str) -> str:
        place = self._rng.randrange(len(text) + 1)
        return text[:place] + self._rng.choice(("", "?", "\n", "\ud800", "[")) + text[place + 1 :]

    def _brackets(self, text: str) -> str:
        return f"{text.partition('[')[0]}[{self._rng.choice(self._nonsense)()}]"

    def _tagged(self, text: str) -> str:
        tag = self._rng.choice(("search", "answer", "action", "think"))
        return f"<{tag}>{text}</{tag}>"
