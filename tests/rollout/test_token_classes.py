"""Token classes: with the tiny policy's tokenizer, and with byte-level BPE that cuts across tags and characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sdar_gym.training.token_classes import TOKEN_CLASSES, token_classes, token_pieces

END_TOKEN = "<|im_end|>"


def byte_level(texts: Sequence[str], vocab_size: int = 600) -> PreTrainedTokenizerFast:
    """Byte-level BPE as in Qwen and Llama 3, tags not among its tokens; without words, so that merges cross them."""
    tokenizer = Tokenizer(models.BPE())
    split: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = split  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(END_TOKEN, special=True)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_TOKEN)


@pytest.fixture(scope="module")
def bpe() -> Any:
    return byte_level(["<think>I could go to fridge 1.</think>\n<action>go to fridge 1</action>", "go to desk 2 "] * 50)


@pytest.fixture(scope="module")
def letters() -> Any:
    """Every byte is a token of its own."""
    return byte_level(["a"], vocab_size=257)


def classed(tokenizer: Any, text: str, action: str, *, end: bool = True, **more: Any) -> list[tuple[str, str]]:
    ids = tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id] * end
    classes = token_classes(tokenizer, ids, action, **more)
    assert set(classes) <= set(TOKEN_CLASSES)
    return list(zip(token_pieces(tokenizer, ids), classes, strict=True))


def texts(rows: list[tuple[str, str]]) -> dict[str, str]:
    """The text of each class, in order."""
    result: dict[str, str] = {}
    for piece, kind in rows:
        result[kind] = result.get(kind, "") + piece
    return result


def test_a_compact_answer_is_tags_action_and_end(tokenizer: Any) -> None:
    rows = classed(tokenizer, "<action>go to fridge 1</action>", "go to fridge 1")
    assert rows[0] == ("<action>", "format")
    assert rows[-2:] == [("</action>", "format"), (END_TOKEN, "end")]
    assert {kind for _, kind in rows[1:-2]} == {"action"}
    assert "".join(piece for piece, _ in rows[1:-2]) == "go to fridge 1"


def test_an_answer_that_is_nothing_but_its_action(tokenizer: Any) -> None:
    rows = classed(tokenizer, "go to fridge 1", "go to fridge 1")
    assert {kind for _, kind in rows[:-1]} == {"action"}
    assert rows[-1] == (END_TOKEN, "end")


@pytest.mark.parametrize("which", ["tokenizer", "letters"])
def test_the_action_is_not_found_in_the_thoughts_before_it(request: pytest.FixtureRequest, which: str) -> None:
    text = "<think>Shall I go to fridge 1? go to fridge 1!</think> So:\n<action> go to fridge 1 </action>"
    rows = classed(request.getfixturevalue(which), text, "go to fridge 1")
    found = texts(rows)
    assert found["think"].rstrip() == "<think>Shall I go to fridge 1? go to fridge 1!</think> So:"
    assert found["action"].strip() == "go to fridge 1"
    assert found["format"].split() == ["<action>", "</action>"]
    assert found["end"] == END_TOKEN
    first = next(number for number, (_, kind) in enumerate(rows) if kind == "action")
    assert "".join(piece for piece, _ in rows[:first]).strip() == text[: text.index(" go to fridge 1 <")]


def test_tokens_across_a_border_belong_to_the_action_first(bpe: Any) -> None:
    text = "<think>I could go to fridge 1.</think>\n<action>go to fridge 1</action>"
    rows = classed(bpe, text, "go to fridge 1")
    # The merges of this tokenizer cross the tags; else the test would test nothing.
    crossing = [piece for piece, _ in rows if piece not in ("<", ">") and piece.strip("<>/") != piece]
    assert crossing
    at = 0
    inner, outer = text.rindex("go to fridge 1"), text.index("<action>")
    for piece, kind in rows[:-1]:
        span = range(at, at + len(piece))
        at += len(piece)
        if any(inner <= place < inner + len("go to fridge 1") for place in span):
            assert kind == "action"
        elif any(place >= outer for place in span):
            assert kind == "format"
        else:
            assert kind == "think"
    assert at == len(text)


def test_the_first_tagged_action_counts_even_inside_thoughts(letters: Any) -> None:
    found = texts(classed(letters, "<think>x <action>look</action></think><action>go</action>", "look"))
    assert found["action"] == "look"
    assert found["format"] == "<action></action>"
    assert found["think"] == "<think>x </think><action>go</action>"


def test_tags_that_are_part_of_the_action_are_action(letters: Any) -> None:
    text = "<think>search: <b>ada</b></think><search> ada </search> <search>ada</search>"
    found = texts(classed(letters, text, "<search>ada</search>"))
    assert found["action"] == "<search> ada </search>"
    assert "format" not in found
    assert found["think"].replace(" ", "") == "<think>search:<b>ada</b></think><search>ada</search>"


def test_another_name_of_the_tag(letters: Any) -> None:
    found = texts(classed(letters, "<do>jump</do>", "jump", tag="do"))
    assert (found["action"], found["format"]) == ("jump", "<do></do>")


@pytest.mark.parametrize(
    ("text", "think", "action"),
    [
        ("<think>hm</think>look", "<think>hm</think>", "look"),
        ("hm</think>look", "hm</think>", "look"),
        ("look", "", "look"),
        ("<think>hm and on and on", "<think>hm and on and on", ""),
        ("look<think>hm", "<think>hm", "look"),
        ("<think>a</think>b<think>c</think>d", "<think>a</think>b<think>c</think>", "d"),
    ],
)
def test_an_answer_without_the_form_is_action_but_for_its_thoughts(
    letters: Any, text: str, think: str, action: str
) -> None:
    found = texts(classed(letters, text, text, end=False))
    assert (found.get("think", ""), found.get("action", "")) == (think, action)
    assert "end" not in found


def test_an_action_that_no_answer_holds(letters: Any) -> None:
    assert texts(classed(letters, "<think>a</think>Jump!", "leap")) == {
        "think": "<think>a</think>",
        "action": "Jump!",
        "end": END_TOKEN,
    }
    # Nothing was sent: nothing is action.
    assert set(texts(classed(letters, "no tags at all", "", end=False))) == {"think"}
    empty = texts(classed(letters, "<think></think><action></action>", ""))
    assert (empty["think"], empty["format"]) == ("<think></think>", "<action></action>")
    assert "action" not in empty


def test_white_space_goes_to_the_side_that_is_not_the_action(letters: Any) -> None:
    rows = classed(letters, "<think>a</think>\n<action>\ngo on\n</action>\n", "go on")
    spaces = [kind for piece, kind in rows if piece.isspace()]
    assert spaces == ["think", "format", "action", "format", "format"]


def test_a_character_in_several_tokens_is_one_piece(letters: Any) -> None:
    rows = classed(letters, "<action>take é😀</action>", "take é😀")
    assert [piece for piece, kind in rows if kind == "action"] == [*"take ", "é", "", "😀", "", "", ""]
    assert "".join(piece for piece, _ in rows) == f"<action>take é😀</action>{END_TOKEN}"


def test_bytes_that_are_no_character_do_not_hide_the_action(letters: Any) -> None:
    ids = letters.encode("<action>go 😀</action>", add_special_tokens=False)
    broken = [*ids[:11], *ids[12:14], *ids[15:]]  # The first and the last byte of four are missing.
    text = letters.decode(broken, skip_special_tokens=True)
    assert "\ufffd" in text
    action = text.removeprefix("<action>").removesuffix("</action>")
    # The space and the bytes are nothing that can be seen, so they go to the tag behind them.
    assert token_classes(letters, broken, action) == ["format"] * 8 + ["action"] * 2 + ["format"] * 12


def test_a_special_token_in_the_middle_is_no_end(letters: Any) -> None:
    ids = letters.encode(f"<action>go{END_TOKEN} on</action>", add_special_tokens=False)
    assert ids.count(letters.eos_token_id) == 1
    kinds = token_classes(letters, ids, "go on")
    assert kinds == ["format"] * 8 + ["action"] * 6 + ["format"] * 9
    assert token_classes(letters, [], "go") == []


def test_leading_spaces_that_a_tokenizer_drops_do_no_harm() -> None:
    class Pieces:
        """Decodes each token by itself without its leading space, as SentencePiece does."""

        all_special_ids = (0,)
        words = ("</s>", "<action>", "go", "to", "desk", "</action>")

        def decode(self, token_ids: list[int], **kwargs: Any) -> str:
            return " ".join(self.words[token] for token in token_ids)

    tokenizer: Any = Pieces()
    kinds = token_classes(tokenizer, [1, 2, 3, 4, 5, 0], "go to desk")
    assert kinds == ["format", "action", "action", "action", "format", "end"]


def test_each_token_is_decoded_once() -> None:
    class Counting:
        all_special_ids = (0,)

        def __init__(self) -> None:
            self.calls = 0

        def decode(self, token_ids: list[int], **kwargs: Any) -> str:
            self.calls += 1
            return "".join("|abc"[token] for token in token_ids)

    tokenizer: Any = Counting()
    for _ in range(3):
        assert token_classes(tokenizer, [1, 2, 3, 1, 2, 0], "abcab") == ["action"] * 5 + ["end"]
    assert tokenizer.calls == 4


def test_of_an_action_without_tags_earlier_mentions_are_thoughts(letters: Any) -> None:
    rows = classed(letters, "I may jump. Final: jump", "jump", end=False)
    assert [kind for _, kind in rows] == ["think"] * 19 + ["action"] * 4
