"""Turns played episodes into candidate skills without a model: what worked, what was left out, and what is refused.

The rules are few, so that one can tell where every word of a candidate comes from:

- Of each task type the won episode with the fewest accepted actions gives a skill: its actions, abstracted, in order.
- Of each task type the first of these actions that every won episode has, and at least half of the lost ones lack,
  gives a second one.
- Of each task type the refused action, abstracted, that occurs in most episodes gives a mistake, if it is refused more
  often than accepted, and often enough.
- Abstraction keeps what carries over to another task. A numbered thing that the goal names ("mug 2") becomes
  `<thing 1>` (things count in the goal's order), another one its kind ("fridge 1" becomes `fridge`). Of an argument in
  brackets or tags, words of the goal become `<words of the task>`, words shown before `<words found before>` (in tags),
  a product's code `<code>`, other words in tags or in a search `<words of your own>`; the rest is kept: it is buttons.
- Steps that follow each other and read the same after that are told once, and so are repeated pairs and triples.

Each candidate's origin names the episodes it comes from and how many they were; the text, which a model reads, has no
figures, so that a second run that teaches the same adds nothing. Candidates are a beginning for a person or a model to
edit; nothing here knows whether a step was needed.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from hashlib import sha256
from pathlib import Path
from typing import Any

from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.skills.markdown import SkillFormatError, read_bytes
from sdar_gym.skills.skill import ADVICE, MISTAKE, Skill
from sdar_gym.text import well_formed
from sdar_gym.validation import flag, whole_number

TRAIN = "train"
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_NUMBERED = re.compile(r"\b([a-z]+) (\d+)\b")
_OPENING, _CLOSING = re.compile(r"<(\w+)>"), re.compile(r"</(\w+)>")
_NAME = re.compile(r"\w+")
_CODE = re.compile(r"(?=\w*\d)(?=\w*[a-z])\w{8,}", re.IGNORECASE)
_LONGEST_REPEAT = 3
_NAMED = 3
_SMALL = frozenset({"a", "an", "and", "for", "in", "of", "on", "or", "some", "the", "to", "with"})


def read_episodes(path: Path, splits: Collection[str] = (TRAIN,)) -> list[dict[str, Any]]:
    """The episodes of a run folder (its `episodes/*.jsonl`) or of one such file.

    A run folder holds the panels' episodes too. A skill that was learned from a panel's tasks would be measured on
    them, so only those of the training split are read, unless others are named.

    Args:
        path: The folder or the file.
        splits: Whose episodes are read; those that do not tell their split always are.

    Returns:
        The episodes in order, each with the name of its `file`, without which its id is not unique in a run.

    Raises:
        ValueError: There are none, or none of these splits.
        SkillFormatError: A line is no episode.
    """
    path = local_path("The episodes", path)
    files = [path] if path.is_file() else sorted((path / "episodes").glob("*.jsonl"))
    if not files:
        raise ValueError(f"No episodes in {path}; give a run folder, which holds episodes/*.jsonl, or such a file.")
    episodes = [episode for file in files for episode in _read_file(file)]
    kept = [episode for episode in episodes if "split" not in episode or episode["split"] in splits]
    if episodes and not kept:
        found = ", ".join(sorted({episode["split"] for episode in episodes}))
        raise ValueError(
            f"The {len(episodes)} episodes in {path} are of the split {found}, and {', '.join(splits)} was asked for. "
            "Skills learned from tasks must not be measured on them; name the split if that is not meant."
        )
    return kept


def named(episode: Mapping[str, Any]) -> str:
    """An episode in an origin: its id, with the file in front where that is known."""
    return f"{episode['file']}:{episode['episode_id']}" if "file" in episode else str(episode["episode_id"])


def _read_file(file: Path) -> Iterator[dict[str, Any]]:
    lines = read_bytes(file, file.name).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            episode = _checked(json.loads(line))
        except (*DAMAGED, ValueError, TypeError, KeyError) as error:
            reason = f"{first_line(error)} is missing" if isinstance(error, KeyError) else first_line(error)
            raise SkillFormatError(f"{file.name}, line {number}: no episode ({reason}); fetch the file anew.") from None
        yield {**episode, "file": file.stem}


def _checked(episode: Any) -> dict[str, Any]:
    """The episode with texts that can be encoded; raises some error for what the rules below could not read."""
    if not isinstance(episode, dict):
        raise TypeError(f"it is {type(episode).__name__}, no object")
    clean = dict(episode)
    for key in ("task_type", "goal", "episode_id", "split"):
        if key == "split" and key not in episode:
            continue
        clean[key] = _text(key, episode[key])
    if not isinstance(episode["turns"], list):
        raise TypeError("turns is no list")
    clean["turns"] = [_checked_turn(turn) for turn in episode["turns"]]
    clean["won"] = flag("won", episode["won"])
    return clean


def _checked_turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise TypeError(f"a turn is {type(turn).__name__}, no object")
    texts = {key: _text(f"a turn's {key}", turn[key]) for key in ("action", "observation")}
    return {**turn, **texts, "valid_action": flag("valid_action", turn["valid_action"])}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return well_formed(value)


def summarise(
    episodes: Iterable[Mapping[str, Any]], *, env: str, origin: str, min_mistakes: int = 3
) -> tuple[Skill, ...]:
    """Candidate skills from episodes; see the module for the rules.

    Args:
        episodes: As `read_episodes` gives them (`Episode.to_json`).
        env: Environment of the skills.
        origin: Where the episodes are from; each skill adds its own.
        min_mistakes: How often an action has to be refused, and how many lost episodes have to lack one, before it is
            worth a skill.

    Returns:
        By task type in alphabetical order: what worked, what was left out, what was refused. Empty if nothing was.

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


