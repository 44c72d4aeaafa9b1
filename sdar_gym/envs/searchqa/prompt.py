"""Search-QA's prompt: the question, searches and their results so far, and the two possible actions."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.prompting import EpisodeView, Message, ParsedAction, PrivilegedContext, PromptTemplate, thought
from sdar_gym.envs.searchqa.text import read_call

_ROLE = "You answer questions. You can look things up in a collection of passages."


class SearchTemplate:
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

    def parse(self, response: str, *, think: bool) -> ParsedAction:
        """See `read_call`."""
        call = read_call(response)
        return ParsedAction(call.action, call.valid)

    def respond(self, action: str, *, think: bool) -> str:
        """A response with this action, which is in tags itself, as worked examples show it."""
        return f"{thought('search' if action.startswith('<search>') else 'answer') if think else ''}{action}"


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


TEMPLATES: Mapping[str, PromptTemplate] = {"window": SearchTemplate()}
