"""`TextHistory`: prepends the last turns to the observation, for agents without memory."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.text import shortened, well_formed
from sdar_gym.validation import whole_number

_TURN = "{observation}\n> {action}"


class TextHistory(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    r"""Prepends past turns, oldest first, to the observation; a turn is its observation and, after `> `, its action.

    Args:
        env: A text environment.
        turns: Number of past turns to include; 0 leaves observations unchanged.
        turn_format: Format of a past turn, with `{observation}` and `{action}`.
        separator: Text between turns.
        max_characters: Maximum length of the resulting observation. The oldest turns are dropped first, the current
            observation never. No limit by default.

    Raises:
        ValueError: An invalid number of turns or limit, or a format that lacks a placeholder.
    """

    def __init__(
        self,
        env: gymnasium.Env[str, str],
        turns: int = 3,
        turn_format: str = _TURN,
        separator: str = "\n\n",
        max_characters: int | None = None,
    ):
        turns = whole_number("turns", turns, 0)
        max_characters = None if max_characters is None else whole_number("max_characters", max_characters, 1)
        for name, text in (("turn_format", turn_format), ("separator", separator)):
            if not isinstance(text, str):
                raise ValueError(f"{name} must be a text, got {shortened(text)}.")
        missing = [part for part in ("{observation}", "{action}") if part not in turn_format]
        if missing:
            raise ValueError(
                f"turn_format {shortened(turn_format)} lacks {missing[0]}; a past turn is an observation and an action."
            )
        RecordConstructorArgs.__init__(
            self, turns=turns, turn_format=turn_format, separator=separator, max_characters=max_characters
        )
        gymnasium.Wrapper.__init__(self, env)
        self.turns = turns
        self.turn_format = turn_format
        self.separator = separator
        self.max_characters = max_characters
        self._past: deque[str] = deque(maxlen=turns)
        self._observation = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode with an empty history."""
        observation, info = super().reset(seed=seed, options=options)
        self._past.clear()
        self._observation = observation
        return self._with_history(), info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn and add it to the history."""
        observation, reward, terminated, truncated, info = super().step(action)
        # Observations must be encodable, actions may be any text.
        action = well_formed(action)
        # Not str.format: texts may contain braces.
        before, _, after = self.turn_format.partition("{observation}")
        parts = (before.replace("{action}", action), self._observation, after.replace("{action}", action))
        self._past.append("".join(parts))
        self._observation = observation
        return self._with_history(), float(reward), terminated, truncated, info

    def _with_history(self) -> str:
        parts = [*self._past, self._observation]
        if self.max_characters is not None:
            while len(parts) > 1 and len(self.separator.join(parts)) > self.max_characters:
                parts.pop(0)
        return self.separator.join(parts)
