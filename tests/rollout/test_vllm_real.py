"""The vLLM engine with vLLM itself, on the CPU: log-probabilities, draws, conversations, weights, several processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from sdar_gym.policy.warmstart import save_policy
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from sdar_gym.configs.sections import LoraSettings, PolicySettings, RolloutSettings, VllmSettings
from sdar_gym.policy.lora import Adapters
from sdar_gym.rollout.engines import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.registry import EngineSpec, build_engine
from sdar_gym.rollout.engines.vllm_engine import VllmEngine

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("vllm_cpu")]
# Single precision on both sides.
NEAR = 2e-5
PROMPTS = [[5, 9, 7, 30, 12], [6] * 9, [20 + number % 50 for number in range(150)]]
REQUESTS = [GenerationRequest(PROMPTS[number % 3], 1000 + number) for number in range(9)]
FREE = SamplingParams(16)


def model_of(tokenizer: Any, *, tied: bool) -> PreTrainedModel:
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 2,  # Two rows of the head have no token.
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        initializer_range=0.1,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config).eval()


def engine_of(folder: Path, tokenizer: Any, *, lora: LoraSettings | None = None, **rollout: Any) -> VllmEngine:
    settings = RolloutSettings(engine="vllm", **{"max_prompt_tokens": 200, "max_response_tokens": 40, **rollout})
    policy = PolicySettings(model=str(folder), device="cpu", torch_threads=1, lora=lora)
    engine = build_engine(EngineSpec(policy, settings, torch.device("cpu"), tokenizer))
    assert isinstance(engine, VllmEngine)
    return engine


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(request: Any, tokenizer: Any, tmp_path_factory: Any) -> Iterator[tuple[VllmEngine, PreTrainedModel]]:
    """An engine, and the model with the weights that it has."""
    model = model_of(tokenizer, tied=request.param)
    folder = tmp_path_factory.mktemp("model")
    save_policy(model, tokenizer, folder)
    engine = engine_of(folder, tokenizer, max_batch_tokens=256)
    yield engine, model
    engine.close()


@torch.inference_mode()
def reference(model: PreTrainedModel, request: GenerationRequest, tokens: list[int], params: SamplingParams) -> Any:
    """Log-probabilities of a response by one forward pass of the whole sequence, under the truncated distribution."""
    prompt = list(request.prompt_ids)
    logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    logits[:, -2:] = -torch.inf
    if params.temperature:
        logits = logits / params.temperature
        if params.top_k:
            least = logits.topk(params.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if params.top_p < 1:
            ordered, order = logits.softmax(-1).sort(descending=True)
            late = ordered.cumsum(-1) - ordered >= params.top_p
            logits = logits.masked_fill(torch.zeros_like(late).scatter(1, order, late), -torch.inf)
    return logits.log_softmax(-1)[range(len(tokens)), tokens]


def furthest(
    model: PreTrainedModel, requests: list[GenerationRequest], results: list[GenerationResult], params: SamplingParams
) -> float:
    pairs = zip(requests, results, strict=True)
    return max(
        float((torch.tensor(result.logprobs) - reference(model, request, result.token_ids, params)).abs().max())
        for request, result in pairs
    )


def changed(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Gives a model other weights."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    return model.state_dict()


@pytest.mark.parametrize(
    "params",
    [
        FREE,
        SamplingParams(16, 0.7),
        SamplingParams(16, 1.0, top_k=5),
        SamplingParams(16, 0.8, top_p=0.9),
        SamplingParams(16, 1.3, top_p=0.8, top_k=20),
        SamplingParams(16, 0.0),
        SamplingParams(16, 0.0, top_p=0.5, top_k=3),
    ],
    ids=str,
)
def test_log_probabilities_are_those_of_a_whole_forward_pass(
    pair: tuple[VllmEngine, PreTrainedModel], params: SamplingParams
) -> None:
    engine, model = pair
    results = engine.generate(REQUESTS, params)
    assert furthest(model, REQUESTS, results, params) < NEAR
    assert all(1 <= len(result.token_ids) <= 16 for result in results)
    assert max(max(result.token_ids) for result in results) < model.config.vocab_size - 2


def test_draws_depend_on_the_seed_alone(pair: tuple[VllmEngine, PreTrainedModel]) -> None:
    engine, _ = pair
    tokens = [result.token_ids for result in engine.generate(REQUESTS, FREE)]
    assert tokens[0] != tokens[3]
    assert [result.token_ids for result in engine.generate(REQUESTS[::-1], FREE)] == tokens[::-1]
    assert [engine.generate([request], FREE)[0].token_ids for request in REQUESTS] == tokens
    # More prompts than are read at once.
    many = [GenerationRequest([7] * 30 + [number], number) for number in range(40)]
    assert [engine.generate([request], FREE)[0].token_ids for request in many[-2:]] == [
        result.token_ids for result in engine.generate(many, FREE)[-2:]
    ]


def test_any_of_the_stop_tokens_ends_a_response_and_belongs_to_it(
    pair: tuple[VllmEngine, PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = pair
    free = engine.generate(REQUESTS[:3], SamplingParams(8))
    first, second = free[0].token_ids[1], free[1].token_ids[2]
    monkeypatch.setattr(engine, "stop_ids", (*engine.stop_ids, first, second))
    for result, before in zip(engine.generate(REQUESTS[:3], SamplingParams(8)), free, strict=True):
        ends = [at for at, token in enumerate(before.token_ids) if token in engine.stop_ids]
        expected = before.token_ids[: ends[0] + 1] if ends else before.token_ids
        assert (result.token_ids, result.finish_reason) == (expected, "stop" if ends else "length")


def test_conversations_go_on_by_themselves_and_read_what_is_new(pair: tuple[VllmEngine, PreTrainedModel]) -> None:
    engine, model = pair
    engine.reset_cache()
    asked = {number: GenerationRequest([*PROMPTS[2][:130], number], number, str(number)) for number in range(2)}
    # The longest sequence is 440 tokens, so the last one's turns have one token each.
    asked[2] = GenerationRequest([9] * 439, 2, "2")
    turns: list[tuple[int, int]] = []

    def then(number: int, result: GenerationResult) -> GenerationRequest | None:
        request = asked[number]
        turns.append((number, result.cached_tokens))
        assert furthest(model, [request], [result], FREE) < NEAR
        if sum(each == number for each, _ in turns) == 3:
            return None
        history = [*request.prompt_ids, *result.token_ids, 11, 12]
        asked[number] = GenerationRequest(history[:439], 10 * len(turns), str(number))
        return asked[number]

    engine.converse(list(asked.values()), SamplingParams(16), then)
    assert [number for number, _ in turns][:3] == [2, 2, 2]
    assert sorted(number for number, _ in turns[3:]) == [0, 0, 0, 1, 1, 1]
    # vLLM keeps keys and values in blocks of 128 tokens on the CPU.
    assert [cached for number, cached in turns if number == 0][1:] == [128, 128]


def test_new_weights_replace_the_old_ones_with_their_keys_and_values(pair: tuple[VllmEngine, PreTrainedModel]) -> None:
    engine, model = pair
    long = [REQUESTS[2]]
    assert engine.generate(long, FREE)[0].cached_tokens in (0, 128)
    old = engine.generate(long, FREE)[0]
    assert old.cached_tokens == 128
    engine.update_weights(changed(model), 5)
    new = engine.generate(long, FREE)[0]
    assert (new.cached_tokens, new.weight_version) == (0, 5)
    assert furthest(model, long, [new], FREE) < NEAR
    assert furthest(model, long, [old], FREE) > 0.01
    # Without the second name of a tied head too.
    tied, state = model.config.tie_word_embeddings, changed(model)
    engine.update_weights({name: state[name] for name in state if name != "lm_head.weight" or not tied}, 6)
    assert furthest(model, REQUESTS, engine.generate(REQUESTS, FREE), FREE) < NEAR


def test_after_an_error_in_a_conversation_it_goes_on(pair: tuple[VllmEngine, PreTrainedModel]) -> None:
    engine, model = pair

    def fails(number: int, result: GenerationResult) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        engine.converse([REQUESTS[0], GenerationRequest(PROMPTS[1], 0)], SamplingParams(1), fails)
    engine.update_weights(model.state_dict(), 7)
    assert furthest(model, REQUESTS, engine.generate(REQUESTS, FREE), FREE) < NEAR


def test_adapters_are_replaced(tokenizer: Any, tmp_path: Path) -> None:
    model = model_of(tokenizer, tied=True)
    save_policy(model, tokenizer, tmp_path)
    settings = LoraSettings(r=3, alpha=6.0)
    engine = engine_of(tmp_path, tokenizer, lora=settings)
    assert furthest(model, REQUESTS, engine.generate(REQUESTS, FREE), FREE) < NEAR
    adapters = Adapters(model, **asdict(settings))
    model.eval()
    old: list[GenerationResult] = []
    for version in (1, 2):
        with torch.no_grad():
            for parameter in adapters.parameters():
                parameter.copy_(0.2 * torch.randn_like(parameter))
        state = {name: tensor for name, tensor in model.state_dict().items() if name in adapters.names()}
        engine.update_weights(state, version)
        results = engine.generate(REQUESTS, FREE)
        assert furthest(model, REQUESTS, results, FREE) < NEAR
        if old:
            assert furthest(model, REQUESTS, old, FREE) > 0.01
        old = results
    engine.close()


def test_several_processes_share_the_layers(tokenizer: Any, tmp_path: Path) -> None:
    model = model_of(tokenizer, tied=True)
    save_policy(model, tokenizer, tmp_path)
    engine = engine_of(tmp_path, tokenizer, vllm=VllmSettings(tensor_parallel_size=2))
    try:
        assert furthest(model, REQUESTS, engine.generate(REQUESTS, FREE), FREE) < NEAR
        engine.update_weights(changed(model), 1)
        results = engine.generate(REQUESTS, FREE)
        assert results[2].cached_tokens == 0 and results[2].weight_version == 1
        assert furthest(model, REQUESTS, results, FREE) < NEAR
    finally:
        engine.close()
