"""Prompts of programming tasks: what they show, and which responses are valid."""

from __future__ import annotations

import gymnasium

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.code.env import CodeEnv
from sdar_gym.envs.code.generator import fenced
from sdar_gym.envs.code.prompt import TEMPLATES
from sdar_gym.envs.prompting import EpisodeView, PastTurn, PrivilegedContext, next_message, prompt_template

ONE = "def f(x): return x+1"
VIEW = EpisodeView("f(x): x plus 2. f(1) == 3", (), "f(x): x plus 2. f(1) == 3", ())
LATER = EpisodeView(VIEW.goal, (PastTurn(VIEW.goal, fenced(ONE)),), "0 of 2 public tests passed.", ())


def test_the_window_prompt_shows_the_task_the_attempts_and_the_form() -> None:
    template = prompt_template("sdar/Code-v0", "window")
    (message,) = template.messages(
        LATER, window=2, think=False, privileged=PrivilegedContext("Add.", "Advice", "skill")
    )
    for part in ("x plus 2. f(1) == 3", "Advice:\nAdd.", ONE, "0 of 2 public tests passed.", "```python"):
        assert part in message["content"]
    assert "```python" in next_message(template, LATER, "")


def test_a_response_is_valid_with_a_program_in_it() -> None:
    template = TEMPLATES["window"]
    assert template.parse(f"I add one.\n{fenced(ONE)}", think=False).valid
    assert not template.parse("I add one.", think=False).valid
    assert not template.parse(fenced(ONE), think=True).valid
    parsed = template.parse(f"<think>{fenced('x = 1')}</think>\n{fenced(ONE)}", think=True)
    assert parsed.valid and "x = 1" not in parsed.action


def test_the_compact_prompt_is_a_line_and_its_response_the_program_alone() -> None:
    template = TEMPLATES["compact"]
    assert template.messages(VIEW, window=1, think=False) == [{"role": "user", "content": f"problem: {VIEW.goal}"}]
    respond = template.respond  # pyright: ignore[reportAttributeAccessIssue]
    assert respond(fenced(ONE), think=False) == ONE
    assert respond("nothing", think=False) == "nothing"
    assert template.parse(ONE, think=False).valid
    assert not template.parse("def f(x): return x+", think=False).valid


def test_the_expert_s_answer_is_valid_in_every_prompt() -> None:
    env = gymnasium.make("sdar/Code-v0").unwrapped
    assert isinstance(env, CodeEnv)
    for task_id in env.task_ids("dev")[::20]:
        env.reset(options={"task_id": task_id})
        for template in TEMPLATES.values():
            for think in (False, True):
                response = template.respond(env.reference_answer(), think=think)  # pyright: ignore[reportAttributeAccessIssue]
                parsed = template.parse(response, think=think)
                assert parsed.valid
                env.reset(options={"task_id": task_id})
                assert env.step(parsed.action)[4]["won"]
