"""The engine contract as tests: a class of them that every engine inherits, with models small enough for any machine.

A test class of an engine derives from `EngineContract` and implements `make`. Results are compared with plain forward
passes of the model, within `tolerance`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from sdar_gym.rollout.engines import Engine, GenerationRequest, GenerationResult, SamplingParams

VOCABULARY, LONGEST = 40, 320
# Two end tokens, both likely enough to be sampled.
STOPS = (1, 2)
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": LONGEST,
    "bos_token_id": None,
    "eos_token_id": STOPS[0],
    "pad_token_id": 0,
}


def with_random_weights(kind: Any, config: PreTrainedConfig, seed: int) -> Any:
    """A model whose distributions are far from uniform, as those of the usual small weights are not."""
    torch.manual_seed(seed)
    model = kind(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.18)
    return model.eval()


def prompt(seed: int, length: int) -> list[int]:
    """Random tokens without end tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()


# Different lengths, one prompt three times, and two that begin alike.
_SHARED = prompt(7, 150)
PROMPTS = (prompt(1, 3), prompt(2, 1), prompt(3, 17), prompt(1, 3), [*_SHARED, 5], [*_SHARED, 6, 7, 8], prompt(1, 3))


def requests_of(prompts: Sequence[Sequence[int]] = PROMPTS, first_seed: int = 0) -> list[GenerationRequest]:
    return [GenerationRequest(ids, first_seed + number) for number, ids in enumerate(prompts)]


def whole_logp(model: PreTrainedModel, start: Sequence[int], answer: Sequence[int], temperature: float = 1.0) -> Any:
    """Log-probabilities of the vocabulary at every answer position, by one plain pass over the whole sequence."""
    with torch.no_grad():
        ids = torch.tensor([[*start, *answer]], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0].float().cpu()
    return torch.log_softmax(logits[len(start) - 1 : -1] / temperature, dim=-1)


