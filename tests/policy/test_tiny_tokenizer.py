from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from sdar_gym.envs import FreeText
from sdar_gym.policy.tiny_tokenizer import END, PAD, START, TAGS, train_tokenizer

TEXTS = [
    "",
    " ",
    "\n\n \t\r\n",
    "go to fridge 1",
    "go  to   the go toaster 12",
    "don't! (really?) 3.14 -- #%&",
    "naïve Größe œuvre",
    "冰箱 1 是关着的。",
    "مرحبا بالعالم",
    "👩‍👩‍👧 🧪 \u200d\u200b",
    unicodedata.normalize("NFD", "é"),
    "\x00\x7f\u2028\ufeff\uffff\U0010ffff",
    "x" * 500,
    "<action>look</action><think></think> < action >",
]


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_comes_back_unchanged(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_random_texts_come_back_unchanged(tokenizer: Any) -> None:
    space = FreeText(60, seed=0)
    for _ in range(200):
        text = space.sample()
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_is_one_token_that_is_not_dropped_with_the_special_ones(tokenizer: Any, tag: str) -> None:
    (token,) = tokenizer.encode(tag, add_special_tokens=False)
    assert tokenizer.decode([token], skip_special_tokens=True) == tag
    around = tokenizer.encode(f"a{tag}b", add_special_tokens=False)
    assert around.count(token) == 1


def test_the_special_tokens_are_one_token_each_and_dropped(tokenizer: Any) -> None:
    for token in (PAD, START, END):
        (number,) = tokenizer.encode(token, add_special_tokens=False)
        assert tokenizer.decode([number], skip_special_tokens=True) == ""
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END)


def test_the_chat_template_is_chatml_without_a_system_prompt(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi\nthere"},
        {"role": "assistant", "content": "<action>look</action>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi\nthere<|im_end|>\n"
        "<|im_start|>assistant\n<action>look</action><|im_end|>\n"
    )
    opened = tokenizer.apply_chat_template(messages[1:2], tokenize=False, add_generation_prompt=True)
    assert opened == "<|im_start|>user\nHi\nthere<|im_end|>\n<|im_start|>assistant\n"
    # Role names are learned as single tokens: <start> role newline.
    assert len(tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)) == 3


def test_words_numbers_and_go_to_are_pieces_of_their_own() -> None:
    tokenizer = train_tokenizer(["go to fridge 12", "take mug 2 from fridge 12"] * 300, vocab_size=400)

    def pieces(text: str) -> list[str]:
        return [tokenizer.decode([token]) for token in tokenizer.encode(text, add_special_tokens=False)]

    assert pieces("go to fridge 12") == ["go to", " fridge", " 12"]
    assert pieces("take mug 2") == ["take", " mug", " 2"]
    assert "go to" not in pieces("go today")


def test_the_vocabulary_keeps_to_its_size(tokenizer: Any) -> None:
    assert len(tokenizer) == 400 + len(TAGS)


def test_training_is_the_same_every_time_and_survives_saving(tokenizer: Any, tmp_path: Path) -> None:
    texts = ["go to fridge 1", "heat mug 2 with microwave 1"] * 50
    first, second = (train_tokenizer(texts, vocab_size=300) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert loaded.encode(text, add_special_tokens=False) == ids
        assert loaded.decode(ids, skip_special_tokens=True) == text
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.eos_token_id == tokenizer.eos_token_id
