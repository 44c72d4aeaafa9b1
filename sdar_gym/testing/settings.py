"""Settings of `check_text_env`: how many tasks, turns and fuzzed actions, and which limits."""

from __future__ import annotations

from dataclasses import dataclass

from sdar_gym.validation import finite_number, flag, whole_number


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Settings of `check_text_env`.

    Attributes:
        tasks: Number of tasks played, spread over all splits.
        turns: Most turns of a played episode.
        fuzz_actions: Fuzzed actions in each of the three rounds.
        memory_mb: Most memory that may stay allocated after one more round, in megabytes.
        slowest_s: Time limit of a single turn, in seconds.
        fresh_process: Also replay the episodes in a new process with another `PYTHONHASHSEED`.
        async_vector: Also compare with an `AsyncVectorEnv`, which starts processes.
        seed: Seed of the drawn tasks and actions.
    """

    tasks: int = 6
    turns: int = 25
    fuzz_actions: int = 200
    memory_mb: float = 4.0
    slowest_s: float = 30.0
    fresh_process: bool = False
    async_vector: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("tasks", 1), ("turns", 1), ("fuzz_actions", 0), ("seed", 0)):
            whole_number(name, getattr(self, name), low)
        finite_number("memory_mb", self.memory_mb, 0)
        finite_number("slowest_s", self.slowest_s, above=0)
        flag("fresh_process", self.fresh_process)
        flag("async_vector", self.async_vector)
