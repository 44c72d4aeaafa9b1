"""Interfaces of the collector: what it needs of an engine or a server, of a prompt context, and of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sdar_gym.envs.prompting import EpisodeView, ParsedAction, PrivilegedContext
from sdar_gym.rollout.context import Prompt, PromptLimits
from sdar_gym.rollout.engines.base import Continuation, GenerationRequest, SamplingParams
from sdar_gym.rollout.trajectory import Episode


class Responder(Protocol):
    """The part of an engine that the collector uses; the client of a server has it too."""

    stop_ids: Sequence[int]

    def converse(self, requests: Sequence[GenerationRequest], params: SamplingParams, then: Continuation) -> None:
        """See `Engine.converse`."""
        ...


class Prompts(Protocol):
    """The part of a prompt context that the collector uses; see `PromptContext`."""

    @property
    def grows(self) -> bool:
        """Whether prompts continue the episode's token sequence."""
        ...

    @property
    def limits(self) -> PromptLimits:
        """Longest prompts."""
        ...

    def next_prompt(self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """The prompt of the next turn of an episode."""
        ...

    def parse(self, response: str) -> ParsedAction:
        """Parses the action in a response."""
        ...


class Decoder(Protocol):
    """The part of a tokenizer that the collector uses."""

    def decode(self, token_ids: list[int], **kwargs: Any) -> Any:
        """Text of token ids."""
        ...
