"""Search-QA's prompts: the question with searches and results, and a compact prompt of notes for very small models."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.prompting import EpisodeView, Message, ParsedAction, PrivilegedContext, PromptTemplate, thought
from sdar_gym.envs.searchqa.notes import Note, notes_of, timeline
from sdar_gym.envs.searchqa.text import read_call, write_call
from sdar_gym.text import well_formed

_ROLE = "You answer questions. You can look things up in a collection of passages."


class SearchTags:
    """Base of prompts with responses of the form `<search>…</search>` or `<answer>…</answer>`."""

    def parse(self, response: str, *, think: bool) -> ParsedAction:
        """See `read_call`."""
        call = read_call(response)
        return ParsedAction(call.action, call.valid)

    def respond(self, action: str, *, think: bool) -> str:
        """A response with this action, which is in tags itself, as worked examples show it."""
        return f"{thought('search' if action.startswith('<search>') else 'answer') if think else ''}{action}"


class SearchTemplate(SearchTags):
    """The question, what was searched and found in the last turns, and the two things that can be done.

    Source: the order of fields follows the SDAR code's search prompts (arXiv 2605.15155); the wording is ours. As
    there, reasoning in `<think>` tags is asked for but not required of an answer.
    """

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message with everything in it."""
        parts = [_ROLE, f"Question: {view.goal}"]
        if privileged is not None:
            parts.append(f"{privileged.heading}:\n{privileged.text}")
        if view.history:
            parts.append(f"You have taken {len(view.history)} step(s).{_steps(view, window)}")
        parts.append(_instruction(think))
        return [{"role": "user", "content": "\n\n".join(parts)}]


def _steps(view: EpisodeView, window: int) -> str:
    # What a step led to is what was shown after it: the observation of the next one.
    led_to = [turn.observation for turn in view.history[1:]] + [view.observation]
    first = max(0, len(view.history) - window)
    lines = [
        f"Step {number}: {turn.action} {found}"
        for number, (turn, found) in enumerate(zip(view.history, led_to, strict=True), start=1)
        if number > first
    ]
    return f" The last {len(lines)}:\n" + "\n".join(lines) if lines else f" The last one found: {view.observation}"


def _instruction(think: bool) -> str:
    """The required form of the response."""
    choice = (
        "either search with <search>your query</search>, or, if you know the answer, end with "
        "<answer>the answer in a few words</answer>. Do only one of the two, once."
    )
    if think:
        return f"First reason inside <think> </think> tags about what you know and what is missing. Then {choice}"
    return choice[0].upper() + choice[1:]


class CompactSearchTemplate(SearchTags):
    """The question and notes on the searches, some hundred tokens.

    Of each search the query, unless it is the title found, and the sentences of the best passage that have names and
    numbers; and the years of the passages in order, since very small models cannot compare numbers. It leaves other
    passages out, and needs no window, since notes cover the whole episode.
    """

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message; `window` is not used, and there are no instructions on the form of the response."""
        return [{"role": "user", "content": render_notes(view.goal, notes_of(view), privileged)}]

    def next_message(self, view: EpisodeView, actions: str) -> str:
        """The observation; the past is in the conversation."""
        return view.observation

    def respond(self, action: str, *, think: bool) -> str:
        """A response with this action; a space before its text, as in the prompt, makes a name the same tokens."""
        call = read_call(action)
        return super().respond(action if call.kind == "none" else write_call(call.kind, f" {call.text}"), think=think)


def render_notes(goal: str, notes: list[Note], privileged: PrivilegedContext | None) -> str:
    """The compact prompt's text."""
    lines = [f"question: {goal}"]
    if privileged is not None:
        lines.append(f"{privileged.label}: {privileged.text}")
    for note in notes:
        if not note.query:
            lines.append("failed: no search")
            continue
        if note.title != note.query:
            lines.append(f"searched: {note.query}")
        named = "" if note.title in note.text else f"{note.title}: "
        lines.append(f"found: {named}{note.text or 'nothing'}")
    years = timeline(notes)
    if years:
        lines.append(f"years: {', '.join(f'{year} {title}' for year, title in years)}")
    # Queries are quoted as they were sent, and may end in half a character.
    return well_formed("\n".join(lines))


TEMPLATES: Mapping[str, PromptTemplate] = {"window": SearchTemplate(), "compact": CompactSearchTemplate()}
