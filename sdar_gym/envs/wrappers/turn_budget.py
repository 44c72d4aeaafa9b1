"""Ends an episode when its turns or its tokens are used up, so that no prompt outgrows a model."""

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
    """What an episode has used, as `info["budget"]`.

    Attributes:
        turns: Turns played.
        tokens: Tokens of all observations and actions so far.
        turns_left: Turns that remain; None if they are not limited.
        tokens_left: Tokens that remain, 0 if more were used; None if they are not limited.
        spent: `""`, or what ran out first: `turns` or `tokens`.
    """

    turns: int
    tokens: int
    turns_left: int | None
    tokens_left: int | None
    spent: str


def count_words(text: str) -> int:
    """Pieces of text between white space: what can be counted without a tokenizer."""
    return len(text.split())


class TurnBudget(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Truncates an episode once a number of turns, or of tokens of observations and actions, is used up.

    The turn that uses the budget up is played and counts; it is the last. An episode that ends by itself on that turn
    is `terminated` and not `truncated`, as with the environment's own limit. The first observation counts: a budget
    that it uses up already ends the episode with the first turn.

    Args:
        env: A text environment.
        max_turns: Turns an episode may have.
        max_tokens: Tokens that its observations and actions may have together.
        count: Tokens of a text, for example `lambda text: len(tokenizer.encode(text))`; has to be a function with a
            name if the environment is to be pickled. By default words.

    Raises:
        ValueError: Neither limit is given, or one is no whole number above 0.
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
        # The function itself is recorded: a bound tokenizer method must not be copied with its tokenizer.
        RecordConstructorArgs.__init__(
            self, max_turns=max_turns, max_tokens=max_tokens, count=count, _disable_deepcopy=True
        )
        gymnasium.Wrapper.__init__(self, env)
        self.max_turns = max_turns
        self.max_tokens = max_tokens
        self._count_of = count
        self._turns = 0
        self._tokens = 0
        self._ended = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode with a full budget."""
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
        # Tokenizers refuse halves of characters, which actions may hold.
        return whole_number("What count() returns", self._count_of(well_formed(text)), 0)

    def _budget(self) -> Budget:
        turns_left = None if self.max_turns is None else self.max_turns - self._turns
        tokens_left = None if self.max_tokens is None else max(0, self.max_tokens - self._tokens)
        spent = "turns" if turns_left == 0 else "tokens" if tokens_left == 0 else ""
        return Budget(self._turns, self._tokens, turns_left, tokens_left, spent)
