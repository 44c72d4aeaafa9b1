"""Message context: prompts as chat messages, for a server that applies its model's chat template itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.prompting import EpisodeView, Message, ParsedAction, PrivilegedContext
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.context import Prompt, PromptContext, PromptLimits
from sdar_gym.rollout.trajectory import Episode


class MessageContext:
    """The messages that a prompt context gives to the chat template, without the template.

    Token limits do not apply, since tokens are not known: the server refuses a prompt that is too long.

    Args:
        context: Builds the messages.

    Attributes:
        grows: Whether each turn is appended to one chat.
        limits: The limits of the context.
    """

    def __init__(self, context: PromptContext):
        self._context = context
        self.grows: bool = context.grows
        self.limits: PromptLimits = context.limits

    def next_prompt(self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """The whole chat of the next turn, as messages; see `PromptContext`."""
        return Prompt([], messages=tuple(self._context.chat_messages(episode, view, privileged)))

    def parse(self, response: str) -> ParsedAction:
        """See `PromptContext`."""
        return self._context.parse(response)


class _UnknownTemplate:
    """What stands for a server's tokenizer, of which nothing is known: its template only appends turns."""

    chat_template = ""

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> str:
        """The messages with their roles, one after the other."""
        turns = "".join(f"\n{message['role']}: {message['content']}" for message in conversation)
        return f"{turns}\nassistant: " if kwargs.get("add_generation_prompt") else turns

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        """Refused: the tokens of a server are not known."""
        raise NotImplementedError("the tokens of a server are not known")

    def decode(self, token_ids: list[int], **kwargs: Any) -> str:
        """Refused: the tokens of a server are not known."""
        raise NotImplementedError("the tokens of a server are not known")


def build_message_context(env_id: str, env_config: Mapping[str, Any], rollout: RolloutSettings) -> MessageContext:
    """The builder of an environment's prompts as messages.

    Raises:
        ValueError: A setting needs the model's tokenizer, or see `build_context`.
    """
    if rollout.max_observation_tokens is not None:
        raise ValueError(
            f"rollout.max_observation_tokens={rollout.max_observation_tokens} counts tokens, and the tokenizer of a "
            "server's model is not known. Set it to null."
        )
    return MessageContext(build_context(_UnknownTemplate(), env_id, env_config, rollout))
