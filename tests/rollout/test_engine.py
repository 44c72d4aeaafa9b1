"""The engine against plain forward passes of real, very small models with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from sdar_gym.policy.errors import NonFiniteWeightsError
from sdar_gym.rollout.engines import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.transformers_engine import TransformersEngine

VOCABULARY, PAD = 24, 0
STOPS = (1, 2, 3, 4)
# Different lengths, and one prompt three times.
PROMPTS = ([5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [5, 6, 7], [16, 17, 18, 19], [5, 6, 7])


def build(kind: str = "qwen3", *, tied: bool = True, seed: int = 0) -> PreTrainedModel:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    ids = {"bos_token_id": None, "eos_token_id": STOPS[0], "pad_token_id": PAD}
    rest: dict[str, Any] = {**sizes, **heads, **ids, "tie_word_embeddings": tied}
    torch.manual_seed(seed)
    if kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**rest, head_dim=8))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**rest))
    # The usual small initial weights make all distributions nearly uniform, which hides mistakes.
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.35)
    return model.eval()


def engine_of(model: PreTrainedModel, **settings: Any) -> TransformersEngine:
    return TransformersEngine(model, **{"stop_ids": STOPS, "pad_id": PAD, **settings})


def requests_of(prompts: Any = PROMPTS, first_seed: int = 0) -> list[GenerationRequest]:
    return [GenerationRequest(prompt, first_seed + number) for number, prompt in enumerate(prompts)]


def reference(model: PreTrainedModel, prompt: Any, answer: list[int], temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities of all tokens at every answer position, from one pass over the whole sequence."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0].float()
    return torch.log_softmax(logits[len(prompt) - 1 : -1] / temperature, dim=-1)


def assert_scored_right(
    model: PreTrainedModel, requests: list[GenerationRequest], results: list[GenerationResult], temperature: float = 1.0
) -> None:
    for request, result in zip(requests, results, strict=True):
        logp = reference(model, request.prompt_ids, result.token_ids, temperature)
        expected = logp.gather(1, torch.tensor(result.token_ids)[:, None]).squeeze(1)
        assert (expected - torch.tensor(result.logprobs)).abs().max() < 1e-4


@contextmanager
def forward_shapes(model: PreTrainedModel) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of the ids that the model's embedding is given, pass by pass."""
    shapes: list[tuple[int, ...]] = []

    def note(_module: Any, args: tuple[torch.Tensor]) -> None:
        shapes.append(tuple(args[0].shape))

    handle = model.get_input_embeddings().register_forward_pre_hook(note)
    yield shapes
    handle.remove()


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["qwen3", "qwen2"])
def test_log_probabilities_are_those_of_a_full_forward_pass(kind: str, tied: bool, temperature: float) -> None:
    model = build(kind, tied=tied)
    requests = requests_of()
    results = engine_of(model).generate(requests, SamplingParams(12, temperature))
    assert_scored_right(model, requests, results, temperature)
    assert len({len(result.token_ids) for result in results}) > 1


def test_temperature_zero_takes_the_most_likely_token_and_scores_it_at_one() -> None:
    model = build()
    requests = requests_of()
    results = engine_of(model).generate(requests, SamplingParams(10, 0.0))
    for request, result in zip(requests, results, strict=True):
        assert reference(model, request.prompt_ids, result.token_ids).argmax(dim=-1).tolist() == result.token_ids
    assert_scored_right(model, requests, results)
    assert results[0].token_ids == results[3].token_ids


def same(left: GenerationResult, right: GenerationResult) -> bool:
    return (
        left.token_ids == right.token_ids
        and left.finish_reason == right.finish_reason
        and torch.allclose(torch.tensor(left.logprobs), torch.tensor(right.logprobs), atol=1e-5)
    )


def test_draws_depend_neither_on_the_other_rows_nor_on_their_order_nor_on_batches() -> None:
    model, params = build(), SamplingParams(12)
    requests = requests_of()
    together = engine_of(model).generate(requests, params)
    alone = [engine_of(model).generate([request], params)[0] for request in requests]
    backwards = engine_of(model).generate(requests[::-1], params)[::-1]
    for budget in (1, 8, 20):
        batched = engine_of(model, max_batch_tokens=budget).generate(requests, params)
        assert all(map(same, together, batched))
    assert all(map(same, together, alone))
    assert all(map(same, together, backwards))


def test_only_the_seed_decides_what_one_prompt_is_answered() -> None:
    engine, params = engine_of(build()), SamplingParams(12)
    first, again, other = engine.generate([GenerationRequest(PROMPTS[0], seed) for seed in (3, 3, 4)], params)
    assert same(first, again)
    assert first.token_ids != other.token_ids
    longer = engine.generate([GenerationRequest(PROMPTS[0], 3)], SamplingParams(20))[0]
    assert longer.token_ids[: len(first.token_ids)] == first.token_ids
    assert engine.generate([GenerationRequest(PROMPTS[0], 2**64 - 1)], params)[0].token_ids


def test_what_stands_in_the_padding_does_not_matter() -> None:
    model, params = build(), SamplingParams(8)
    results = [engine_of(model, pad_id=pad).generate(requests_of(), params) for pad in (PAD, 17)]
    assert all(map(same, *results))