def restricted(logp: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """What top-k, then top-p leave of one distribution: written for reading, one token after the other."""
    ranked = logp.argsort(descending=True).tolist()
    kept = ranked[: params.top_k] if params.top_k else ranked
    total = float(logp[kept].exp().sum())
    taken, share = [], 0.0
    for token in kept:
        if share >= params.top_p:
            break
        taken.append(token)
        share += float(logp[token].exp()) / total
    result = torch.full_like(logp, -torch.inf)
    result[taken] = torch.log_softmax(logp[taken], dim=0)
    return result


class EngineContract:
    """Tests of one engine.

    Attributes:
        tolerance: Largest difference of a log-probability.
        exact: Whether equal seeds must give equal tokens in every batch; rounding may flip a draw in half precision.
    """

    tolerance = 1e-4
    exact = True

    def model(self, *, tied: bool = True, seed: int = 0) -> Any:
        """The model of the tests; the head's width is one that all engines accept."""
        return with_random_weights(Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=tied), seed)

    def make(self, model: PreTrainedModel, stop_ids: Sequence[int]) -> Engine:
        """Builds an engine with a copy of the model's weights, or around the model itself."""
        raise NotImplementedError

    @pytest.fixture
    def policy(self) -> PreTrainedModel:
        return self.model()

    @pytest.fixture
    def engine(self, policy: PreTrainedModel) -> Iterator[Engine]:
        engine = self.make(policy, STOPS)
        yield engine
        engine.close()

    def assert_scored_right(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        results: Sequence[GenerationResult],
        params: SamplingParams,
    ) -> None:
        assert len(requests) == len(results)
        for request, result in zip(requests, results, strict=True):
            assert len(result.logprobs) == len(result.token_ids) > 0
            logp = whole_logp(model, request.prompt_ids, result.token_ids, params.temperature or 1.0)
            if params.temperature and (params.top_k or params.top_p < 1):
                if not self.exact:  # Rounding decides which tokens are left.
                    continue
                logp = torch.stack([restricted(row, params) for row in logp])
            expected = logp.gather(1, torch.tensor(result.token_ids)[:, None]).squeeze(1)
            assert (expected - torch.tensor(result.logprobs)).abs().max() < self.tolerance

    def assert_same(self, left: Sequence[GenerationResult], right: Sequence[GenerationResult]) -> None:
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            if self.exact:
                assert (one.token_ids, one.finish_reason) == (other.token_ids, other.finish_reason)
            # In half precision, up to the first draw that differs.
            pairs = zip(one.token_ids, other.token_ids, one.logprobs, other.logprobs, strict=False)
            for token, its, logp, its_logp in pairs:
                if token != its:
                    break
                assert abs(logp - its_logp) < 2 * self.tolerance

    @pytest.mark.parametrize(
        "params",
        [
            SamplingParams(12),
            SamplingParams(12, 0.6),
            SamplingParams(12, 1.7),
            SamplingParams(12, 0.0),
            SamplingParams(12, 1.0, top_k=3),
            SamplingParams(12, 0.8, top_p=0.7),
            SamplingParams(12, 1.3, top_p=0.9, top_k=6),
        ],
        ids=str,
    )
    def test_log_probabilities_are_those_of_the_distribution_that_was_drawn_from(
        self, policy: PreTrainedModel, engine: Engine, params: SamplingParams
    ) -> None:
        requests = requests_of()
        results = engine.generate(requests, params)
        self.assert_scored_right(policy, requests, results, params)

    def test_temperature_zero_takes_the_most_likely_token(self, policy: PreTrainedModel, engine: Engine) -> None:
        if not self.exact:
            pytest.skip("In half precision two tokens may be equally likely.")
        requests = requests_of()
        for request, result in zip(requests, engine.generate(requests, SamplingParams(8, 0.0)), strict=True):
            assert whole_logp(policy, request.prompt_ids, result.token_ids).argmax(dim=-1).tolist() == result.token_ids

    def test_draws_have_the_frequencies_of_the_distribution(self, policy: PreTrainedModel, engine: Engine) -> None:
        count, params = 1500, SamplingParams(1, 0.9, top_p=0.95)
        results = engine.generate(requests_of([PROMPTS[2]] * count), params)
        seen = torch.bincount(torch.tensor([result.token_ids[0] for result in results]), minlength=VOCABULARY)
        expected = restricted(whole_logp(policy, PROMPTS[2], [3], 0.9)[0], params).exp() * count
        common = expected >= 5
        freedom = int(common.sum())
        assert freedom > 5
        # Mean k, variance 2k: four standard deviations.
        assert (((seen - expected) ** 2) / expected)[common].sum() < freedom + 4 * (2 * freedom) ** 0.5
        if self.exact:
            assert not seen[expected == 0].any()

    def test_draws_depend_on_the_seed_alone(self, policy: PreTrainedModel, engine: Engine) -> None:
        requests, params = requests_of(), SamplingParams(10)
        together = engine.generate(requests, params)
        self.assert_same(engine.generate(requests[::-1], params)[::-1], together)
        self.assert_same([engine.generate([request], params)[0] for request in requests], together)
        engine.reset_cache()
        self.assert_same(engine.generate(requests, params), together)
        others = engine.generate(requests_of(first_seed=100), params)
        assert [result.token_ids for result in others] != [result.token_ids for result in together]
        # Seeds of 64 bits are what the collector gives.
        assert engine.generate([GenerationRequest(PROMPTS[0], 2**64 - 1)], params)[0].token_ids

    def test_samples_of_one_prompt_differ(self, policy: PreTrainedModel, engine: Engine) -> None:
        requests, params = requests_of([PROMPTS[4]] * 8), SamplingParams(10)
        results = engine.generate(requests, params)
        self.assert_scored_right(policy, requests, results, params)
        assert len({tuple(result.token_ids) for result in results}) > 1
        assert engine.generate([], params) == []

    def test_a_response_ends_with_any_stop_token_or_at_the_limit(self, engine: Engine) -> None:
        results = engine.generate(requests_of([PROMPTS[0]] * 64), SamplingParams(10))
        assert {result.token_ids[-1] for result in results if result.finish_reason == "stop"} == set(STOPS)
        assert {result.finish_reason for result in results} == {"stop", "length"}
        assert tuple(sorted(engine.stop_ids)) == STOPS
        for result in results:
            assert not set(STOPS) & set(result.token_ids[:-1])
            ended = result.token_ids[-1] in STOPS
            assert result.finish_reason == ("stop" if ended else "length")
            assert ended or len(result.token_ids) == 10

    def test_a_response_ends_where_the_context_is_full(self, policy: PreTrainedModel, engine: Engine) -> None:
        length, params = engine.info()["max_len"], SamplingParams(30)
        requests = requests_of([prompt(seed, length - room) for seed, room in enumerate((3, 3, 3, 1, 1, 20))])
        results = engine.generate(requests, params)
        self.assert_scored_right(policy, requests, results, params)
        for request, result in zip(requests, results, strict=True):
            room = length - len(request.prompt_ids)
            assert len(result.token_ids) == room or result.finish_reason == "stop"
        assert "length" in {result.finish_reason for result in results}

    @pytest.mark.parametrize("more", [0, 1, 50])
    def test_a_prompt_that_leaves_no_room_is_refused(self, engine: Engine, more: int) -> None:
        too_long = GenerationRequest(prompt(0, engine.info()["max_len"] + more), 0)
        with pytest.raises(ValueError, match=str(len(too_long.prompt_ids))):
            engine.generate([*requests_of(), too_long], SamplingParams(4))
        assert len(engine.generate(requests_of(), SamplingParams(4))) == len(PROMPTS)

    def converse(
        self, engine: Engine, params: SamplingParams, *, turns: int = 4, sessions: bool = True, rows: int = 5
    ) -> list[tuple[GenerationRequest, GenerationResult]]:
        """Plays conversations of different lengths, and returns every turn with its request."""
        played: dict[tuple[int, int], tuple[GenerationRequest, GenerationResult]] = {}
        now: dict[int, tuple[int, GenerationRequest]] = {}

        def request(number: int, turn: int, ids: Sequence[int]) -> GenerationRequest:
            made = GenerationRequest(ids, 1000 * number + turn, f"{number}" if sessions else None)
            now[number] = (turn, made)
            return made

        def then(number: int, result: GenerationResult) -> GenerationRequest | None:
            turn, asked = now[number]
            played[number, turn] = (asked, result)
            if turn + 1 == turns - number % 2:
                return None
            observed = prompt(10 * number + turn, 4 + 3 * number)
            return request(number, turn + 1, [*asked.prompt_ids, *result.token_ids, *observed])

        firsts = [request(number, 0, [*_SHARED[: 130 + number], 3 + number]) for number in range(rows)]
        engine.converse(firsts, params, then)
        assert set(played) == {(n, turn) for n in range(rows) for turn in range(turns - n % 2)}
        return [played[key] for key in sorted(played)]

    @pytest.mark.parametrize("params", [SamplingParams(8), SamplingParams(8, 0.7, top_p=0.9)], ids=str)
    def test_every_turn_of_a_conversation_is_scored_right(
        self, policy: PreTrainedModel, engine: Engine, params: SamplingParams
    ) -> None:
        turns = self.converse(engine, params)
        requests, results = zip(*turns, strict=True)
        self.assert_scored_right(policy, requests, results, params)
        for request, result in turns:
            assert 0 <= result.cached_tokens < len(request.prompt_ids) or result.cached_tokens == 0
            if request.seed % 1000:
                assert result.cached_tokens > 0

    def test_conversations_are_the_same_without_sessions_and_in_any_engine(
        self, policy: PreTrainedModel, engine: Engine
    ) -> None:
        params = SamplingParams(8)
        turns = [result for _, result in self.converse(engine, params)]
        self.assert_same([result for _, result in self.converse(engine, params, sessions=False)], turns)
        if self.exact:
            requests = [request for request, _ in self.converse(engine, params)]
            engine.reset_cache()
            self.assert_same([engine.generate([request], params)[0] for request in requests], turns)

    def test_sessions_of_several_calls_are_continued_and_closed(self, policy: PreTrainedModel, engine: Engine) -> None:
        params = SamplingParams(6)
        first = GenerationRequest(_SHARED, 1, "one")
        [answer] = engine.generate([first], params)
        second = GenerationRequest([*_SHARED, *answer.token_ids, 9, 9, 9], 2, "one")
        [continued] = engine.generate([second], params)
        assert continued.cached_tokens > 0
        self.assert_scored_right(policy, [first, second], [answer, continued], params)
        # A prompt that does not begin with what the session has is read anew.
        other = GenerationRequest(prompt(50, 60), 3, "one")
        self.assert_scored_right(policy, [other], engine.generate([other], params), params)
        engine.close_session("one")
        engine.close_session("nobody")
        engine.reset_cache()
        [fresh] = engine.generate([second], params)
        assert fresh.cached_tokens == 0
        self.assert_same([fresh], [continued])

    @pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
    def test_new_weights_are_used_in_every_part_and_old_keys_are_forgotten(self, tied: bool) -> None:
        # The engine may share the model, so the weights of the other one are taken twice.
        new, params, requests = self.model(tied=tied, seed=1), SamplingParams(8), requests_of()
        engine = self.make(self.model(tied=tied), STOPS)
        before = engine.generate(requests, params)
        [opened] = engine.generate([GenerationRequest(_SHARED, 1, "open")], params)
        engine.update_weights(new.state_dict(), 7)
        after = engine.generate(requests, params)
        self.assert_scored_right(new, requests, after, params)
        assert [result.logprobs[0] for result in after] != [result.logprobs[0] for result in before]
        assert {result.weight_version for result in before} == {0}
        assert {result.weight_version for result in after} == {7}
        engine.update_weights(self.model(tied=tied).state_dict(), 8)
        engine.update_weights(new.state_dict(), 9)
        goes_on = GenerationRequest([*_SHARED, *opened.token_ids, 9], 2, "open")
        [result] = engine.generate([goes_on], params)
        assert (result.cached_tokens, result.weight_version) == (0, 9)
        self.assert_scored_right(new, [goes_on], [result], params)
        engine.close()

    def test_weights_of_another_model_are_refused_and_nothing_changes(self, engine: Engine) -> None:
        params, requests = SamplingParams(6), requests_of()
        before = engine.generate(requests, params)
        state = self.model(seed=1).state_dict()
        state.pop(next(name for name in state if name.endswith("norm.weight") or name.endswith("ln_f.weight")))
        with pytest.raises(ValueError, match="tensors are missing"):
            engine.update_weights(state, 1)
        self.assert_same(engine.generate(requests, params), before)

    def test_sleep_and_wake_change_no_result(self, engine: Engine) -> None:
        requests, params = requests_of(), SamplingParams(6)
        before = engine.generate(requests, params)
        engine.sleep()
        engine.wake()
        self.assert_same(engine.generate(requests, params), before)

    def test_the_engine_says_what_it_is(self, engine: Engine) -> None:
        info = engine.info()
        assert {"backend", "version", "dtype", "max_len"} <= set(info)
        assert info["max_len"] <= LONGEST

    def test_closing_twice_is_no_error(self) -> None:
        engine = self.make(self.model(), STOPS)
        engine.generate(requests_of(), SamplingParams(2))
        engine.close()
        engine.close()
