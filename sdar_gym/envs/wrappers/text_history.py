"""Makes the observation the last turns and the current one, for agents that keep no memory of their own."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.text import shortened, well_formed
from sdar_gym.validation import whole_number

_TURN = "{observation}\n> {action}"


class TextHistory(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    r"""Shows the last turns, oldest first, each as what was seen and, after `> `, what was done; then what is seen now.

    Args:
        env: A text environment.
        turns: How many past turns are shown; 0 leaves observations as they are.
        turn_format: How a past turn is written, with `{observation}` and `{action}`.
        separator: Between turns.
        max_characters: Longest observation that results; whole old turns go first, the current observation never does.
            By default there is no limit.

    Raises:
        ValueError: A number of turns or a limit that is none, or a format that lacks a part.
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
        """Begin an episode without a past."""
        observation, info = super().reset(seed=seed, options=options)
        self._past.clear()
        self._observation = observation
        return self._shown(), info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn, which is then the last of the past ones."""
        observation, reward, terminated, truncated, info = super().step(action)
        # An action may be any text, an observation is one that can be encoded.
        action = well_formed(action)
        # Not str.format: texts may hold braces of their own.
        before, _, after = self.turn_format.partition("{observation}")
        written = (before.replace("{action}", action), self._observation, after.replace("{action}", action))
        self._past.append("".join(written))
        self._observation = observation
        return self._shown(), float(reward), terminated, truncated, info

    def _shown(self) -> str:
        parts = [*self._past, self._observation]
        if self.max_characters is not None:
            while len(parts) > 1 and len(self.separator.join(parts)) > self.max_characters:
                parts.pop(0)
        return self.separator.join(parts)
