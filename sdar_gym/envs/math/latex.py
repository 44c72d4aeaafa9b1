r"""LaTeX of answers without what does not change their meaning: spacing, sizes, dollar signs, styles of fractions."""

from __future__ import annotations

import re

# Around words that stood in \text{…}, so that they are told from products of variables.
TEXT_BEGIN, TEXT_END = "\x02", "\x03"
_SIGNS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "∞": r"\infty ", "∪": r"\cup ",
    "π": r"\pi ", "≤": r"\le ", "≥": r"\ge ", "±": r"\pm ", "∅": r"\emptyset ", "∈": r"\in ", "°": r"^\circ ",
    "½": r"\frac{1}{2}", "⟨": "(", "⟩": ")", "（": "(", "）": ")", "，": ",", "\u202f": r"\,", "\u2009": r"\,",
}  # fmt: skip
_SIGN = re.compile("|".join(_SIGNS))
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|textsf|mathrm|mathbf|mathit|mathsf|mbox|hbox|operatorname)\s*"
    r"\{([^{}]*)\}"
)
# In one pass, so that the line break of a matrix (two backslashes) is not taken for a space after it.
_COMMAND = re.compile(r"\\(?:\\|[,;:!> $%#&]|[A-Za-z]+)")
_COMMANDS = {
    r"\,": " ", r"\;": " ", r"\:": " ", r"\>": " ", r"\ ": " ", r"\!": "", r"\$": "", r"\%": "%", r"\#": "", r"\&": "&",
    r"\left": "", r"\right": "", r"\bigl": "", r"\bigr": "", r"\big": "", r"\Big": "", r"\Bigl": "", r"\Bigr": "",
    r"\displaystyle": "", r"\textstyle": "", r"\limits": "", r"\quad": " ", r"\qquad": " ", r"\hspace": " ",
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\leq": r"\le", r"\geq": r"\ge",
    r"\leqslant": r"\le", r"\geqslant": r"\ge", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]",
    r"\langle": "(", r"\rangle": ")", r"\varnothing": r"\emptyset", r"\degree": r"^\circ", r"\ast": "*",
    r"\lparen": "(", r"\rparen": ")", r"\mp": r"\pm",
}  # fmt: skip
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})")
# 1{,}000 and 1,\!000 are one number; so is 1\,000.
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|\\ )(?=\d{3}(?!\d))")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_SPACES = re.compile(r"\s+")
# A space between two digits has a meaning: 1 1/2 is not 11/2.
_REMOVABLE = re.compile(rf"[{TEXT_BEGIN}{TEXT_END}]|(?<!\d) | (?!\d)")
_AROUND = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


def plain(text: str) -> str:
    r"""Normalize the LaTeX of an answer, so that equal notations become equal texts.

    Words of `\text{…}` stand between `TEXT_BEGIN` and `TEXT_END`.
    """
    text = _CONTROL.sub(" ", text).strip()
    for begin, end in _AROUND:
        if text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end):
            text = text[len(begin) : -len(end)].strip()
    if not text.isascii():
        text = _SIGN.sub(lambda found: _SIGNS[found.group()], text)
    if "\\" in text or "{" in text:
        text = _THOUSANDS.sub("", text)
        text = _TEXT.sub(lambda found: f"{TEXT_BEGIN}{found[1].strip()}{TEXT_END}", text)
        text = _COMMAND.sub(lambda found: _COMMANDS.get(found.group(), found.group()), text)
        text = _DEGREES.sub(f"{TEXT_BEGIN}degrees{TEXT_END}", text)
    text = text.replace("$", "").replace("~", " ").replace("**", "^")
    return _SPACES.sub(" ", text).strip().rstrip(".").rstrip()


def unmarked(text: str) -> str:
    r"""The normalized text as LaTeX again: marked words in `\text{…}`."""
    return text.replace(TEXT_BEGIN, r"\text{").replace(TEXT_END, "}")


def bare(text: str) -> str:
    """The normalized text without marks."""
    return text.replace(TEXT_BEGIN, " ").replace(TEXT_END, " ").strip()


def squeezed(text: str) -> str:
    """The normalized text without marks and spaces that mean nothing, to compare texts."""
    return _REMOVABLE.sub("", text)
