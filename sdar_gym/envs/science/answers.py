"""Answers: finds the answer in an action, and compares choices and short texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from sdar_gym.envs.science.problem import Option

# A longer single line is no answer, and what is longer in tags is cut for `info`.
LONGEST_LINE = 200
_OPENED, _CLOSED = "<answer>", "</answer>"
_BOXED = "\\boxed{"
_LONGEST_BOX = 2000
_ANSWER_LINE = re.compile(r"[*_#\s]{0,8}(?:the )?(?:final )?answer(?: is)?[*_\s]{0,4}[:：]\s*(.*)", re.IGNORECASE)
_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s+)?[(\[{]?\s*(?P<label>\w{1,3})\s*[)\]}]?\s*(?P<rest>[.:,)\-–]?.*)", re.I | re.S
)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|ce)(?![a-zA-Z])|[${}]")
_ARROWS = re.compile(r"\\(?:long)?rightarrow(?![a-zA-Z])|\\to(?![a-zA-Z])|[-=–—]+>|[→⟶⇌]|⇒")
_SPACES_AROUND = re.compile(r"\s*([=+])\s*")
_ARTICLE = re.compile(r"(?:the|an|a) ", re.IGNORECASE)
# Symbols of the elements: `Co` and `CO` are different answers, `mitosis` and `Mitosis` are not.
_ELEMENT = (
    r"A[cglmrstu]|B[aehikr]?|C[adeflmnorsu]?|D[bsy]|E[rsu]|F[elmr]?|G[ade]|H[efgos]?|I[nr]?|"
    r"K[r]?|L[airuv]|M[cdgnot]|N[abdehiop]?|O[gs]?|P[abdmortu]?|R[abefghnu]|S[bcegimnr]?|"
    r"T[abcehilms]|U|V|W|X[e]|Y[b]?|Z[nr]"
)
_FORMULA = re.compile(rf"[0-9]*(?:(?:{_ELEMENT})[0-9]*|[()\[\]^+-])+(?:\((?:aq|s|l|g)\))?")
TRUTHS = (("yes", "true", "correct"), ("no", "false", "incorrect"))


def find_answer(action: str) -> str:
    r"""The answer in an action; empty if there is none.

    The last pair of answer tags counts; without one, the last `\boxed{…}`; without that, a last line `Answer: …`, and
    else the whole action, if it is one short line.
    """
    end = action.rfind(_CLOSED)
    begin = action.rfind(_OPENED, 0, end) if end >= 0 else -1
    if begin >= 0:
        return action[begin + len(_OPENED) : end].strip()
    begin = action.rfind(_BOXED)
    if begin >= 0:
        boxed = _balanced(action[begin + len(_BOXED) : begin + len(_BOXED) + _LONGEST_BOX])
        if boxed is not None:
            return boxed.strip()
    action = action.strip()
    last = action[max(action.rfind("\n") + 1, len(action) - 2 * LONGEST_LINE) :].strip()
    named = _ANSWER_LINE.fullmatch(last)
    if named is not None:
        return named[1].strip(" *_")
    return action if len(action) <= LONGEST_LINE and len(action.splitlines()) == 1 else ""


def _balanced(text: str) -> str | None:
    """The text up to the brace that closes it."""
    depth = 1
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return text[:place]
    return None


def chosen(answer: str, options: Iterable[Option]) -> tuple[str, ...]:
    """Labels of the options that an answer names, by label, by text or by both; several if they have the same text."""
    options = tuple(options)
    by_label = {option.label.casefold(): option for option in options}
    found = None
    if len(answer) < 4 * LONGEST_LINE:
        found = _LETTER.fullmatch(_LATEX_TEXT.sub("", answer).strip(" \n\t*"))
    if found is not None and found["label"].casefold() in by_label:
        option = by_label[found["label"].casefold()]
        rest = found["rest"].strip(" .:,)-–*")
        if not rest or normalized(rest) == normalized(option.text):
            return (option.label,)
    plain = normalized(answer)
    return tuple(option.label for option in options if plain and normalized(option.text) == plain)


def same_text(answer: str, accepted: Iterable[str]) -> bool:
    """Whether an answer is one of the accepted spellings, after normalization. Formulas keep their capitals."""
    return any(normalized(answer, _is_formula(text)) == normalized(text, _is_formula(text)) for text in accepted)


def spellings_of(text: str) -> tuple[str, ...]:
    """Accepted spellings of a text: those of its truth value if it is one, else itself."""
    return next((words for words in TRUTHS if text.strip().casefold() in words), (text,))


def normalized(text: str, keep_case: bool = False) -> str:
    """A text in a form for comparison: without LaTeX, punctuation around it, articles and differences of spacing."""
    text = unicodedata.normalize("NFKC", text[: 20 * LONGEST_LINE])
    text = _LATEX_TEXT.sub("", _ARROWS.sub("=", text)).replace("_", "").replace("−", "-")
    text = _SPACES_AROUND.sub(r"\1", " ".join(text.split())).strip(" .,;:!?\"'`*")
    text = _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
    return text if keep_case else text.casefold()


@lru_cache(maxsize=1024)
def _is_formula(text: str) -> bool:
    """Whether all words of a text are chemical formulas."""
    words = _SPACES_AROUND.sub(" ", unicodedata.normalize("NFKC", _ARROWS.sub("=", text))).replace("_", "").split()
    return bool(words) and all(_FORMULA.fullmatch(_LATEX_TEXT.sub("", word)) for word in words)
