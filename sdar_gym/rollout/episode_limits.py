"""Episode limits: turns and sampled tokens, which truncate an episode, and seconds, whose excess is an error."""

from __future__ import annotations

from dataclasses import dataclass

from sdar_gym.rollout.trajectory import Episode


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """Limits of one episode beside the environment's own; None for no limit.

    Attributes:
        turns: Turns; the episode is truncated after them, which is a result.
        tokens: Sampled tokens; the episode is truncated after the turn that reaches them.
        seconds: Time since its reset, waiting included. More is an error, since it says nothing about the policy.
    """

    turns: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("turns", "tokens", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"--max-{name} must be above 0, got {value}. Leave it out for no limit.")

    def reached(self, episode: Episode) -> str:
        """The limit that an episode has reached after a turn, `turns` or `tokens`; empty if none.

        Args:
            episode: With its turns so far.
        """
        if self.turns is not None and len(episode.turns) >= self.turns:
            return "turns"
        if self.tokens is not None and sum(turn.response_tokens for turn in episode.turns) >= self.tokens:
            return "tokens"
        return ""

    def overtime(self, seconds: float) -> str:
        """The error of an episode that takes too long; empty within the limit.

        Args:
            seconds: Since its reset.
        """
        if self.seconds is None or seconds <= self.seconds:
            return ""
        return f"the episode took longer than {self.seconds:g} seconds (--max-seconds)"
