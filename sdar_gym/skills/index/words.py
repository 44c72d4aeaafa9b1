"""Tokenizer equal to Lucene's standard tokenizer: Unicode word boundaries, ideographs, emoji."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

# Lucene cuts longer words into pieces of this length.
MAX_WORD = 255

# All of this takes linear time, since texts come from language models: a run of underscores is matched once, at its
# beginning, without backtracking.
_ASCII_UNIT = r"(?:[A-Za-z]+(?:['.:][A-Za-z]+)*|[0-9]+(?:['.,;][0-9]+)*)++"
_ASCII = re.compile(rf"(?:(?<!_)_++)?{_ASCII_UNIT}(?:_++{_ASCII_UNIT})*_*")
# Ranges of code points in hexadecimal, as the Unicode tables of Lucene 9 have them.
_HAN = "2E80-2E99 2E9B-2EF3 2F00-2FD5 3005 3007 3021-3029 3038-303B 3400-4DBF 4E00-9FFF F900-FA6D FA70-FAD9"
# Planes that hold ideographs only.
_HAN_BEYOND = "\\U00020000-\\U0002ffff"
_HIRAGANA = "3041-3096 309D-309F 1B001-1B11E 1B150-1B152 1F200"
_KATAKANA = "3031-3035 309B-309C 30A0-30FA 30FC-30FF 31F0-31FF 32D0-32FE 3300-3357 FF66-FF9D 1B000 1B164-1B167"
# Scripts written without spaces, which take a dictionary to split; a run of them is one word.
_COMPLEX = "E01-E3A E40-E4E E81-EBD EC0-ECD EDC-EDF 1000-103F 1050-108F 109A-109F 1780-17D3 17D7 17DC-17DD 1950-19DF"
_COMPLEX += " 1A20-1A7C 1AA0-1AAD A9E0-A9EF A9FA-A9FE AA60-AAC2 AADB-AADF 11700-1173F"
_EMOJI = "A9 AE 203C 2049 2122 2194-2199 21A9-21AA 231A-231B 2328 2388 23CF 23E9-23F3 23F8-23FA 25AA-25AB 25B6 25C0"
_EMOJI += (
    " 25FB-25FE 2600-2605 2607-2612 2614-2685 2690-2705 2708-2712 2714 2716 271D 2721 2728 2733-2734 2744 2747 274C"
)
_EMOJI += (
    " 274E 2753-2755 2757 2763-2767 2795-2797 27A1 27B0 27BF 2934-2935 2B05-2B07 2B1B-2B1C 2B50 2B55 3030 303D 3297"
)
_EMOJI += " 3299 1F000-1F0FF 1F10D-1F10F 1F12F 1F16C-1F16F 1F18E 1F191-1F19A 1F1AD-1F1E5 1F201-1F20F 1F21A 1F22F"
_EMOJI += " 1F232-1F23A 1F23C-1F23F 1F249-1F53D 1F546-1F64F 1F680-1F6FF 1F774-1F77F 1F7D5-1F7FF 1F80C-1F80F 1F848-1F84F"
_EMOJI += " 1F85A-1F85F 1F888-1F88F 1F8AE-1F8FF 1F90C-1F93A 1F93C-1F945 1F947-1FBEF 1FBFA-1FFFD"
# Symbols that count as letters, and letters that do not.
_LETTERS_TOO = "2C2-2C5 2D2-2D7 2DE-2DF 2ED 2EF-2FF 55B-55C 55E 5F3 24B6-24E9 A720-A721 A789-A78A AB5B"
_LETTERS_TOO += " 1F130-1F149 1F150-1F169 1F170-1F189"
# The last are scripts that are newer than those tables.
_NO_LETTERS = "3006 2C2F 2C5F A7C0-A7C1 A7C7-A7F6 AB68-AB69 16A70-16ABE 17000-18D08 1AFF0-1AFFE 1B11F-1B122 1B170-1B2FB"
_NO_MARKS = "200B 890-891 898-89F 8CA-8D2 180F 1ABF-1ACE E0001"
_MODIFIERS = "1F3FB-1F3FF"


def split_words(text: str) -> list[str]:
    """The words of a text in order, in their original spelling."""
    pattern = _ASCII if text.isascii() else _unicode()
    words = pattern.findall(text)
    if len(text) <= MAX_WORD or all(len(word) <= MAX_WORD for word in words):
        return words
    return [piece for word in words for piece in _pieces(pattern, word)]


def _pieces(pattern: re.Pattern[str], word: str) -> Iterator[str]:
    at = 0
    # The rest after a cut can begin with punctuation, which is no word.
    while (piece := pattern.search(word, at, at + MAX_WORD)) is not None:
        yield piece.group()
        at = piece.end()


@cache
def _unicode() -> re.Pattern[str]:
    """The expression for any text; compiled for the first text beyond ASCII, in some 50 ms."""
    han, hiragana, katakana, complex_ = (_points(text) for text in (_HAN, _HIRAGANA, _KATAKANA, _COMPLEX))
    modifiers = _points(_MODIFIERS)
    apart = han | hiragana | katakana | complex_
    extend: set[int] = {*modifiers, 0xFF9E, 0xFF9F}
    letters: set[int] = set(_points(_LETTERS_TOO))
    digits: set[int] = {0x66B}
    # Beyond are ideographs and private use, and tags, which only follow emoji.
    for point in range(0x20000):
        category = unicodedata.category(chr(point))
        if category[0] == "M" or category == "Cf":
            extend.add(point)
        elif category[0] == "L" or category == "Nl":
            letters.add(point)
        elif category == "Nd":
            digits.add(point)
    extend = (extend - _points(_NO_MARKS)) | set(range(0xE0020, 0xE0080))
    letters = letters - apart - _points(_NO_LETTERS) - extend
    follow = f"[{_ranges(extend)}]*"
    letter = f"[{_ranges(letters)}]{follow}"
    digit = f"[{_ranges(digits - complex_)}]{follow}"
    kana = f"[{_ranges(katakana)}]{follow}"
    joiners = "_\u202f\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f"
    joiner = f"(?:[{joiners}]{follow})++"
    # First what may stand between letters and digits alike, then what only between one kind.
    both = "'\u2019\u2018.\u2024\ufe52\uff07\uff0e"
    within_word = f"[{both}:\u00b7\u0387\u05f4\u2027\ufe13\ufe55\uff1a]{follow}"
    within_number = f"[{both},;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b]{follow}"
    spelled = f"(?:{letter})+(?:{within_word}(?:{letter})+)*"
    number = f"(?:{digit})+(?:{within_number}(?:{digit})+)*"
    unit = f"(?:(?:{spelled}|{number})++|(?:{kana})++)"
    # Of the variation selectors the one for emoji belongs to them, the one for text does not.
    picture = f"[{_ranges(_points(_EMOJI) | modifiers)}][{_ranges(extend - {0x200D, 0xFE0E})}]*"
    return re.compile(
        f"[0-9#*]\ufe0f?\u20e3"
        f"|(?:(?<![{joiners}{_ranges(extend)}]){joiner})?{unit}(?:{joiner}{unit})*(?:{joiner})?"
        f"|{picture}(?:\u200d{picture})*"
        f"|[\U0001f1e6-\U0001f1ff]{{2}}"
        f"|[{_ranges(han | hiragana)}{_HAN_BEYOND}]{follow}"
        f"|[{_ranges(complex_)}](?:[{_ranges(complex_ | extend)}])*"
    )


def _points(text: str) -> set[int]:
    points: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return points


def _ranges(points: set[int]) -> str:
    """A character class of the code points."""
    parts: list[list[int]] = []
    for point in sorted(points):
        if parts and parts[-1][1] == point - 1:
            parts[-1][1] = point
        else:
            parts.append([point, point])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in parts)