def steps_of(episode: Mapping[str, Any]) -> list[str]:
    """The accepted actions of an episode, abstracted and with repetitions told once."""
    return _told_once([step for step, accepted, _ in _abstracted(episode) if accepted])


def shortest_won(played: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The won episodes with an accepted action, those with the fewest first."""
    won = [episode for episode in played if episode["won"] and _accepted(episode)]
    # `sorted` keeps the files' order among equals, so that a repeated call gives the same skill.
    return sorted(won, key=_accepted)


def _accepted(episode: Mapping[str, Any]) -> int:
    return sum(bool(turn["valid_action"]) for turn in episode["turns"])


def _what_worked(task_type: str, played: Sequence[Mapping[str, Any]], env: str, origin: str) -> Skill | None:
    won = shortest_won(played)
    if not won:
        return None
    text = "These steps worked: " + "; ".join(steps_of(won[0])) + "."
    when = f"the task is like this one: {' '.join(won[0]['goal'].split())}"
    where = f"{origin}, episode {named(won[0])}, the shortest of {len(won)} won"
    return candidate(task_type, "worked", f"Steps that worked: {_stem(task_type)}", text, when, env, where, ADVICE)


def _left_out(task_type: str, played: Sequence[Mapping[str, Any]], env: str, origin: str, least: int) -> Skill | None:
    won, lost = shortest_won(played), [episode for episode in played if not episode["won"]]
    if len(won) < least:
        return None  # What a single won episode did was not needed for that.
    common = set.intersection(*(set(steps_of(episode)) for episode in won))
    did = [(episode, set(steps_of(episode))) for episode in lost]
    # The first such step, not the one that is missing most: that would be the last one, which is winning itself.
    for step in dict.fromkeys(steps_of(won[0])):
        without = [episode for episode, steps in did if step not in steps]
        if step in common and len(without) >= least and 2 * len(without) >= len(lost):
            text = f'Do not leave out "{step}": every won episode did it, and most of the lost ones did not.'
            where = f"{origin}, {len(without)} of {len(lost)} lost episodes: {some(without)}; won ones: {some(won)}"
            when = f"the task is like this one: {' '.join(without[0]['goal'].split())}"
            return candidate(
                task_type, "left-out", f"Left out when lost: {_stem(task_type)}", text, when, env, where, ADVICE
            )
    return None


def _mistake(task_type: str, played: Sequence[Mapping[str, Any]], env: str, origin: str, least: int) -> Skill | None:
    refused: Counter[str] = Counter()
    allowed: Counter[str] = Counter()
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    inside: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for episode in played:
        for step, accepted, answer in _abstracted(episode):
            if accepted:
                allowed[step] += 1
                continue
            refused[step] += 1
            if not inside[step] or inside[step][-1] is not episode:
                inside[step].append(episode)
            if answer:
                answers[step][answer] += 1
    # By episodes first: one that is stuck says the same thing dozens of times. And what is accepted more often than
    # refused is no mistake in itself.
    wrong = [step for step, times in refused.items() if times >= least and times > allowed[step]]
    if not wrong:
        return None
    step = max(wrong, key=lambda step: (len(inside[step]), refused[step]))
    what = f'Do not write "{step}"' if step else "Do not answer without an action in the required form"
    text = f"{what}: it is refused."
    common = answers[step].most_common(1)
    # A whole page would not be an answer to learn from; a sentence is.
    if common and len(common[0][0]) <= 120:
        text += f" The world answers: {common[0][0]}"
    when = f"about to write {step}" if step else "writing an answer"
    where = f"{origin}, {refused[step]} times in {len(inside[step])} of {len(played)} episodes: {some(inside[step])}"
    return candidate(task_type, "refused", f"What is refused most: {_stem(task_type)}", text, when, env, where, MISTAKE)


def some(episodes: Sequence[Mapping[str, Any]]) -> str:
    """The first few of many episodes, for an origin."""
    more = f" and {len(episodes) - _NAMED} more" if len(episodes) > _NAMED else ""
    return ", ".join(map(named, episodes[:_NAMED])) + more


def candidate(task_type: str, what: str, title: str, text: str, when: str, env: str, origin: str, kind: str) -> Skill:
    """A skill that was learned, with an id of its own: `learned.<task type>.<what>-<hash of the text>`."""
    mark = sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    types = (task_type,) if task_type else ("task",)
    return Skill(f"learned.{_stem(task_type)}.{what}-{mark}", title, text, when, env, types, origin, (), kind)


def _stem(task_type: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", task_type.lower()).lstrip("-_") or "task"


def _abstracted(episode: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """Each action abstracted, whether it was accepted, and what the world said to it (if the episode has it)."""
    words = dict.fromkeys(_WORD.findall(episode["goal"].lower()))
    turns, seen = episode["turns"], ""
    # A word of the goal is a thing if actions number it, such as the mug in "take mug 2 from desk 1".
    numbered = {name for turn in turns for name, _ in _NUMBERED.findall(turn["action"].lower())}
    things = {word: place for place, word in enumerate((word for word in words if word in numbered), start=1)}
    for number, turn in enumerate(turns):
        seen += "\n" + turn["observation"].lower()
        answer = turns[number + 1]["observation"] if number + 1 < len(turns) else ""
        yield (
            _abstract(turn["action"], words.keys(), things, seen),
            bool(turn["valid_action"]),
            " ".join(answer.split()),
        )


def _abstract(action: str, words: Set[str], things: Mapping[str, int], seen: str) -> str:
    text = " ".join(action.lower().split())
    found = _argument_in(text)
    if found is None:
        return _NUMBERED.sub(lambda part: f"<thing {things[part[1]]}>" if part[1] in things else part[1], text)
    name, inside, in_tags = found
    if in_tags:
        return f"<{name}>{_argument(inside, words, seen, name)}</{name}>"
    return f"{name}[{_argument(inside, words, '', name)}]"


def _argument_in(text: str) -> tuple[str, str, bool] | None:
    """The first `<name>argument</name>` or `name[argument]`: name, argument, and whether it is in tags.

    An argument in tags ends at the first closing tag, one in brackets at the last bracket of all. Every place is looked
    at once: a pattern for the whole would start anew at each, and answers of models repeat themselves.
    """
    closings = {found[1]: found.start() for found in _CLOSING.finditer(text)}
    tag = next((found for found in _OPENING.finditer(text) if closings.get(found[1], -1) >= found.end()), None)
    end = text.rfind("]")
    named = next(
        (found for found in _NAME.finditer(text) if text.startswith("[", found.end()) and found.end() < end), None
    )
    if tag is not None and (named is None or tag.start() < named.start()):
        return tag[1], text[tag.end() : text.index(f"</{tag[1]}>", tag.end())], True
    return (named[0], text[named.end() + 1 : end], False) if named is not None else None


def _argument(text: str, words: Set[str], seen: str, name: str) -> str:
    said = [word for word in _WORD.findall(text) if word not in _SMALL]
    if said and words >= set(said):
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
