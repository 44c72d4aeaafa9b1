"""Requests to vLLM: adds them, steps the scheduler, and adds what follows each finished one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sdar_gym.rollout.time_limits import progress


@dataclass(frozen=True, slots=True)
class Start:
    """One request.

    Attributes:
        prompt_ids: Token ids.
        sampling: Arguments of `vllm.SamplingParams`.
    """

    prompt_ids: Sequence[int]
    sampling: dict[str, Any]


# Takes the position of a request and vLLM's output; returns what follows, or None.
Finished = Callable[[int, Any], Start | None]


def run_requests(llm: Any, starts: Sequence[Start], finished: Finished, stop_ids: Sequence[int], adapters: Any) -> None:
    """Plays requests and what follows them, until nothing follows.

    Args:
        llm: A `vllm.LLM` whose scheduler is in this process, so that its steps do not depend on time.
        starts: The first requests.
        finished: Called after each step, in the order of positions.
        stop_ids: Tokens that end a response.
        adapters: A `LoRARequest`, or None.

    Raises:
        ValueError: A prompt leaves no room for a token; no other request stays behind.
    """
    from vllm import SamplingParams, TokensPrompt  # pyright: ignore[reportMissingImports]
    from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

    engine, running = llm.llm_engine, set[int]()
    longest = engine.model_config.max_model_len

    def check(start: Start) -> None:
        if len(start.prompt_ids) >= longest:
            raise ValueError(
                f"A prompt of {len(start.prompt_ids)} tokens leaves no room for a response: vLLM reads {longest} "
                "tokens, by the lengths in rollout and the model's context length."
            )

    def add(number: int, start: Start) -> None:
        check(start)
        params = SamplingParams(
            **start.sampling,
            stop_token_ids=list(stop_ids),
            ignore_eos=True,  # An end token that is not among them ends nothing.
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = TokensPrompt(prompt_token_ids=list(start.prompt_ids))
        engine.add_request(str(number), prompt, params, lora_request=adapters)
        running.add(number)

    for start in starts:
        check(start)
    # On the CPU vLLM's sampler draws from the random numbers of the whole process.
    with torch.random.fork_rng():
        try:
            for number, start in enumerate(starts):
                add(number, start)
            while running:
                progress()
                outputs = {int(output.request_id): output for output in engine.step() if output.finished}
                for number, output in sorted(outputs.items()):
                    running.discard(number)
                    following = finished(number, output)
                    if following is not None:
                        add(number, following)
        finally:
            if running:
                engine.abort_request([str(number) for number in sorted(running)])