def test_an_answer_ends_with_its_stop_token_or_at_the_limit() -> None:
    model = build()
    stops = set(STOPS)
    results = engine_of(model, stop_ids=[*STOPS, *STOPS]).generate(requests_of([PROMPTS[0]] * 40), SamplingParams(6))
    assert {result.finish_reason for result in results} == {"stop", "length"}
    for result in results:
        ended = result.finish_reason == "stop"
        assert (result.token_ids[-1] in stops) == ended
        assert not stops & set(result.token_ids[:-1])
        assert ended or len(result.token_ids) == 6
        assert len(result.logprobs) == len(result.token_ids)
    # A stop token that comes with the last allowed token is a stop.
    one = engine_of(model, stop_ids=range(VOCABULARY)).generate(requests_of(), SamplingParams(1))
    assert {(result.finish_reason, len(result.token_ids)) for result in one} == {("stop", 1)}


def test_rows_that_have_ended_leave_the_batch_and_equal_prompts_are_read_once() -> None:
    model = build()
    requests = requests_of([*PROMPTS, *[PROMPTS[4]] * 10])
    with forward_shapes(model) as shapes:
        results = engine_of(model).generate(requests, SamplingParams(12))
    lengths = [len(result.token_ids) for result in results]
    assert len(set(lengths)) > 3
    prefill, *decodes = shapes
    assert prefill == (len({tuple(request.prompt_ids) for request in requests}), 7)
    # Before token n + 1 is drawn, the rows with more than n tokens are fed their last one.
    assert decodes == [(sum(length > n for length in lengths), 1) for n in range(1, max(lengths))]


def test_no_batch_reads_more_prompt_tokens_than_allowed() -> None:
    model = build()
    prompts = [[5 + number % 15] * (number + 1) for number in range(9)]
    with forward_shapes(model) as shapes:
        engine_of(model, max_batch_tokens=16).generate(requests_of(prompts), SamplingParams(1))
    assert sum(rows for rows, _ in shapes) == len(prompts)
    assert all(rows * width <= 16 for rows, width in shapes)
    assert len(shapes) < len(prompts)


def test_draws_have_the_frequencies_of_the_distribution() -> None:
    model, count = build(), 4000
    for temperature in (1.0, 0.7):
        requests = requests_of([PROMPTS[2]] * count)
        results = engine_of(model).generate(requests, SamplingParams(1, temperature))
        seen = torch.bincount(torch.tensor([result.token_ids[0] for result in results]), minlength=VOCABULARY)
        expected = reference(model, PROMPTS[2], [PAD], temperature)[0].exp() * count
        common = expected >= 5
        statistic = (((seen - expected) ** 2) / expected)[common].sum().item()
        # Mean k, variance 2k: four standard deviations.
        freedom = int(common.sum())
        assert freedom > 5
        assert statistic < freedom + 4 * (2 * freedom) ** 0.5
        assert seen[~common].sum() <= expected[~common].sum() + 4 * expected[~common].sum().sqrt() + 1


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_new_weights_answer_the_same_prompts_anew(tied: bool) -> None:
    model, params, requests = build(tied=tied), SamplingParams(10), requests_of()
    engine = engine_of(model)
    before = engine.generate(requests, params)
    fresh = build(tied=tied, seed=1)
    engine.update_weights(fresh.state_dict(), 7)
    after = engine.generate(requests, params)
    assert {result.weight_version for result in before} == {0}
    assert {result.weight_version for result in after} == {7}
    assert [result.token_ids for result in before] != [result.token_ids for result in after]
    assert_scored_right(fresh, requests, after)
    assert all(map(same, after, engine_of(fresh).generate(requests, params)))


def test_weights_of_another_model_are_refused() -> None:
    state = build().state_dict()
    state.pop("model.norm.weight")
    with pytest.raises(ValueError, match=r"1 tensors are missing, model\.norm\.weight among them"):
        engine_of(build()).update_weights(state, 1)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(training: bool) -> None:
    model = build().train(training)
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    requests = requests_of()
    results = engine_of(model).generate(requests, SamplingParams(5))
    assert model.training is training
    assert_scored_right(model.eval(), requests, results)


def test_no_requests_no_answers() -> None:
    assert engine_of(build()).generate([], SamplingParams(3)) == []


def test_the_engine_says_what_it_is() -> None:
    info = engine_of(build()).info()
    assert (info["backend"], info["dtype"], info["max_len"]) == ("transformers", "float32", 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SamplingParams(0), "max_tokens must be at least 1, got 0"),
        (lambda: SamplingParams(1, -0.1), "temperature must not be negative"),
    ],
)
def test_senseless_sampling_is_refused(make: Callable[[], SamplingParams], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_ids_without_a_token_are_never_drawn_and_scores_stay_those_of_the_learner(temperature: float) -> None:
    model = build()
    requests = requests_of(PROMPTS * 8)
    plain = engine_of(model).generate(requests, SamplingParams(12, temperature))
    drawn = {token for result in plain for token in result.token_ids}
    forbidden = sorted(drawn - set(STOPS))[:4]
    results = engine_of(model, forbidden_ids=forbidden).generate(requests, SamplingParams(12, temperature))
    assert not {token for result in results for token in result.token_ids} & set(forbidden)
    assert_scored_right(model, requests, results)


def test_logits_that_are_no_numbers_are_named_and_nothing_is_drawn() -> None:
    model = build()
    with torch.no_grad():
        model.get_output_embeddings().weight[7, 3] = torch.nan
    with pytest.raises(NonFiniteWeightsError, match=r"logits are not numbers .* last good checkpoint"):
        engine_of(model).generate(requests_of(), SamplingParams(4))
