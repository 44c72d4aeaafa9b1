"""Prompt templates: chat messages from an episode so far, and actions from the model's responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sdar_gym.envs.registry import entry_of, is_object_path, load_object
from sdar_gym.text import shortened

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class PastTurn:
    """One finished turn.

    Attributes:
        observation: The observation before the action.
        action: The action that was sent to the environment.
        tagged: Whether the response had the tags that mark an action; else `action` is the whole response.
    """

    observation: str
    action: str
    tagged: bool = True

    def shortened(self, characters: int) -> PastTurn:
        """The turn with the end of an untagged response only, as the released SDAR code keeps it."""
        if self.tagged or len(self.action) <= characters:
            return self
        return PastTurn(self.observation, self.action[-characters:], tagged=False)


@dataclass(frozen=True, slots=True)
class EpisodeView:
    """What a prompt may be made from.

    Attributes:
        goal: The task in a sentence.
        history: The finished turns, oldest first.
        observation: The current observation.
        admissible_actions: Actions with an effect now; empty if open-ended.
    """

    goal: str
    history: tuple[PastTurn, ...]
    observation: str
    admissible_actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParsedAction:
    """The action in a response.

    Attributes:
        action: The action for the environment.
        valid: Whether the response had the required form.
        tagged: Whether the tags that mark an action were present; else `action` is the whole response.
    """

    action: str
    valid: bool
    tagged: bool = True


@dataclass(frozen=True, slots=True)
class PrivilegedContext:
    """A text that only the teacher reads, with its heading.

    Attributes:
        text: The text.
        heading: What it is, for prompts in sentences.
        label: The same in one word, for compact prompts.
    """

    text: str
    heading: str
    label: str


def skill_context(text: str) -> PrivilegedContext | None:
    """Retrieved skills as privileged context; None where there are none.

    Args:
        text: The skills' text.
    """
    return PrivilegedContext(text, "Advice that helped before", "skill") if text else None


class PromptTemplate(Protocol):
    """The prompt of one environment, and the parser of the model's responses.

    A template may also have `next_message(view, actions)`, the user message of a later turn in a conversation, and
    `respond(action, think=...)`, which writes worked examples.
    """

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """The chat messages of this turn.

        Args:
            view: The episode so far.
            window: Number of past turns included verbatim.
            think: Whether the model is asked to reason in `<think>` tags first.
            privileged: Text for the teacher's user message, under its heading; None in the student's prompt.
        """
        ...

    def parse(self, response: str, *, think: bool) -> ParsedAction:
        """Parses the action in a model's response to `messages`."""
        ...


def parse_action(response: str, *, think: bool) -> ParsedAction:
    """Parses the action in a model's response.

    The first `<action>…</action>` counts. A response without one, or without `<think>…</think>` where that is required,
    is invalid; it is still sent to the environment, as in the reference code, so that it costs a turn. Unlike the
    reference code the text is neither lower-cased nor cut to its last characters.

    Args:
        response: The decoded response.
        think: Whether `<think>` tags are required.
    """
    action = between(response, "<action>", "</action>")
    if action is None:
        return ParsedAction(response.strip(), False, tagged=False)
    return ParsedAction(action.strip(), not think or between(response, "<think>", "</think>") is not None)


def between(text: str, opening: str, closing: str) -> str | None:
    """The text between the first opening tag and the first closing tag after it; None if there is no such pair.

    A regular expression for the same would take quadratic time on a text of opening tags alone.
    """
    start = text.find(opening)
    end = -1 if start < 0 else text.find(closing, start + len(opening))
    return None if end < 0 else text[start + len(opening) : end]


def instruction(think: bool) -> str:
    """The required form of the response."""
    if think:
        return (
            "First reason step by step about the situation inside <think> </think> tags. "
            "Then give exactly one action inside <action> </action> tags."
        )
    return "Answer with exactly one action inside <action> </action> tags."


def action_list(actions: Sequence[str]) -> str:
    """The admissible actions, one a line; empty if there are none."""
    listed = "\n".join(f"'{action}'" for action in actions if action != "help")
    return f"Actions you can take now: [{listed}]" if actions else ""


