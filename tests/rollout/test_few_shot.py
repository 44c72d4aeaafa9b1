"""Worked turns by the environment's expert."""

from __future__ import annotations

from typing import Any

import pytest

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.prompting import TEMPLATES, prompt_template
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.few_shot import worked_turns

CONFIGS: dict[str, dict[str, Any]] = {
    "sdar/ALFWorld-v0": {"games": "generated", "scene": "small"},
    "sdar/WebShop-v0": {},
    "sdar/SearchQA-v0": {},
}


@pytest.mark.parametrize("context", ["window", "conversation"])
@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("env_id", CONFIGS)
def test_the_parser_reads_the_expert_s_actions_back(env_id: str, think: bool, context: str, tokenizer: Any) -> None:
    template, rollout = prompt_template(env_id, "window"), RolloutSettings(think=think, few_shot=2, context=context)
    messages = build_context(tokenizer, env_id, CONFIGS[env_id], rollout).opening
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    for message in messages[1::2]:
        parsed = template.parse(message["content"], think=think)
        assert parsed.valid and parsed.action and ("<think>" in message["content"]) == think
    assert messages == build_context(tokenizer, env_id, CONFIGS[env_id], rollout).opening
    # The form of the response is said in each prompt of a window, and once in a conversation.
    form = [instruction.count("<action>") + instruction.count("<search>") for instruction in contents(messages)]
    assert form[0] > 0 and (form[1] > 0) == (context == "window")


def contents(messages: Any) -> list[str]:
    """The user messages."""
    return [message["content"] for message in messages if message["role"] == "user"]


@pytest.mark.parametrize("shown", ["each", "never"])
def test_they_list_actions_as_the_prompt_does(shown: str, tokenizer: Any) -> None:
    rollout = RolloutSettings(few_shot=1, show_actions=shown)
    (first,) = contents(build_context(tokenizer, "sdar/ALFWorld-v0", CONFIGS["sdar/ALFWorld-v0"], rollout).opening)
    assert ("Actions you can take now" in first) == (shown == "each")


def test_they_stand_before_the_prompt_with_the_system_message(tokenizer: Any) -> None:
    rollout = RolloutSettings(think=False, few_shot=1, system="You act.", max_prompt_tokens=4000)
    context = build_context(tokenizer, "sdar/ALFWorld-v0", CONFIGS["sdar/ALFWorld-v0"], rollout)
    assert [message["role"] for message in context.opening] == ["system", "user", "assistant"]


def test_what_cannot_show_a_turn_is_refused(tokenizer: Any) -> None:
    class Silent:
        messages = TEMPLATES["window"].messages
        parse = TEMPLATES["window"].parse

    with pytest.raises(ValueError, match=r"rollout.few_shot=1 needs worked turns.*without `respond"):
        worked_turns("sdar/ALFWorld-v0", {}, Silent(), 1, lambda view, before: [], think=False)
