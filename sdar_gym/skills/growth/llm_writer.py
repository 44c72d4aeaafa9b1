"""LLM skill writer: an instruction model writes candidate skills from won and lost episodes.

A candidate names in its origin the model and the episodes, joins a library only if it is no duplicate, and nothing here
tests whether it helps. A response that breaks the required form is rejected with a reason and counted, never repaired.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sdar_gym.skills.growth.extract import episode_name, learned_skill, shortest_won
from sdar_gym.skills.skill import ADVICE, Skill

Messages = list[dict[str, str]]
LABELS = ("Title", "When", "Advice")
# The form as the prompt shows it; a copy of it is rejected.
_FORM = ("a few words", "in which situation it helps", "what to do, in two to four sentences")
_SYSTEM = "You study how an agent acts in a text world and write short advice for it."
_LONGEST = {"Title": 12, "When": 40, "Advice": 120}  # words
# Levels of detail of a prompt, most first: characters per observation, and most episodes of each kind.
_DETAIL = ((300, 3), (120, 3), (120, 2), (120, 1), (40, 1), (0, 1))
# English that the tokenizer of any instruction model encodes in about one token per word; a tokenizer trained on one
# environment's actions needs several.
_PROBE = "Before leaving, remember everything the customer mentioned, and compare their wishes with what you found."
_MAX_TOKENS_PER_WORD = 2.5


class UnfitWriterError(ValueError):
    """A model that cannot write prose on request."""


class ChatModel(Protocol):
    """A chat model as the writer uses it; `sdar_gym.rollout.chat_engine.ChatEngine` is one."""

    tokenizer: Any
    max_response_tokens: int

    @property
    def max_prompt_tokens(self) -> int | None:
        """Longest prompt, in tokens; None if there is no limit."""
        ...

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Token ids of a prompt."""
        ...

    def respond(self, prompts: Sequence[Sequence[int]], seed: int) -> list[tuple[str, bool]]:
        """A response to each prompt, and whether it was cut off."""
        ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A task type for which no skill was written.

    Attributes:
        task_type: The task type.
        reason: Why not.
        response: The model's response, empty if it was not prompted.
    """

    task_type: str
    reason: str
    response: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote: the candidates, and what was rejected."""

    skills: tuple[Skill, ...]
    rejected: tuple[Rejected, ...]


def write_skills(
    chat: ChatModel,
    episodes: Iterable[Mapping[str, Any]],
    *,
    model: str,
    env: str,
    origin: str,
    examples: int = 3,
    max_prompt_tokens: int = 4096,
    seed: int = 0,
) -> Written:
    """Prompt a model for one skill per task type.

    Args:
        chat: The model.
        episodes: As returned by `sdar_gym.skills.growth.episode_reader.read_episodes`.
        model: Its name, for the skills' origin.
        env: Environment of the skills.
        origin: Where the episodes are from.
        examples: Most won, and most lost, episodes in a prompt, 1 to 3.
        max_prompt_tokens: Longest prompt; longer ones are shortened by less detail, then by fewer episodes.
        seed: Of the first response's draws; the others count up from it.

    Returns:
        Candidates by task type in alphabetical order, and the rejected responses.

    Raises:
        UnfitWriterError: The model or its tokenizer is not made for writing.
        ValueError: `examples` is not 1 to 3.
    """
    if not 1 <= examples <= 3:
        raise ValueError(f"examples is a number of episodes from 1 to 3, got {examples}.")
    refuse_unfit(model, chat.tokenizer)
    longest = chat.max_prompt_tokens
    limit = max_prompt_tokens if longest is None else min(max_prompt_tokens, longest)
    by_type: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for episode in episodes:
        if episode["turns"]:
            by_type[episode["task_type"]].append(episode)
    prompted: list[tuple[str, Sequence[Mapping[str, Any]], list[int]]] = []
    rejected: list[Rejected] = []
    for task_type, played in sorted(by_type.items()):
        for shown, messages in _prompts(task_type, played, examples):
            prompt = chat.prompt_ids(messages)
            if len(prompt) <= limit:
                prompted.append((task_type, shown, prompt))
                break
        else:
            rejected.append(Rejected(task_type, f"no prompt about it fits in {limit} tokens"))
    skills: list[Skill] = []
    responses = chat.respond([prompt for _, _, prompt in prompted], seed)
    for (task_type, shown, _), (text, cut_off) in zip(prompted, responses, strict=True):
        try:
            if cut_off:
                raise ValueError(f"it was cut off after {chat.max_response_tokens} tokens")
            title, when, advice = parse_response(text)
        except ValueError as error:
            rejected.append(Rejected(task_type, str(error), text))
            continue
        ids = {
            won: ", ".join(episode_name(e) for e in shown if bool(e["won"]) is won) or "none" for won in (True, False)
        }
        where = f"written by {model} from {origin}, won episodes {ids[True]}; lost ones {ids[False]}"
        skills.append(learned_skill(task_type, "written", title, advice, when, env, " ".join(where.split()), ADVICE))
    return Written(tuple(skills), tuple(rejected))


