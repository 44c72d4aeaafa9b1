"""A stand-in for vLLM 0.32: the names that the engine uses, and a model that counts up by one modulo its vocabulary."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict

import torch
from safetensors import safe_open

from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams

__all__ = ["LLM", "SamplingParams", "TokensPrompt"]
VOCABULARY = 24


class TokensPrompt(TypedDict):
    prompt_token_ids: list[int]


@dataclass
class Logprob:
    logprob: float


@dataclass
class _Request:
    prompt: list[int]
    params: SamplingParams
    tokens: list[int] = field(default_factory=list)


class _Core:
    def __init__(self, log: list[tuple[str, Any]]):
        self._log = log

    def shutdown(self) -> None:
        self._log.append(("shutdown", None))


class LLMEngine:
    def __init__(self, options: dict[str, Any], log: list[tuple[str, Any]]):
        self.model_config = SimpleNamespace(
            max_model_len=options.get("max_model_len", 64), dtype=getattr(torch, options.get("dtype", "float32"))
        )
        self.engine_core = _Core(log)
        self.requests: dict[str, _Request] = {}
        self.logprob, self.reason = -0.5, None
        self._log, self._cached = log, set[tuple[int, ...]]()

    def add_request(
        self, request_id: str, prompt: TokensPrompt, params: SamplingParams, *, lora_request: LoRARequest | None = None
    ) -> str:
        assert isinstance(request_id, str)
        assert request_id not in self.requests
        assert params.output_kind is RequestOutputKind.FINAL_ONLY
        assert 0 < len(prompt["prompt_token_ids"]) < self.model_config.max_model_len
        self._log.append(("add", (request_id, prompt["prompt_token_ids"], params, lora_request)))
        self.requests[request_id] = _Request(prompt["prompt_token_ids"], params)
        return f"{request_id}-internal"

    def step(self) -> list[SimpleNamespace]:
        """One token for every request; those that end are returned, the last one first."""
        outputs = []
        for request_id, request in list(self.requests.items()):
            request.tokens.append(([*request.prompt, *request.tokens][-1] + 1) % VOCABULARY)
            stopped = request.tokens[-1] in request.params.stop_token_ids
            full = len(request.prompt) + len(request.tokens) >= self.model_config.max_model_len
            if stopped or full or len(request.tokens) == request.params.max_tokens:
                outputs.append(self._output(request_id, self.requests.pop(request_id), stopped))
        return outputs[::-1]

    def _output(self, request_id: str, request: _Request, stopped: bool) -> SimpleNamespace:
        prompt = tuple(request.prompt)
        cached = max((len(seen) for seen in self._cached if prompt[: len(seen)] == seen), default=0)
        self._cached.add((*prompt, *request.tokens))
        completion = SimpleNamespace(
            token_ids=tuple(request.tokens),
            logprobs=[{token: Logprob(self.logprob)} for token in request.tokens],
            finish_reason=self.reason or ("stop" if stopped else "length"),
        )
        return SimpleNamespace(
            request_id=request_id,
            finished=True,
            outputs=[completion],
            num_cached_tokens=cached,
        )

    def abort_request(self, request_ids: list[str]) -> None:
        self._log.append(("abort", request_ids))
        for request_id in request_ids:
            self.requests.pop(request_id, None)

    def add_lora(self, lora_request: LoRARequest) -> bool:
        folder = Path(lora_request.lora_path)
        config = json.loads((folder / "adapter_config.json").read_text())
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            self._log.append(("add_lora", (lora_request, config, sorted(file.keys()))))
        return True

    def forget(self) -> bool:
        self._log.append(("reset_prefix_cache", None))
        self._cached.clear()
        return not self.requests


class LLM:
    def __init__(self, **options: Any):
        self.options, self.log = options, list[tuple[str, Any]]()
        self.llm_engine = LLMEngine(options, self.log)
        torch.set_num_threads = lambda number: None  # What vLLM does on the CPU.
        torch.manual_seed(options.get("seed", 0))

    def collective_rpc(self, method: str, *, kwargs: dict[str, Any]) -> list[None]:
        assert method == "reload_weights"
        if "weights_path" in kwargs:
            assert not kwargs.keys() - {"weights_path"}
            with safe_open(Path(kwargs["weights_path"]) / "model.safetensors", "pt") as file:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        else:
            weights = dict(kwargs["weights_iterator"])
        self.log.append(("reload_weights", weights))
        return [None]

    def reset_prefix_cache(self) -> bool:
        return self.llm_engine.forget()

    def sleep(self, level: int = 1) -> None:
        self.log.append(("sleep", level))

    def wake_up(self) -> bool:
        self.log.append(("wake_up", None))
        return True
