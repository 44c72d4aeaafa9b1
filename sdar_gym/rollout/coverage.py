"""How many episodes got a skill that was made for their kind of task: without one, the teacher is the student."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sdar_gym.rollout.episode import Episode


def coverage(episodes: Iterable[Episode]) -> dict[str, float]:
    """Shares of episodes whose skills held at least one for the task's own type.

    Args:
        episodes: Of an update or a panel. Those for which no skills were asked (`skills_specific` is None) count for
            nothing.

    Returns:
        `skill_coverage` over all, and `skill_coverage/<task type>` in alphabetical order; empty if no episode asked.
    """
    by_type: defaultdict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        if episode.skills_specific is not None:
            by_type[episode.task_type].append(episode.skills_specific)
    if not by_type:
        return {}
    asked = sum(map(len, by_type.values()))
    shares = {f"skill_coverage/{kind}": sum(served) / len(served) for kind, served in sorted(by_type.items())}
    return {"skill_coverage": sum(map(sum, by_type.values())) / asked, **shares}
