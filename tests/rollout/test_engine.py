"""The `transformers` engine's own promises beside the contract: passes, memory, modes, forbidden tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from sdar_gym.faults import take_faults
from sdar_gym.policy.errors import NonFiniteWeightsError
from sdar_gym.policy.slot_cache import SlotPass
from sdar_gym.rollout.engines import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.out_of_memory import EngineMemoryError
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
    model: Any = build()
    with torch.no_grad():
        model.lm_head.weight[7, 3] = torch.nan
    with pytest.raises(NonFiniteWeightsError, match=r"logits are not numbers .* last good checkpoint"):
        engine_of(model).generate(requests_of(), SamplingParams(4))


def play(engine: TransformersEngine, rows: int, turns: int, note: Callable[[], None] = lambda: None) -> list[Any]:
    """Conversations that grow by up to 10 tokens a turn; all responses, by conversation and turn."""
    responses: dict[tuple[int, int], GenerationResult] = {}
    asked = [GenerationRequest([5 + number % 10, 6], 100 * number, f"{number}") for number in range(rows)]

    def then(number: int, result: GenerationResult) -> GenerationRequest | None:
        note()
        turn = sum(key[0] == number for key in responses)
        responses[number, turn] = result
        if turn + 1 == turns:
            return None
        ids = [*asked[number].prompt_ids, *result.token_ids, 7, 8]
        asked[number] = GenerationRequest(ids, 100 * number + turn + 1, f"{number}")
        return asked[number]

    engine.converse(list(asked), SamplingParams(8), then)
    return [responses[key] for key in sorted(responses)]


def test_the_cache_keeps_within_its_bound_and_conversations_wait_for_each_other() -> None:
    model, sizes = build(), []
    free = play(engine_of(model), 12, 5)
    bound = 160
    engine = engine_of(model, max_cache_tokens=bound)
    # Two layers of keys and values, two heads of width 8 in single precision.
    tight = play(engine, 12, 5, lambda: sizes.append(engine._cache.nbytes / (2 * 2 * 2 * 8 * 4)))
    assert all(map(same, free, tight))
    assert max(sizes) <= bound
    assert max(sizes) > bound / 2
    # No session is left.
    assert len(engine._table) == 0


def test_waiting_sessions_make_room_for_running_conversations() -> None:
    model = build()
    engine = engine_of(model, max_cache_tokens=256)
    requests = [GenerationRequest([5 + number] * 20, number, f"{number}") for number in range(9)]
    first = [engine.generate([request], SamplingParams(4))[0] for request in requests]
    assert engine._cache.slots * engine._cache.capacity <= 256
    again = [
        GenerationRequest([*request.prompt_ids, *result.token_ids, 6], 7, request.session)
        for request, result in zip(requests, first, strict=True)
    ]
    results = [engine.generate([request], SamplingParams(4))[0] for request in (again[8], again[0])]
    assert [result.cached_tokens > 0 for result in results] == [True, False]
    assert_scored_right(model, [again[8], again[0]], results)


def test_a_slot_pass_reads_its_places_from_the_device_never() -> None:
    """On a GPU a read waits for all that was computed before; the `meta` device has nothing to read."""
    device = torch.device("meta")
    for slots, starts, counts in (([0, 1], [3, 3], [1, 1]), ([0, 1], [3, 5], [1, 1]), ([2, 0], [0, 4], [3, 1])):
        rows = SlotPass(slots, starts, counts, device)
        store, new = torch.empty(3, 2, 16, 4, device=device), torch.empty(2, 2, max(counts), 4, device=device)
        rows.write(store, new)
        assert rows.read(store).shape == (2, 2, rows.longest, 4)
        assert rows.longest >= max(start + count for start, count in zip(starts, counts, strict=True))


def test_errors_of_a_continuation_leave_the_engine_usable() -> None:
    model = build()
    engine = engine_of(model)
    requests = requests_of()

    def then(_number: int, _result: GenerationResult) -> GenerationRequest | None:
        with pytest.raises(RuntimeError, match="engine is sampling"):
            engine.reset_cache()
        raise KeyError("an environment")

    with pytest.raises(KeyError, match="an environment"):
        engine.converse(requests, SamplingParams(4), then)
    assert_scored_right(model, requests, engine.generate(requests, SamplingParams(4)))


def test_one_session_has_one_prompt_at_a_time() -> None:
    with pytest.raises(ValueError, match="the same session"):
        engine_of(build()).generate([GenerationRequest([5], n, "one") for n in range(2)], SamplingParams(4))


def run_out(model: PreTrainedModel, rows: int, *, message: str = "") -> Any:
    """Makes the model raise as an allocator does where a pass has more rows than this; returns how to end it."""

    def refuse(_module: Any, args: tuple[torch.Tensor]) -> None:
        if args[0].shape[0] > rows:
            raise RuntimeError(message) if message else torch.OutOfMemoryError("CUDA out of memory.")

    return model.get_input_embeddings().register_forward_pre_hook(refuse)


@pytest.mark.parametrize("message", ["", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"])
@pytest.mark.parametrize("rows", [1, 2])
def test_an_engine_out_of_memory_splits_its_batch_and_says_so(
    rows: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, params = build(), SamplingParams(12)
    whole = engine_of(model).generate(requests_of(), params)
    engine = engine_of(model)
    take_faults()
    handle = run_out(model, rows, message=message)
    try:
        assert all(map(same, whole, engine.generate(requests_of(), params)))
        splits = take_faults()["engine_out_of_memory"]
        assert splits >= 1 and len(caplog.records) == splits
        assert "out of memory with 6 conversations at once" in caplog.records[0].getMessage()
        # It stays with what fits.
        engine.generate(requests_of(), params)
        assert take_faults().get("engine_out_of_memory", 0) == 0
    finally:
        handle.remove()


def test_conversations_go_on_where_the_engine_was_out_of_memory() -> None:
    model, params = build(), SamplingParams(6)

    def play(engine: TransformersEngine) -> list[tuple[int, list[int]]]:
        told: list[tuple[int, list[int]]] = []

        def then(number: int, result: GenerationResult) -> GenerationRequest | None:
            told.append((number, result.token_ids))
            turns = sum(each == number for each, _ in told)
            longer = [*PROMPTS[number], *result.token_ids, 5]
            return GenerationRequest(longer, 100 * number + turns, f"s{number}") if turns < 3 else None

        first = [GenerationRequest(prompt, number, f"s{number}") for number, prompt in enumerate(PROMPTS)]
        engine.converse(first, params, then)
        return sorted(told, key=lambda each: each[0])

    whole = play(engine_of(model))
    handle = run_out(model, 2)
    try:
        assert play(engine_of(model)) == whole
    finally:
        handle.remove()


def test_an_engine_without_memory_for_one_conversation_says_what_to_do() -> None:
    model = build()
    engine = engine_of(model)
    handle = run_out(model, 0)
    try:
        with pytest.raises(EngineMemoryError, match=r"out of memory with one conversation.*max_prompt_tokens"):
            engine.generate(requests_of(), SamplingParams(4))
    finally:
        handle.remove()
    assert len(engine.generate(requests_of(), SamplingParams(4))) == len(PROMPTS)


def test_other_errors_are_no_shortage_of_memory() -> None:
    model = build()
    handle = run_out(model, 0, message="index out of range")
    try:
        with pytest.raises(RuntimeError, match="index out of range"):
            engine_of(model).generate(requests_of(), SamplingParams(4))
    finally:
        handle.remove()
