"""Token classes: thinking, format, action, end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

THINK, FORMAT, ACTION, END = "think", "format", "action", "end"
TOKEN_CLASSES = (THINK, FORMAT, ACTION, END)

# A character of UTF-8 is four bytes at most, so four tokens of a byte-level vocabulary.
_LONGEST_CHARACTER = 4
_UNFINISHED = "\ufffd"


class PieceTokenizer(Protocol):
    """The part of a `transformers` tokenizer that token classes need."""

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of tokens that are not text: end of turn, padding."""
        ...

    def decode(self, token_ids: list[int], **kwargs: Any) -> Any:
        """Text of token ids."""
        ...


@dataclass(slots=True)
class _Vocabulary:
    """Cached texts of a tokenizer's tokens; most responses consist of a few hundred different tokens."""

    special: frozenset[int]
    pieces: dict[int, str]


_KNOWN: WeakKeyDictionary[PieceTokenizer, _Vocabulary] = WeakKeyDictionary()


def token_pieces(tokenizer: PieceTokenizer, token_ids: Sequence[int]) -> list[str]:
    """The text of each token; the pieces concatenated are the whole text.

    Of several tokens that encode one character, the first has it and the others have "".

    Args:
        tokenizer: The policy's.
        token_ids: Any tokens, special ones included.
    """
    known = _vocabulary(tokenizer).pieces

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    pieces: list[str] = []
    while len(pieces) < len(token_ids):
        at = len(pieces)
        token = token_ids[at]
        if token not in known:
            known[token] = decode([token])
        piece, length = known[token], 1
        if piece.endswith(_UNFINISHED):
            for longer in range(2, _LONGEST_CHARACTER + 1):
                joined = decode(token_ids[at : at + longer])
                if _UNFINISHED not in joined:
                    piece, length = joined, min(longer, len(token_ids) - at)
                    break
        pieces += [piece, *[""] * (length - 1)]
    return pieces


def token_classes(
    tokenizer: PieceTokenizer, response_ids: Sequence[int], action: str, *, tag: str = "action"
) -> list[str]:
    """The class of each sampled token.

    - `action`: the text that was sent to the environment. Tags that are part of it, as in `<search>…</search>`, are
      included, since the choice of the tag is part of the action. A response without the required form was sent
      verbatim, so all of it is action, except for thoughts in `<think>` tags.
    - `format`: the tags around the action.
    - `end`: the stop token, if it was reached.
    - `think`: everything else, which the environment does not see: `<think>` tags with their content, and any text
      around the action's tags.

    A token with characters of two classes has the class that comes first above. White space between two classes has
    the one that is not `action`. Texts are compared without white space, since some tokenizers drop leading spaces from
    single tokens.

    Args:
        tokenizer: The policy's.
        response_ids: The sampled tokens, [T].
        action: The action that was sent to the environment.
        tag: Name of the tag around actions.

    Returns:
        A member of `TOKEN_CLASSES` for each token.
    """
    special = _vocabulary(tokenizer).special
    pieces = token_pieces(tokenizer, response_ids)
    # Special tokens before the end are dropped when a response is parsed, so they are not text here either.
    letters = [
        (letter, number)
        for number, (token, piece) in enumerate(zip(response_ids, pieces, strict=True))
        if token not in special
        for letter in _squeezed(piece)
    ]
    squeezed = "".join(letter for letter, _ in letters)
    found: list[set[str]] = [set() for _ in response_ids]
    for (_, number), kind in zip(letters, _letter_classes(squeezed, _squeezed(action), tag), strict=True):
        found[number].add(kind)
    for number, piece in enumerate(pieces):
        if not piece and number:
            found[number] = found[number - 1]  # Further tokens of one character.
    classes = [next((kind for kind in (ACTION, FORMAT, THINK) if kind in kinds), "") for kinds in found]
    if classes and response_ids[-1] in special:
        classes[-1] = END
    return list(_filled(classes))


def _vocabulary(tokenizer: PieceTokenizer) -> _Vocabulary:
    if tokenizer not in _KNOWN:
        _KNOWN[tokenizer] = _Vocabulary(frozenset(tokenizer.all_special_ids), {})
    return _KNOWN[tokenizer]


def _squeezed(text: str) -> str:
    """A text without white space and without replacement characters, which stand for incomplete characters."""
    return "".join(text.split()).replace(_UNFINISHED, "")


def _letter_classes(text: str, action: str, tag: str) -> list[str]:
    """The class of each character of a response; response and action are without white space."""
    classes = [THINK] * len(text)
    opening, closing = f"<{tag}>", f"</{tag}>"
    # Parsers take the first tagged action, also inside of thoughts; the same words without tags are a thought.
    start = text.find(f"{opening}{action}{closing}")
    if start >= 0:
        inner = start + len(opening)
        _paint(classes, FORMAT, start, inner + len(action) + len(closing))
        _paint(classes, ACTION, inner, inner + len(action))
        return classes
    if not action:
        return classes
    # An action that includes its tags ends at the first closing tag. Of one without tags, earlier mentions are
    # thoughts.
    tagged = re.match(r"<(\w+)>.*</\1>$", action, re.DOTALL) and not action.startswith("<think>")
    start = text.find(action) if tagged else text.rfind(action)
    if start < 0:
        # The prompt template rewrites actions: any part of the text may have led to it.
        start, action = 0, text
    _paint(classes, ACTION, start, start + len(action))
    if not tagged:
        for thought in _thoughts(text):
            _paint(classes, THINK, *thought)
    return classes


def _thoughts(text: str) -> Iterator[tuple[int, int]]:
    """Thoughts in a response: up to its last `</think>` (the prompt may have opened the tag), after an open `<think>`.

    Text between two thoughts counts as thought.
    """
    closed = text.rfind("</think>")
    end = 0 if closed < 0 else closed + len("</think>")
    yield 0, end
    opened = text.find("<think>", end)
    if opened >= 0:
        yield opened, len(text)


def _paint(classes: list[str], kind: str, start: int, stop: int) -> None:
    classes[start:stop] = [kind] * (stop - start)


def _filled(classes: Sequence[str]) -> Iterator[str]:
    """The classes; tokens without visible text take the class of a neighbor."""
    before = [*_latest(classes)]
    after = [*_latest(classes[::-1])][::-1]
    for kind, left, right in zip(classes, before, after, strict=True):
        sides = {left, right} - {"", END}
        yield kind or next((side for side in (THINK, FORMAT, ACTION) if side in sides), THINK)


def _latest(classes: Sequence[str]) -> Iterator[str]:
    """The latest class at each token; "" before the first."""
    latest = ""
    for kind in classes:
        latest = kind or latest
        yield latest
