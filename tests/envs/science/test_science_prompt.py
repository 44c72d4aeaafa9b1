"""Science's prompts: what they show, and which responses hold an answer."""

from __future__ import annotations

import pytest

from sdar_gym.envs.prompting import EpisodeView, PastTurn, PrivilegedContext
from sdar_gym.envs.science.prompt import TEMPLATES

GOAL = "A car goes 12 m in 4 s. Find its speed."
REPLY = "The unit is missing."


def view(*actions: str) -> EpisodeView:
    turns = tuple(PastTurn(GOAL if number == 0 else REPLY, action) for number, action in enumerate(actions))
    return EpisodeView(goal=GOAL, observation=REPLY if actions else GOAL, admissible_actions=(), history=turns)


def text(name: str, *actions: str, hint: PrivilegedContext | None = None) -> str:
    (message,) = TEMPLATES[name].messages(view(*actions), window=2, think=False, privileged=hint)
    return message["content"]


def test_the_window_template_asks_for_a_number_with_its_unit() -> None:
    assert GOAL in text("window") and "<answer>…</answer>" in text("window")
    later = text("window", "<answer>3</answer>")
    assert "Your answer 1:\n<answer>3</answer>\n\nResult:\nThe unit is missing." in later


def test_the_compact_template_has_the_problem_and_what_was_wrong() -> None:
    assert text("compact") == f"problem: {GOAL}"
    assert text("compact", "3") == f"problem: {GOAL}\nanswered: 3\nreply: {REPLY}"


@pytest.mark.parametrize("name", ["window", "compact"])
@pytest.mark.parametrize(
    ("response", "action", "valid"),
    [
        ("12/4=3\n<answer>3 m/s</answer>", "12/4=3\n<answer>3 m/s</answer>", True),
        ("<think>4 m?</think> <answer>3 m/s</answer>", "<answer>3 m/s</answer>", True),
        (r"so \boxed{3 m/s}", r"so \boxed{3 m/s}", True),
        ("3 m/s", "3 m/s", True),
        ("I think\nit is three", "I think\nit is three", False),
        ("", "", False),
    ],
)
def test_a_response_is_valid_if_it_holds_an_answer(name: str, response: str, action: str, valid: bool) -> None:
    parsed = TEMPLATES[name].parse(response, think=False)
    assert (parsed.action, parsed.valid) == (action, valid)
