"""`TurnBudget`: truncates an episode after a number of turns or tokens, so that prompts fit the model context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.text import shortened, well_formed
from sdar_gym.validation import whole_number


@dataclass(frozen=True, slots=True)
class Budget:
    """Budget used by an episode, as `info["budget"]`.

    Attributes:
        turns: Turns played.
        tokens: Tokens of all observations and actions so far.
        turns_left: Remaining turns; None without a limit.
        tokens_left: Remaining tokens, at least 0; None without a limit.
        spent: The exhausted limit, `turns` or `tokens`; `""` if there is none.
    """

    turns: int
    tokens: int
    turns_left: int | None
    tokens_left: int | None
    spent: str


def count_words(text: str) -> int:
    """Number of white-space separated words, the default count without a tokenizer."""
    return len(text.split())


class TurnBudget(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Truncates an episode after a number of turns, or of tokens in observations and actions.

    The turn that exhausts the budget is played and counts; it is the last. An episode that ends by itself on that turn
    is `terminated` and not `truncated`, as with the environment's turn limit. The first observation counts: if it
    exhausts the budget, the episode ends after the first turn.

    Args:
        env: A text environment.
        max_turns: Maximum number of turns of an episode.
        max_tokens: Maximum number of tokens of all its observations and actions.
        count: Number of tokens of a text, for example `lambda text: len(tokenizer.encode(text))`; must be a named
            function if the environment is pickled. By default words are counted.

    Raises:
        ValueError: Neither limit is given, or one is not a positive integer.
    """

    def __init__(
        self,
        env: gymnasium.Env[str, str],
        max_turns: int | None = None,
        max_tokens: int | None = None,
        count: Callable[[str], int] = count_words,
    ):
        if max_turns is None and max_tokens is None:
            raise ValueError("TurnBudget needs max_turns, max_tokens or both.")
        max_turns = None if max_turns is None else whole_number("max_turns", max_turns, 1)
        max_tokens = None if max_tokens is None else whole_number("max_tokens", max_tokens, 1)
        if not callable(count):
            raise ValueError(f"count must be a function from a text to a number, got {shortened(count)}.")
        # No deep copy of the arguments: it would copy the tokenizer of a bound method.
        RecordConstructorArgs.__init__(
            self, max_turns=max_turns, max_tokens=max_tokens, count=count, _disable_deepcopy=True
        )
        gymnasium.Wrapper.__init__(self, env)
        self.max_turns = max_turns
        self.max_tokens = max_tokens
        self._count_tokens = count
        self._turns = 0
        self._tokens = 0
        self._ended = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode with a full budget."""
        observation, info = super().reset(seed=seed, options=options)
        self._turns = 0
        self._tokens = self._count(observation)
        self._ended = False
        return observation, {**info, "budget": self._budget()}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn.

        Raises:
            gymnasium.error.ResetNeeded: The episode is over, here or in the environment.
        """
        if self._ended:
            raise gymnasium.error.ResetNeeded("The episode is over (or never began): call reset() before step().")
        observation, reward, terminated, truncated, info = super().step(action)
        self._turns += 1
        self._tokens += self._count(action) + self._count(observation)
        budget = self._budget()
        truncated = truncated or (bool(budget.spent) and not terminated)
        self._ended = terminated or truncated
        return observation, float(reward), terminated, truncated, {**info, "budget": budget}

    def _count(self, text: str) -> int:
        # Tokenizers reject lone surrogates, which actions may contain.
        return whole_number("What count() returns", self._count_tokens(well_formed(text)), 0)

    def _budget(self) -> Budget:
        turns_left = None if self.max_turns is None else self.max_turns - self._turns
        tokens_left = None if self.max_tokens is None else max(0, self.max_tokens - self._tokens)
        spent = "turns" if turns_left == 0 else "tokens" if tokens_left == 0 else ""
        return Budget(self._turns, self._tokens, turns_left, tokens_left, spent)
