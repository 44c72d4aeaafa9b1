"""SmolLM2-135M-Instruct: chat, template, end tokens, and continued conversations of a real small model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_gym.policy.chat import ChatFormat, decode_response
from sdar_gym.policy.load import load_model, load_model_config, load_tokenizer, stop_token_ids
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.rollout.engines.base import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.transformers_engine import engine_of

pytestmark = pytest.mark.slow
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    return load_tokenizer(str(smollm2))


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Any:
    return load_model(str(smollm2))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_the_model_and_its_tokenizer_are_those_of_smollm2(smollm2: Path, tokenizer: Any, model: Any) -> None:
    config = load_model_config(str(smollm2))
    assert model.num_parameters() == 134_515_008
    assert (config.num_hidden_layers, config.vocab_size, config.max_position_embeddings) == (30, 49_152, 8_192)
    assert len(tokenizer) == config.vocab_size
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    # Every digit is a token of its own, also after spaces.
    pieces = tokenizer.tokenize("shelf 12   34")
    assert [piece for piece in pieces if any(letter.isdigit() for letter in piece)] == ["1", "2", "3", "4"]
    for text in ("put a mug in cabinet 12.", "naïve café → 3 €\n\ttab"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_template_writes_turns_and_its_own_system_message(tokenizer: Any, model: Any) -> None:
    chat = ChatFormat(tokenizer)
    text = chat.text([user(QUESTION)])
    assert text.startswith("<|im_start|>system\n") and text.endswith("<|im_start|>assistant\n")
    assert tokenizer.convert_ids_to_tokens(chat.turn_end) == "<|im_end|>"
    assert stop_token_ids(model, tokenizer) == (chat.turn_end,)
    assert not chat.response_start and not chat.thinking_closed and not chat.asks_for_clock
    own = chat.text([{"role": "system", "content": "Be brief."}, user(QUESTION)])
    assert own.startswith("<|im_start|>system\nBe brief.<|im_end|>") and own.count("<|im_start|>system") == 1


def test_it_answers_a_question_and_stops(tokenizer: Any, model: Any) -> None:
    chat, engine = ChatFormat(tokenizer), engine_of(model, tokenizer)
    (result,) = engine.generate(
        [GenerationRequest(chat.prompt_ids([user(QUESTION)]), seed=0)], SamplingParams(16, temperature=0.0)
    )
    assert "Paris" in decode_response(tokenizer, result.token_ids, engine.stop_ids)
    assert result.finish_reason == "stop" and result.token_ids[-1] == chat.turn_end


def test_a_continued_conversation_keeps_its_prefix_and_its_probabilities(tokenizer: Any, model: Any) -> None:
    """The prompts of later turns begin with what was read and sampled, as the template itself would render them."""
    chat, engine = ChatFormat(tokenizer), engine_of(model, tokenizer)
    assert not chat.rewrites_history(thinking=False) and not chat.rewrites_history(thinking=True)
    texts = (QUESTION, "And of Italy? Answer in one word.", "Thank you.\n\n<|im_end|> is no end here.")
    prompts, results = [chat.prompt_ids([user(QUESTION)])], []

    def then(_: int, result: GenerationResult) -> GenerationRequest | None:
        results.append(result)
        if len(results) == len(texts):
            return None
        ended = result.token_ids[-1] == chat.turn_end
        prompts.append(
            [*prompts[-1], *result.token_ids, *chat.continuation_ids(texts[len(results)], ended=ended)],
        )
        return GenerationRequest(prompts[-1], seed=len(results), session="talk")

    engine.converse([GenerationRequest(prompts[0], seed=0, session="talk")], SamplingParams(12), then)
    messages = [user(QUESTION)]
    for result, prompt, text in zip(results, prompts[1:], texts[1:], strict=False):
        answer = decode_response(tokenizer, result.token_ids, engine.stop_ids)
        messages += [{"role": "assistant", "content": answer}, user(text)]
        assert tokenizer.decode(prompt) == chat.text(messages)
        assert prompt.count(chat.turn_end) == len(messages) + 1  # Of each message and of the template's system message.

    # One pass over the whole conversation gives what was sampled turn by turn.
    ids_1S = torch.tensor([[*prompts[-1], *results[-1].token_ids]])
    positions = [len(prompt) + i for prompt, r in zip(prompts, results, strict=True) for i in range(len(r.token_ids))]
    position_1T = torch.tensor([positions])
    mask_1T = torch.ones_like(position_1T, dtype=torch.bool)
    with torch.no_grad():
        logp_1T = score_responses(model, ids_1S, position_1T, mask_1T, 1.0).logp_BT
    sampled = torch.tensor([[value for result in results for value in result.logprobs]])
    assert torch.allclose(logp_1T, sampled, atol=2e-4)
