"""Turns played episodes into candidate skills without a model: what worked, in few steps, and what is refused most.

The rules are few, so that one can tell where every word of a candidate comes from:

- Of each task type the won episode with the fewest accepted actions gives a skill: its actions, abstracted, in order.
- Of each task type the refused action, abstracted, that occurs most often gives a mistake, if it occurs often enough.
- Abstraction keeps what carries over to another task. A numbered thing that the goal names ("mug 2") becomes
  `<thing 1>` (things count in the goal's order), another one its kind ("fridge 1" becomes `fridge`). Of an argument in
  brackets or tags, words of the goal become `<words of the task>`, words shown before `<words found before>` (in tags),
  a product's code `<code>`, other words in tags or in a search `<words of your own>`; the rest is kept: it is buttons.
- Steps that follow each other and read the same after that are told once, and so are repeated pairs and triples.

Candidates are a beginning for a person or a model to edit; nothing here knows whether a step was needed.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from sdar_gym.skills.markdown import SkillFormatError
from sdar_gym.skills.skill import ADVICE, MISTAKE, Skill

_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_NUMBERED = re.compile(r"\b([a-z]+) (\d+)\b")
_ARGUMENT = re.compile(r"(?P<open><(?P<tag>\w+)>)(?P<in>.*?)</(?P=tag)>|(?P<name>\w+)\[(?P<arg>.*)\]", re.DOTALL)
_CODE = re.compile(r"(?=\w*\d)(?=\w*[a-z])\w{8,}", re.IGNORECASE)
_LONGEST_REPEAT = 3
_SMALL = frozenset({"a", "an", "and", "for", "in", "of", "on", "or", "some", "the", "to", "with"})


def read_episodes(path: Path) -> list[dict[str, Any]]:
    """The episodes of a run folder (its `episodes/*.jsonl`) or of one such file.

    Raises:
        ValueError: There are none.
        SkillFormatError: A line is no episode.
    """
    files = [path] if path.is_file() else sorted((path / "episodes").glob("*.jsonl"))
    if not files:
        raise ValueError(f"No episodes in {path}; give a run folder, which holds episodes/*.jsonl, or such a file.")
    return [episode for file in files for episode in _read_file(file)]


def _read_file(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            episode = json.loads(line)
            _check(episode)
        except (ValueError, TypeError, KeyError) as error:
            raise SkillFormatError(
                f"{file.name}, line {number}: no episode ({error!r}); fetch the file anew."
            ) from None
        yield episode


def _check(episode: Any) -> None:
    """Raise some error for what the rules below could not read."""
    for key in ("task_type", "goal", "episode_id"):
        if not isinstance(episode[key], str):
            raise TypeError(f"{key} is no text")
    for turn in episode["turns"]:
        if not isinstance(turn["action"], str) or not isinstance(turn["observation"], str):
            raise TypeError("a turn's action or observation is no text")
        _ = bool(turn["valid_action"])
    _ = bool(episode["won"])


def summarise(
    episodes: Iterable[Mapping[str, Any]], *, env: str, origin: str, min_mistakes: int = 3
) -> tuple[Skill, ...]:
    """Candidate skills from episodes; see the module for the rules.

    Args:
        episodes: As in `episodes/*.jsonl` of a run folder (`Episode.to_json`).
        env: Environment of the skills.
        origin: Where the episodes are from; each skill adds its own.
        min_mistakes: How often an action has to be refused before it is worth a skill.

    Returns:
        By task type in alphabetical order, what worked before what did not. Empty if nothing was won or refused.

    Raises:
        ValueError: `min_mistakes` is below 1.
    """
    if min_mistakes < 1:
        raise ValueError(f"min_mistakes is a number of refusals, at least 1; got {min_mistakes}.")
    by_type: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for episode in episodes:
        by_type[episode["task_type"]].append(episode)
    candidates: list[Skill] = []
    for task_type, played in sorted(by_type.items()):
        found = (_what_worked(task_type, played, env, origin), _mistake(task_type, played, env, origin, min_mistakes))
        candidates += [skill for skill in found if skill is not None]
    return tuple(candidates)


def steps_of(episode: Mapping[str, Any]) -> list[str]:
    """The accepted actions of an episode, abstracted and with repetitions told once."""
    return _told_once([step for step, accepted, _ in _abstracted(episode) if accepted])


def _what_worked(task_type: str, played: list[Mapping[str, Any]], env: str, origin: str) -> Skill | None:
    won = [episode for episode in played if episode["won"] and any(turn["valid_action"] for turn in episode["turns"])]
    if not won:
        return None
    # `min` takes the first of several, so the order of the files decides and a repeated call gives the same skill.
    best = min(won, key=lambda episode: sum(bool(turn["valid_action"]) for turn in episode["turns"]))
    text = "These steps worked: " + "; ".join(steps_of(best)) + "."
    when = f"the task is like this one: {' '.join(best['goal'].split())}"
    where = f"{origin}, episode {best['episode_id']}, the shortest of {len(won)} won"
    return _skill(task_type, "worked", "Steps that worked", text, when, env, where, ADVICE)


def _mistake(task_type: str, played: list[Mapping[str, Any]], env: str, origin: str, least: int) -> Skill | None:
    refused: Counter[str] = Counter()
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    inside: defaultdict[str, set[int]] = defaultdict(set)
    for number, episode in enumerate(played):
        for step, accepted, answer in _abstracted(episode):
            if not accepted:
                refused[step] += 1
                inside[step].add(number)
                if answer:
                    answers[step][answer] += 1
    if not refused or refused.most_common(1)[0][1] < least:
        return None
    step, times = refused.most_common(1)[0]
    what = f'Do not write "{step}"' if step else "Do not answer without an action in the required form"
    text = f"{what}: it was refused {times} times in {len(inside[step])} of {len(played)} episodes."
    common = answers[step].most_common(1)
    # A whole page would not be an answer to learn from; a sentence is.
    if common and len(common[0][0]) <= 120:
        text += f" The world answers: {common[0][0]}"
    when = f"about to write {step}" if step else "writing an answer"
    return _skill(task_type, "refused", "What is refused most", text, when, env, origin, MISTAKE)


def _skill(task_type: str, what: str, title: str, text: str, when: str, env: str, origin: str, kind: str) -> Skill:
    mark = sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    stem = re.sub(r"[^a-z0-9_-]", "-", task_type.lower()).lstrip("-_") or "task"
    types = (task_type,) if task_type else ("task",)
    return Skill(f"learned.{stem}.{what}-{mark}", f"{title}: {stem}", text, when, env, types, origin, (), kind)


def _abstracted(episode: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """Each action abstracted, whether it was accepted, and what the world said to it (if the episode has it)."""
    goal = episode["goal"].lower()
    words = _WORD.findall(goal)
    turns, seen = episode["turns"], ""
    named: list[str] = [word for word in dict.fromkeys(words) if _is_thing(word, turns)]
    for number, turn in enumerate(turns):
        seen += "\n" + turn["observation"].lower()
        answer = turns[number + 1]["observation"] if number + 1 < len(turns) else ""
        yield _abstract(turn["action"], set(words), named, seen), bool(turn["valid_action"]), " ".join(answer.split())


def _is_thing(word: str, turns: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a word of the goal is a thing that actions number, such as the mug in "take mug 2 from desk 1"."""
    return any(name == word for turn in turns for name, _ in _NUMBERED.findall(turn["action"].lower()))


