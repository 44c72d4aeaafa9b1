"""Tokenizer training for the tiny policies: byte-level BPE like Qwen's, in pieces that suit very small models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# One token each: every response has them, and every token costs a forward pass.
TAGS = ("<think>", "</think>", "<action>", "</action>")
# ChatML without a default system prompt and without Qwen3's thinking switch.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
# "go to", words, whole numbers, anything else; byte-level BPE within them makes all text encodable. Names such as
# "fridge 1" are two tokens on purpose: as one token, every combination has to be learned separately, and a policy this
# small then fails to copy rare names from the prompt.
_PIECES = r" ?go to(?![a-z])| ?[A-Za-z]+| ?\d+| ?[^\sA-Za-z\d]+|\n|\s+"
# Single digits and signs, for problems: a number is then copied and computed digit by digit.
_SINGLE_PIECES = r" ?[A-Za-z]+|\d|[^\sA-Za-z\d]|\n|\s"
# Digits in pairs: a year is two tokens, each of them frequent.
_PAIR_PIECES = r" ?[A-Za-z]+| ?\d{1,2}|[^\sA-Za-z\d]|\n|\s"


@dataclass(frozen=True, slots=True)
class TokenStyle:
    """How texts are cut into tokens.

    Attributes:
        pieces: Pattern of the pieces, within which merges are learned.
        tags: Tags of responses, one token each.
    """

    pieces: str = _PIECES
    tags: tuple[str, ...] = TAGS


HOUSEHOLD = TokenStyle()
PROBLEMS = TokenStyle(_SINGLE_PIECES)
SEARCH = TokenStyle(_PAIR_PIECES, ("<search>", "</search>", "<answer>", "</answer>"))


def train_tokenizer(texts: Iterable[str], vocab_size: int, style: TokenStyle = HOUSEHOLD) -> PreTrainedTokenizerFast:
    """Train a tokenizer.

    Args:
        texts: Prompts and responses.
        vocab_size: Largest number of tokens, without the tags of responses.
        style: How texts are cut into tokens.

    Returns:
        A `transformers` tokenizer with Qwen's ChatML template and `<|im_end|>` as the end token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(style.pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    roles = "".join(f"{role}\n" for role in ("system", "user", "assistant") for _ in range(1000))
    tokenizer.train_from_iterator([*texts, roles], trainer)
    # Not special: a tag is part of the response, and the parser needs it after special tokens are dropped.
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in style.tags])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)
    fast.chat_template = CHAT_TEMPLATE
    return fast
