"""Skill extraction from played episodes by rules, without a model: what worked, what was left out, what is refused.

The rules are few, so that every word of a candidate can be traced:

- The won episode of a task type with the fewest accepted actions gives a skill: its actions, abstracted, in order.
- The first of these actions that every won episode has, and at least half of the lost ones lack, gives a second one.
- The refused action, abstracted, that occurs in most episodes of the task type gives a mistake, if it is refused more
  often than accepted, and often enough.

`sdar_gym.skills.growth.abstraction` has the rules of abstraction. Each candidate's origin names its episodes and their
number; the text, which a model reads, has no figures, so that a second run that teaches the same adds nothing.
Candidates are a starting point for a person or a model to edit; nothing here tests whether a step was needed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from sdar_gym.skills.growth.abstraction import abstract_turns, steps_of
from sdar_gym.skills.skill import ADVICE, MISTAKE, Skill
from sdar_gym.validation import whole_number

_NAMED = 3


def extract_skills(
    episodes: Iterable[Mapping[str, Any]], *, env: str, origin: str, min_mistakes: int = 3
) -> tuple[Skill, ...]:
    """Candidate skills from episodes; see the module for the rules.

    Args:
        episodes: As returned by `read_episodes` (`Episode.to_json`).
        env: Environment of the skills.
        origin: Where the episodes are from; each skill adds its episodes.
        min_mistakes: Least number of refusals of an action, and of lost episodes that lack one, for a skill about it.

    Returns:
        By task type in alphabetical order: what worked, what was left out, what was refused. Empty if there is none.

    Raises:
        ValueError: `min_mistakes` is below 1.
    """
    min_mistakes = whole_number("min_mistakes", min_mistakes)
    if min_mistakes < 1:
        raise ValueError(f"min_mistakes is a number of refusals, at least 1; got {min_mistakes}.")
    by_type: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for episode in episodes:
        by_type[episode["task_type"]].append(episode)
    candidates: list[Skill | None] = []
    for task_type, played in sorted(by_type.items()):
        candidates.append(_what_worked(task_type, played, env, origin))
        candidates.append(_left_out(task_type, played, env, origin, min_mistakes))
        candidates.append(_mistake(task_type, played, env, origin, min_mistakes))
    return tuple(skill for skill in candidates if skill is not None)


def episode_name(episode: Mapping[str, Any]) -> str:
    """An episode's name in an origin: its id, with the file in front where that is known."""
    return f"{episode['file']}:{episode['episode_id']}" if "file" in episode else str(episode["episode_id"])


def shortest_won(played: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The won episodes with an accepted action, the fewest accepted actions first."""
    won = [episode for episode in played if episode["won"] and _accepted_actions(episode)]
    # `sorted` keeps the files' order among equals, so that a repeated call gives the same skill.
    return sorted(won, key=_accepted_actions)


def _accepted_actions(episode: Mapping[str, Any]) -> int:
    return sum(bool(turn["valid_action"]) for turn in episode["turns"])


def _what_worked(task_type: str, played: Sequence[Mapping[str, Any]], env: str, origin: str) -> Skill | None:
    won = shortest_won(played)
    if not won:
        return None
    text = "These steps worked: " + "; ".join(steps_of(won[0])) + "."
    when = f"the task is like this one: {' '.join(won[0]['goal'].split())}"
    where = f"{origin}, episode {episode_name(won[0])}, the shortest of {len(won)} won"
    return learned_skill(task_type, "worked", f"Steps that worked: {_stem(task_type)}", text, when, env, where, ADVICE)


def _left_out(task_type: str, played: Sequence[Mapping[str, Any]], env: str, origin: str, least: int) -> Skill | None:
    won, lost = shortest_won(played), [episode for episode in played if not episode["won"]]
    if len(won) < least:
        return None  # What few won episodes have in common may be chance.
    common = set.intersection(*(set(steps_of(episode)) for episode in won))
    did = [(episode, set(steps_of(episode))) for episode in lost]
    # The first such step, not the most often missing one: that would be the last one, which is winning itself.
    for step in dict.fromkeys(steps_of(won[0])):
        without = [episode for episode, steps in did if step not in steps]
        if step in common and len(without) >= least and 2 * len(without) >= len(lost):
            text = f'Do not leave out "{step}": every won episode did it, and most of the lost ones did not.'
            where = f"{origin}, {len(without)} of {len(lost)} lost episodes: {_some(without)}; won ones: {_some(won)}"
            when = f"the task is like this one: {' '.join(without[0]['goal'].split())}"
            return learned_skill(
                task_type, "left-out", f"Left out when lost: {_stem(task_type)}", text, when, env, where, ADVICE
            )
    return None


def _mistake(task_type: str, played: Sequence[Mapping[str, Any]], env: str, origin: str, least: int) -> Skill | None:
    refused: Counter[str] = Counter()
    allowed: Counter[str] = Counter()
    replies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seen_in: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for episode in played:
        for step, accepted, reply in abstract_turns(episode):
            if accepted:
                allowed[step] += 1
                continue
            refused[step] += 1
            if not seen_in[step] or seen_in[step][-1] is not episode:
                seen_in[step].append(episode)
            if reply:
                replies[step][reply] += 1
    # By episodes first: one that is stuck repeats the same action dozens of times. And an action that is accepted more
    # often than refused is no mistake in itself.
    wrong = [step for step, times in refused.items() if times >= least and times > allowed[step]]
    if not wrong:
        return None
    step = max(wrong, key=lambda step: (len(seen_in[step]), refused[step]))
    what = f'Do not write "{step}"' if step else "Do not answer without an action in the required form"
    text = f"{what}: it is refused."
    common = replies[step].most_common(1)
    # A sentence is worth quoting, a whole page is not.
    if common and len(common[0][0]) <= 120:
        text += f" The world answers: {common[0][0]}"
    when = f"about to write {step}" if step else "writing an answer"
    where = f"{origin}, {refused[step]} times in {len(seen_in[step])} of {len(played)} episodes: {_some(seen_in[step])}"
    return learned_skill(
        task_type, "refused", f"What is refused most: {_stem(task_type)}", text, when, env, where, MISTAKE
    )


def _some(episodes: Sequence[Mapping[str, Any]]) -> str:
    """The first few of many episodes, for an origin."""
    more = f" and {len(episodes) - _NAMED} more" if len(episodes) > _NAMED else ""
    return ", ".join(map(episode_name, episodes[:_NAMED])) + more


def learned_skill(
    task_type: str, what: str, title: str, text: str, when: str, env: str, origin: str, kind: str
) -> Skill:
    """A learned skill with the id `learned.<task type>.<what>-<hash of the text>`."""
    mark = sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    types = (task_type,) if task_type else ("task",)
    return Skill(f"learned.{_stem(task_type)}.{what}-{mark}", title, text, when, env, types, origin, (), kind)


def _stem(task_type: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", task_type.lower()).lstrip("-_") or "task"
