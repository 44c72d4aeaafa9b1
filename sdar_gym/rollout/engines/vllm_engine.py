"""The vLLM engine: continuous batching with cached prefixes; weights are replaced in place.

Without tensor parallelism the model is in this process and takes the learner's tensors as they are; with it, vLLM's
processes read them from a file in shared memory. Rows of the head without a token get a large negative bias, so
log-probabilities are those of the distribution without these rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

import torch
from transformers import PreTrainedModel

from sdar_gym.configs.sections import LoraSettings
from sdar_gym.policy.errors import NonFiniteWeightsError
from sdar_gym.policy.load import load_weights
from sdar_gym.rollout.engines.base import Continuation, Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.vllm_process import adapters_folder, weights_folder
from sdar_gym.rollout.engines.vllm_requests import Finished, Start, run_requests

# Added to the logits of rows without a token: their probability is 0 in single precision.
_NEVER = -1e4
# vLLM keeps seeds as signed numbers of 64 bits.
_SEEDS = 1 << 63


class VllmEngine(Engine):
    """An engine around `vllm.LLM`.

    Args:
        llm: A `vllm.LLM` whose scheduler is in this process.
        outline: The model without weights, on the `meta` device: names and shapes. It gets adapters.
        stop_ids: Tokens that end a response.
        forbidden_ids: Tokens that are never sampled: rows of the head that stand for no token.
        lora: Settings of the adapters that are updated instead of the weights, or None.
        in_process: Whether the model is in this process too.
        can_sleep: Whether it was built to free the GPU's memory in `sleep`.
        llm_version: vLLM's version, for `info`.
    """

    def __init__(
        self,
        llm: Any,
        outline: PreTrainedModel,
        *,
        stop_ids: Sequence[int],
        forbidden_ids: Sequence[int] = (),
        lora: LoraSettings | None = None,
        in_process: bool = True,
        can_sleep: bool = False,
        llm_version: str = "",
    ):
        self.stop_ids = tuple(sorted(set(stop_ids)))
        self._llm: Any = llm
        self._bias = dict.fromkeys(forbidden_ids, _NEVER) or None
        self._in_process, self._can_sleep, self._asleep = in_process, can_sleep, False
        self._version, self._llm_version = 0, llm_version
        # Tied weights are one parameter with several names.
        self._names: dict[int, list[str]] = {}
        for name, parameter in outline.named_parameters(remove_duplicate=False):
            self._names.setdefault(id(parameter), []).append(name)
        self._outline, self._lora, self._adapters = outline, lora, None
        if lora is not None:
            # Imported here, since importing peft is slow and only adapters need it.
            from sdar_gym.policy.lora import Adapters

            Adapters(outline, **asdict(lora))

    def update_weights(self, state_dict: Mapping[str, torch.Tensor], version: int) -> None:
        """Replaces the weights, and forgets the keys and values of the old ones.

        Args:
            state_dict: All weights, or those of the adapters if the policy has adapters.
            version: Returned with every response from now on.

        Raises:
            ValueError: They belong to another model.
        """
        load_weights(self._outline, state_dict)  # Compares names and shapes; on `meta` nothing is copied.
        if self._lora is None:
            self.update_base(state_dict)
        else:
            self.wake()
            from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

            with adapters_folder(state_dict, self._lora) as folder:
                self._llm.llm_engine.add_lora(LoRARequest("policy", 1, folder, load_inplace=True))
                # Names the loaded adapters; the folder is not read again.
                self._adapters = LoRARequest("policy", 1, folder)
            self.reset_cache()
        self._version = version

    def update_base(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Replaces all weights of the model, in one call: vLLM finishes each layer once.

        Args:
            state_dict: The weights. Tied ones are passed on under each of their names: where the head was packed on its
                own, as on the CPU, it would stay the old one.
        """
        self.wake()
        state = dict(state_dict)
        for names in self._names.values():
            state |= dict.fromkeys(names, next(state[name] for name in names if name in state))
        if self._in_process:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(state.items())})
        else:
            with weights_folder(state) as folder:
                self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        self.reset_cache()

    def info(self) -> dict[str, Any]:
        """Backend, version, data type, longest sequence."""
        config = self._llm.llm_engine.model_config
        dtype = str(config.dtype).removeprefix("torch.")
        return {"backend": "vllm", "version": self._llm_version, "dtype": dtype, "max_len": config.max_model_len}

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        """One response per request, in order."""
        results: dict[int, GenerationResult] = {}
        self.converse(requests, params, lambda number, result: results.update({number: result}))
        return [results[number] for number in range(len(requests))]

    def converse(self, requests: Sequence[GenerationRequest], params: SamplingParams, then: Continuation) -> None:
        """Starts the next request of a conversation as soon as its response is finished; see `Engine.converse`."""

        def start(request: GenerationRequest) -> Start:
            sampling = asdict(params) | {"seed": request.seed % _SEEDS, "logit_bias": self._bias, "logprobs": 0}
            return Start(request.prompt_ids, sampling)

        def finished(number: int, output: Any) -> Start | None:
            request = then(number, self._result(output))
            return None if request is None else start(request)

        self._run([start(request) for request in requests], finished)

    def reset_cache(self) -> None:
        """Frees all kept keys and values."""
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: requests are still running.")

    def sleep(self) -> None:
        """Moves the weights to main memory and drops keys and values, if the GPU is shared with a learner."""
        if self._can_sleep and not self._asleep:
            # Level 2 would also drop what no update of the weights brings back.
            self._llm.sleep(level=1)
            self._asleep = True

    def wake(self) -> None:
        """Undoes `sleep`; updates and requests do it by themselves."""
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False

    def close(self) -> None:
        """Ends vLLM's processes and frees its memory."""
        if self._llm is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory  # pyright: ignore[reportMissingImports]

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        cleanup_dist_env_and_memory()

    def _run(self, starts: Sequence[Start], finished: Finished) -> None:
        self.wake()
        run_requests(self._llm, starts, finished, self.stop_ids, self._adapters)

    def _result(self, output: Any) -> GenerationResult:
        response = output.outputs[0]
        tokens = list(response.token_ids)
        logprobs = [step[token].logprob for token, step in zip(tokens, response.logprobs, strict=True)]
        if not all(map(isfinite, logprobs)):
            raise NonFiniteWeightsError(
                "vLLM's log-probabilities are not finite: the weights have diverged, or half precision overflowed. Go "
                "back to the last good checkpoint with a lower training.lr, or use policy.dtype=bfloat16 or float32."
            )
        if response.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a response for the reason {response.finish_reason!r}.")
        return GenerationResult(
            tokens, logprobs, response.finish_reason, self._version, int(output.num_cached_tokens or 0)
        )
