"""Teacher trust: how sure it is, by task type, that the policy succeeds more often with its skills than without."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from sdar_gym.rollout.trajectory import Episode
from sdar_gym.validation import finite_number

# Share of the old episodes' counts that stays with each update: about ten updates are remembered.
_DECAY = 0.9
# With fewer episodes with skills no type is settled.
_LEAST_EPISODES = 3


class TeacherTrust:
    """The trust in the teacher's skills from a few training episodes that are played with them.

    For each task type, d is the success with skills minus that without, with the variance of two binomial rates. Types
    with few episodes are shrunk to the mean of all, by the spread of d between types. With the posterior N(μ, σ²) of d

        trust = max(0, 2·Φ(μ/σ) − 1)

    which is 0 where skills do not help, or nobody knows yet, and 1 where it is sure that they do. When the student has
    learned what the skills say, d goes to 0 and the teacher retires.

    With a confidence c trust is 1 where P(d > 0) >= c, and else 0. A type whose own episodes alone, at least three with
    skills, say P(d > 0) >= c or <= 1 - c is settled: its trust stays, it is no longer tested, and nothing is forgotten
    before. What other types say decides until then but settles nothing, so that a verdict is never borrowed.

    Args:
        confidence: c, or None for a weight without verdicts.

    Source:
        Ours. The shrinkage is that of a random-effects meta-analysis, with the spread between types by the method of
        moments (DerSimonian and Laird, 1986).
    """

    def __init__(self, confidence: float | None = None) -> None:
        self._confidence = confidence
        # By type: successes and episodes of the student, successes and episodes with skills.
        self._counts: dict[str, list[float]] = {}
        self._verdicts: dict[str, bool] = {}

    @property
    def settled(self) -> frozenset[str]:
        """The types that need no more episodes with skills."""
        return frozenset(self._verdicts)

    def observe(self, student: Iterable[Episode], teacher: Iterable[Episode]) -> None:
        """Adds the episodes of one update.

        Args:
            student: Episodes without skills in the prompt.
            teacher: Episodes of the same policy and tasks with them.
        """
        if self._confidence is None:
            for counts in self._counts.values():
                counts[:] = [_DECAY * value for value in counts]
        for place, episodes in ((0, student), (2, teacher)):
            for episode in episodes:
                # A settled type is not tested, so that its student's later successes compare with nothing.
                if episode.turns and not episode.error and episode.task_type not in self._verdicts:
                    counts = self._counts.setdefault(episode.task_type, [0.0] * 4)
                    counts[place] += episode.won
                    counts[place + 1] += 1
        for name, counts in self._counts.items():
            if self._confidence is not None and name not in self._verdicts and counts[3] >= _LEAST_EPISODES:
                surely_helps = _sureness(*_effect(*counts))
                if abs(surely_helps) >= 2 * self._confidence - 1:
                    self._verdicts[name] = surely_helps > 0

    def of(self, task_types: Iterable[str]) -> dict[str, float]:
        """The trust in each of some task types, 0 to 1.

        Args:
            task_types: The types.
        """
        effects = {name: _effect(*counts) for name, counts in self._counts.items() if counts[1] > 0 and counts[3] > 0}
        mean, mean_variance, between = _pooled(list(effects.values()))
        trust = {}
        for name in task_types:
            center, variance = mean, mean_variance + between
            if name in effects and between > 0:
                difference, own = effects[name]
                weight = between / (between + own)
                # The mean is uncertain too, which counts for what is shrunk to it.
                center = weight * difference + (1 - weight) * mean
                variance = weight * own + (1 - weight) ** 2 * mean_variance
            elif name in effects:
                variance = mean_variance
            sureness = _sureness(center, variance)
            if self._confidence is None:
                trust[name] = max(0.0, sureness)
            else:
                trust[name] = float(self._verdicts.get(name, sureness >= 2 * self._confidence - 1))
        return trust

    def metrics(self) -> dict[str, float]:
        """`trust/<task type>` of the types that were played."""
        return {f"trust/{name}": value for name, value in sorted(self.of(sorted(self._counts)).items())}

    def get_state(self) -> dict[str, list[float]]:
        """State for a checkpoint, plain JSON: by type its four counts, and its verdict where it is settled."""
        return {
            name: [*counts, *([float(self._verdicts[name])] if name in self._verdicts else [])]
            for name, counts in self._counts.items()
        }

    def set_state(self, state: Mapping[str, Iterable[float]]) -> None:
        """Restores what `get_state` returned.

        Raises:
            ValueError: A value is not a number.
        """
        values = {
            str(name): [finite_number(f"count of {name}", value, low=0.0) for value in counts]
            for name, counts in state.items()
        }
        self._counts = {name: each[:4] for name, each in values.items()}
        self._verdicts = {name: bool(each[4]) for name, each in values.items() if len(each) > 4}


def _sureness(difference: float, variance: float) -> float:
    """2·P(d > 0) - 1 for d from N(difference, variance): -1 for surely harmful, 1 for surely helpful."""
    return 0.0 if math.isinf(variance) else math.erf(difference / math.sqrt(2 * variance))


def _effect(wins: float, episodes: float, teacher_wins: float, teacher_episodes: float) -> tuple[float, float]:
    """Difference of two success rates and its variance; half a success and half a failure are added to each."""
    rate, teacher_rate = (wins + 0.5) / (episodes + 1), (teacher_wins + 0.5) / (teacher_episodes + 1)
    variance = rate * (1 - rate) / (episodes + 1) + teacher_rate * (1 - teacher_rate) / (teacher_episodes + 1)
    return teacher_rate - rate, variance


def _pooled(effects: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Mean of the effects, its variance, and the variance between them."""
    if not effects:
        return 0.0, math.inf, 0.0
    weights = [1 / variance for _, variance in effects]
    total = sum(weights)
    fixed = sum(weight * effect for weight, (effect, _) in zip(weights, effects, strict=True)) / total
    spread = sum(weight * (effect - fixed) ** 2 for weight, (effect, _) in zip(weights, effects, strict=True))
    scale = total - sum(weight**2 for weight in weights) / total
    between = max(0.0, (spread - (len(effects) - 1)) / scale) if scale > 0 else 0.0
    weights = [1 / (variance + between) for _, variance in effects]
    mean = sum(weight * effect for weight, (effect, _) in zip(weights, effects, strict=True)) / sum(weights)
    return mean, 1 / sum(weights), between