def _abstract(action: str, words: set[str], named: list[str], seen: str) -> str:
    text = " ".join(action.lower().split())
    found = _ARGUMENT.search(text)
    if found and found["tag"]:
        return f"<{found['tag']}>{_argument(found['in'], words, seen, found['tag'])}</{found['tag']}>"
    if found:
        return f"{found['name']}[{_argument(found['arg'], words, '', found['name'])}]"
    return _NUMBERED.sub(lambda part: f"<thing {named.index(part[1]) + 1}>" if part[1] in named else part[1], text)


def _argument(text: str, words: set[str], seen: str, name: str) -> str:
    said = [word for word in _WORD.findall(text) if word not in _SMALL]
    if said and set(said) <= words:
        return "<words of the task>"
    if _CODE.fullmatch(text):
        return "<code>"
    if text and seen and text in seen:
        return "<words found before>"
    # A click on a button is the same in every task; a search or an answer never is.
    return "<words of your own>" if seen or name == "search" else text


def _told_once(steps: list[str]) -> list[str]:
    """Steps without immediate repetitions of one, two or three of them."""
    told: list[str] = []
    for step in steps:
        told.append(step)
        for length in range(1, _LONGEST_REPEAT + 1):
            if len(told) >= 2 * length and told[-length:] == told[-2 * length : -length]:
                del told[-length:]
                break
    return told
