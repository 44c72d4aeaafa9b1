"""UCB retrieval: a bandit over the skills of a task type that learns from the rewards of finished episodes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from math import inf, log, sqrt
from typing import Any, ClassVar

from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.retrieval import ScoredSkill, SkillQuery
from sdar_gym.skills.skill import Skill
from sdar_gym.skills.strategies.base import LibraryRetriever
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, whole_number

# SDAR's value was not published. UCB1's proof has sqrt(2), for one pull at a time; here k skills are pulled at once.
DEFAULT_UCB_C = 1.0


class UcbRetriever(LibraryRetriever):
    """Takes the k skills with the highest upper confidence bound, separately for each task type.

    The arms of a task type are the skills written for it; where there are none, all that compete. An arm's score is its
    mean reward plus ucb_c sqrt(ln N / n), where n counts the episodes of this type that got the skill, and N those that
    got any arm. Skills that no episode got have an infinite score, so every arm is tried once first; ties go by library
    order. Nothing is drawn at random: until something is observed, the same query gets the same result. A skill added
    to the library is a new arm.

    Source: SDAR (arXiv 2605.15155, Table 2), which gives the formula alone, neither c nor code. Ours are: what the arms
    are, several pulls at once, episodes as the unit of N and n, the order of ties, and ucb_c.

    Args:
        library: Skills to pick from.
        k: How many.
        include_general: See `LibraryRetriever`; general skills that are always shown are no arms.
        include_mistakes: See `LibraryRetriever`.
        ucb_c: Weight of exploration; 0 ranks by mean rewards alone.

    Raises:
        ValueError: k is below 1, or ucb_c is negative or infinite.
    """

    name: str = "ucb"
    options: ClassVar[tuple[str, ...]] = ("ucb_c",)

    def __init__(
        self,
        library: SkillLibrary,
        k: int = 5,
        include_general: bool = True,
        include_mistakes: bool = False,
        ucb_c: float = DEFAULT_UCB_C,
    ):
        super().__init__(library, k, include_general, include_mistakes)
        try:
            self.ucb_c = finite_number("ucb_c", ucb_c, 0)
        except ValueError:
            raise ValueError(
                f"ucb_c weighs exploration and must not be negative or infinite; got {shortened(ucb_c)}."
            ) from None
        # By task type: the number of episodes, and for each arm its episodes and the sum of their rewards.
        self._episodes: dict[str, int] = {}
        self._arms: dict[str, dict[str, tuple[int, float]]] = {}

    def observe(self, task_type: str, skill_ids: Iterable[str], reward: float) -> None:
        """Learn from one episode.

        Args:
            task_type: Of its task.
            skill_ids: Its skills (`Retrieval.ids`). General skills that come with every result are skipped.
            reward: Its reward, from 0 to 1.

        Raises:
            ValueError: The reward is outside 0 to 1, or the library has no such skill.
        """
        try:
            reward = finite_number("reward", reward, 0, 1)
        except ValueError:
            raise ValueError(
                f"The strategy 'ucb' learns from rewards from 0 to 1, got {shortened(reward)} for task type "
                f"{task_type!r}: the bound assumes this range. Give an episode's score, or scale the reward."
            ) from None
        # Each id once: a skill named twice still counts for one episode.
        given = [skill_id for skill_id in dict.fromkeys(skill_ids) if self._competes(self.library.get(skill_id))]
        if not given:
            return
        self._cache.clear()
        self._episodes[task_type] = self._episodes.get(task_type, 0) + 1
        arms = self._arms.setdefault(task_type, {})
        for skill_id in given:
            count, total = arms.get(skill_id, (0, 0.0))
            arms[skill_id] = (count + 1, total + reward)

    def get_state(self) -> dict[str, Any]:
        """What was learned: by task type the number of `episodes`, and for each arm `[episodes, sum of rewards]`."""
        return {
            task_type: {"episodes": count, "arms": {skill: list(arm) for skill, arm in self._arms[task_type].items()}}
            for task_type, count in self._episodes.items()
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned by what `get_state` returned.

        Raises:
            ValueError: It is no such state, or names skills that the library does not have.
        """
        episodes: dict[str, int] = {}
        arms: dict[str, dict[str, tuple[int, float]]] = {}
        if not isinstance(state, Mapping):
            raise _state_error("", f"it is {type(state).__name__}")
        for task_type, learned in state.items():
            try:
                episodes[task_type] = whole_number("episodes", learned["episodes"], 0)
                arms[task_type] = {
                    skill: (whole_number("episodes of a skill", count), finite_number("rewards", total))
                    for skill, (count, total) in learned["arms"].items()
                }
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise _state_error(task_type, shortened(error)) from None
            for skill_id, (count, total) in arms[task_type].items():
                if skill_id not in self.library:
                    raise ValueError(
                        f"The state of 'ucb' names the skill {skill_id!r}, which the library {self.library.name!r} "
                        "does not have: continue with the library it was learned with."
                    )
                if not (1 <= count <= episodes[task_type] and 0 <= total <= count):
                    raise _state_error(task_type, f"{skill_id!r} has {count} episodes and rewards of {total:g} in all")
        self._episodes, self._arms = episodes, arms
        self._cache.clear()

    def _key(self, query: SkillQuery) -> Hashable:
        return query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        competing = [skill for skill in self.library if self._competes(skill)]
        arms = [skill for skill in competing if skill.applies_to(query.task_type)] or competing
        # `sorted` keeps the library's order among equals.
        scored = sorted((ScoredSkill(skill, self._bound(query.task_type, skill)) for skill in arms), key=_descending)
        return tuple(scored[: self.k]), ""

    def _bound(self, task_type: str, skill: Skill) -> float:
        count, total = self._arms.get(task_type, {}).get(skill.id, (0, 0.0))
        if count == 0:
            return inf
        return total / count + self.ucb_c * sqrt(log(self._episodes[task_type]) / count)


def _descending(scored: ScoredSkill) -> float:
    return -scored.score


def _state_error(task_type: object, reason: str) -> ValueError:
    return ValueError(
        f"This is no state of the strategy 'ucb' (task type {task_type!r}: {reason}); give what get_state() returned."
    )
