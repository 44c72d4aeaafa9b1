"""Prompts of problems: the problem, earlier answers with what was wrong, and the required form of an answer."""

from __future__ import annotations

from collections.abc import Callable

from sdar_gym.envs.prompting import EpisodeView, Message, ParsedAction, PrivilegedContext

_UNFINISHED = "<think>"
_FINISHED = "</think>"


def without_thoughts(response: str) -> str:
    """The response after its reasoning in `<think>` tags; the whole text if there is none."""
    _, found, rest = response.rpartition(_FINISHED)
    return (rest if found else response).strip()


class ProblemTemplate:
    """The prompt of an environment whose actions are whole answers.

    The action is the response without the reasoning in `<think>` tags, so that a verifier sees working and answer. Its
    form is valid if an answer can be found in it, and, where thoughts are asked for, if they are there.

    Args:
        role: Who the model is, a sentence.
        form: How to write the answer, a sentence.
        has_answer: Whether an answer can be found in an action.
    """

    def __init__(self, role: str, form: str, has_answer: Callable[[str], bool]):
        self._role = role
        self._form = form
        self._has_answer = has_answer

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message with everything in it."""
        parts = [self._role, f"Problem:\n{view.goal}"]
        if privileged is not None:
            parts.append(f"{privileged.heading}:\n{privileged.text}")
        parts += attempts(view, window)
        parts.append(self.instruction(think))
        return [{"role": "user", "content": "\n\n".join(parts)}]

    def next_message(self, view: EpisodeView, actions: str) -> str:
        """What was wrong with the last answer, and the request for another."""
        return f"{view.observation}\n\nAnswer again. {self._form}"

    def instruction(self, think: bool) -> str:
        """The required form of the response."""
        if think:
            return f"First reason inside <think> </think> tags. Then answer. {self._form}"
        return f"Reason step by step, then answer. {self._form}"

    def parse(self, response: str, *, think: bool) -> ParsedAction:
        """See the class."""
        action = without_thoughts(response)
        found = self._has_answer(action)
        return ParsedAction(action, found and (not think or _FINISHED in response), tagged=found)

    def respond(self, action: str, *, think: bool) -> str:
        """A response with this action, as worked examples show it."""
        return f"{_UNFINISHED}I work it out step by step.{_FINISHED}\n{action}" if think else action


class CompactProblemTemplate(ProblemTemplate):
    """The problem and little else, for very small models: a line each for the problem and what else is known."""

    def __init__(self, has_answer: Callable[[str], bool]):
        super().__init__("", "", has_answer)

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message; there are no instructions on the form of the response."""
        lines = [f"problem: {view.goal}"]
        if privileged is not None:
            lines.append(f"{privileged.label}: {privileged.text}")
        if view.history and window:
            lines += [f"answered: {view.history[-1].action}", f"reply: {view.observation}"]
        return [{"role": "user", "content": "\n".join(lines)}]

    def next_message(self, view: EpisodeView, actions: str) -> str:
        """What was wrong with the last answer."""
        return view.observation


def attempts(view: EpisodeView, window: int) -> list[str]:
    """The last answers, each with what was wrong; empty in the first turn."""
    if not view.history:
        return []
    # The reply to an answer is what was shown after it: the observation of the next turn.
    replies = [*(turn.observation for turn in view.history[1:]), view.observation][: len(view.history)]
    first = max(0, len(view.history) - window)
    return [
        f"Your answer {number}:\n{turn.action}\n\nResult:\n{reply}"
        for number, (turn, reply) in enumerate(zip(view.history, replies, strict=True), start=1)
        if number > first
    ]
