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


@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("env_id", CONFIGS)
def test_the_parser_reads_the_expert_s_actions_back(env_id: str, think: bool) -> None:
    template = prompt_template(env_id, "window")
    messages = worked_turns(env_id, CONFIGS[env_id], template, 2, window=2, think=think)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    for message in messages[1::2]:
        parsed = template.parse(message["content"], think=think)
        assert parsed.valid and parsed.action and ("<think>" in message["content"]) == think
    assert messages == worked_turns(env_id, CONFIGS[env_id], template, 2, window=2, think=think)


def test_they_stand_before_the_prompt_with_the_system_message(tokenizer: Any) -> None:
    rollout = RolloutSettings(think=False, few_shot=1, system="You act.", max_prompt_tokens=4000)
    context = build_context(tokenizer, "sdar/ALFWorld-v0", CONFIGS["sdar/ALFWorld-v0"], rollout)
    assert [message["role"] for message in context._opening] == ["system", "user", "assistant"]


def test_what_cannot_show_a_turn_is_refused(tokenizer: Any) -> None:
    class Silent:
        messages = TEMPLATES["window"].messages
        parse = TEMPLATES["window"].parse

    with pytest.raises(ValueError, match=r"rollout.few_shot=1 needs worked turns.*without `respond"):
        worked_turns("sdar/ALFWorld-v0", {}, Silent(), 1, window=2, think=False)