def refuse_unfit(model: str, tokenizer: Any) -> None:
    """Fail fast on a model that cannot write prose on request.

    Args:
        model: Its name, for messages.
        tokenizer: Its tokenizer.

    Raises:
        UnfitWriterError: The tokenizer has no chat template, or needs several tokens for an English word.
    """
    fix = "Name an instruction model, such as Qwen/Qwen2.5-1.5B-Instruct, or let the rules make candidates."
    if getattr(tokenizer, "chat_template", None) is None:
        raise UnfitWriterError(f"The tokenizer of {model!r} has no chat template, so it takes no instructions. {fix}")
    tokens, words = len(tokenizer.encode(_PROBE, add_special_tokens=False)), len(_PROBE.split())
    if tokens > _MAX_TOKENS_PER_WORD * words:
        raise UnfitWriterError(
            f"The tokenizer of {model!r} needs {tokens} tokens for {words} English words: it was made for something "
            f"narrower than prose, such as one environment's actions, and cannot write skills. {fix}"
        )


def parse_response(text: str) -> tuple[str, str, str]:
    """Title, when to use it, and advice of a response.

    The form is strict: three labels in this order at the beginnings of lines, each once, text behind each, and nothing
    before the first. The reasoning of a reasoning model, closed by `</think>`, is skipped.

    Raises:
        ValueError: The response breaks the form; the message completes "... was rejected: ".
    """
    form = text.rsplit("</think>", 1)[-1].strip()
    found = re.findall(rf"^({'|'.join(LABELS)}):", form, re.MULTILINE)
    if tuple(found) != LABELS or not form.startswith(f"{LABELS[0]}:"):
        raise ValueError(f"it is not of the form {', '.join(f'{label}: …' for label in LABELS)}, each once, in order")
    # One line each: further lines could read as headings or labels where the library is saved.
    parts = [" ".join(part.split()) for part in re.split(rf"^(?:{'|'.join(LABELS)}):", form, flags=re.MULTILINE)[1:]]
    for label, part, example in zip(LABELS, parts, _FORM, strict=True):
        if not re.search(r"\w", part):
            raise ValueError(f"its {label} is empty")
        if part.strip(" .<>[]()").lower() == example:
            raise ValueError(f"its {label} is a copy of what the form says")
        if len(part.split()) > _LONGEST[label]:
            raise ValueError(f"its {label} has {len(part.split())} words, and {_LONGEST[label]} are the most")
        if part.startswith("#"):
            raise ValueError(f"its {label} begins like a heading")
    return parts[0], parts[1], parts[2]


def _prompts(
    task_type: str, played: Sequence[Mapping[str, Any]], examples: int
) -> Iterator[tuple[list[Mapping[str, Any]], Messages]]:
    """The prompts for a task type, in decreasing detail, each with the episodes that it shows."""
    won = _of_different_goals(shortest_won(played))
    goals = {episode["goal"] for episode in won[:examples]}
    # A lost attempt at a goal that another episode reached is the most informative.
    lost = [episode for episode in played if not episode["won"]]
    lost = _of_different_goals(sorted(lost, key=lambda episode: episode["goal"] not in goals))
    for width, most in _DETAIL:
        shown = [*won[: min(examples, most)], *lost[: min(examples, most)]]
        attempts = "\n\n".join(_attempt(number, episode, width) for number, episode in enumerate(shown, start=1))
        form = "\n".join(f"{label}: {what}" for label, what in zip(LABELS, _FORM, strict=True))
        user = (
            f"Here are attempts of the agent at tasks of the kind {task_type!r}. Lines with > are its actions, the "
            f"others are what the world said.\n\n{attempts}\n\n"
            "Find out what decides between success and failure, and write one piece of advice that will help with "
            "other tasks of this kind. Do not mention these attempts, and name no number and no place that only one "
            f"task has. Answer with these three lines and nothing else:\n{form}"
        )
        yield shown, [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}]


def _of_different_goals(episodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first episode of each goal, in order."""
    first: dict[str, Mapping[str, Any]] = {}
    for episode in episodes:
        first.setdefault(episode["goal"], episode)
    return list(first.values())


def _attempt(number: int, episode: Mapping[str, Any], width: int) -> str:
    """An episode in a prompt; observations are cut to `width` characters, 0 leaves them out."""
    lines = [
        f"Attempt {number} ({'success' if episode['won'] else 'failure'}). Task: {' '.join(episode['goal'].split())}"
    ]
    for turn in episode["turns"]:
        seen = " ".join(turn["observation"].split())
        lines += [f"{seen[:width]}{'…' if len(seen) > width else ''}"] if width else []
        lines.append(f"> {' '.join(turn['action'].split())}{'' if turn['valid_action'] else '  (refused)'}")
    return "\n".join(lines)