def action_changes(before: Sequence[str], now: Sequence[str]) -> str:
    """How the admissible actions differ from those of the turn before; empty where they do not."""
    known, current = set(before), set(now)
    new = [f"'{action}'" for action in now if action not in known]
    gone = [f"'{action}'" for action in before if action not in current]
    lines = [f"New actions: [{', '.join(new)}]"] * bool(new) + [f"No longer possible: [{', '.join(gone)}]"] * bool(gone)
    return "\n".join(lines)


def next_message(template: PromptTemplate, view: EpisodeView, actions: str) -> str:
    """The user message of a later turn in a conversation, by the template's `next_message` if it has one.

    Args:
        template: The environment's prompt.
        view: The episode so far.
        actions: The part on admissible actions; may be empty.
    """
    own = getattr(template, "next_message", None)
    if own is not None:
        return own(view, actions)
    return "\n\n".join(part for part in (view.observation, actions) if part)


def history_lines(history: Sequence[PastTurn], window: int) -> str:
    """The last `window` turns, numbered from the start of the episode."""
    first = max(0, len(history) - window)
    return "\n".join(
        f"[Observation {number}: {turn.observation!r}, Action {number}: {turn.action!r}]"
        for number, turn in enumerate(history[first:], start=first + 1)
    )


class ActionTags:
    """Base of prompts with responses of the form `<action>…</action>`."""

    def parse(self, response: str, *, think: bool) -> ParsedAction:
        """See `parse_action`."""
        return parse_action(response, think=think)

    def respond(self, action: str, *, think: bool) -> str:
        """A response with this action in the required form, as worked examples show it."""
        return f"{thought(action) if think else ''}<action>{action}</action>"


def thought(action: str) -> str:
    """The reasoning of a worked example: experts act, they do not say why."""
    return f"<think>The task is not done yet. The next step is: {action}</think>\n"


class WindowTemplate(ActionTags):
    """The generic prompt: the task, the last turns verbatim, the observation, the admissible actions.

    Source: the order of fields follows the SDAR code's environment prompts (arXiv 2605.15155); the wording is ours.

    Args:
        role: Who the model is, a sentence.
    """

    def __init__(self, role: str):
        self._role = role

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message with everything in it."""
        parts = [self._role, f"Your task: {view.goal}"]
        if privileged is not None:
            parts.append(f"{privileged.heading}:\n{privileged.text}")
        if view.history and window:
            shown = min(window, len(view.history))
            parts.append(
                f"You have taken {len(view.history)} step(s). The last {shown}:\n{history_lines(view.history, window)}"
            )
        parts.append(f"Step {len(view.history) + 1}. You see: {view.observation}")
        if view.admissible_actions:
            parts.append(action_list(view.admissible_actions))
        parts.append(instruction(think))
        return [{"role": "user", "content": "\n\n".join(parts)}]


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": WindowTemplate("You are an agent acting in a world that is described in text."),
}


def prompt_template(env_id: str, name: str) -> PromptTemplate:
    """A prompt template, by the name it has in its environment, or one of your own.

    Args:
        env_id: The environment.
        name: One of the environment's names, or `module:NAME`: a template anywhere, an object with the methods of
            `PromptTemplate`. All processes of a run have to find the module.

    Raises:
        ValueError: The environment has no such template, or there is none at `module:NAME`.
    """
    templates: Mapping[str, PromptTemplate] = load_object(entry_of(env_id).prompt, f"The prompt templates of {env_id},")
    if not isinstance(templates, Mapping):
        raise ValueError(f"The prompt templates of {env_id} must be a table by name, got {shortened(templates)}.")
    if isinstance(name, str) and name in templates:
        return _checked_template(templates[name], f"The prompt template {name!r} of {env_id}")
    if is_object_path(name):
        return _checked_template(load_object(name, "The prompt template"), f"The prompt template {name!r}")
    raise ValueError(
        f"{env_id} has no prompt template {shortened(name)}; it has {', '.join(sorted(templates))}. One of your own is "
        "named module:NAME."
    )


def _checked_template(template: Any, what: str) -> PromptTemplate:
    if isinstance(template, type):
        raise ValueError(f"{what} is the class {template.__name__}; name an object of it, made in the module.")
    missing = [method for method in ("messages", "parse") if not callable(getattr(template, method, None))]
    if missing:
        raise ValueError(f"{what} has no method {missing[0]}() and is no PromptTemplate: {shortened(template)}.")
    return template
