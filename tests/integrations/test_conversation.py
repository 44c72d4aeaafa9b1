"""Environments as conversations: the messages are those of rollouts, and trainers' classes play them right."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.policies import expert_of
from sdar_gym.integrations.agilerl import AgileEnv
from sdar_gym.integrations.conversation import ConversationEnv
from sdar_gym.integrations.trl import TrlEnvironment, task_rows

ALFWORLD: dict[str, Any] = {"env_id": "sdar/ALFWorld-v0", "games": "generated", "scene": "small"}
TASK = "small/train/000003"


def expert_actions(task_id: str) -> list[str]:
    conversation = ConversationEnv(**ALFWORLD)
    env, expert = conversation.env, expert_of("sdar/ALFWorld-v0")
    assert expert is not None
    observation, info = env.reset(options={"task_id": task_id})
    expert.begin(env, observation, info)
    actions, over = [], False
    while not over:
        actions.append(expert.act(observation, info))
        observation, _, terminated, truncated, info = env.step(actions[-1])
        over = terminated or truncated
    return actions


@pytest.mark.parametrize("show_actions", ["each", "first", "never"])
@pytest.mark.parametrize("think", [True, False])
def test_the_messages_are_those_of_rollouts(show_actions: str, think: bool) -> None:
    pytest.importorskip("torch")
    from sdar_gym.envs.prompting import EpisodeView, PastTurn
    from sdar_gym.policy.load import load_tokenizer
    from sdar_gym.rollout.build import build_context

    conversation = ConversationEnv(**ALFWORLD, think=think, show_actions=show_actions)
    settings = RolloutSettings(context="conversation", think=think, show_actions=show_actions)
    context = build_context(load_tokenizer("builtin:tiny"), "sdar/ALFWorld-v0", {}, settings)
    message, info = conversation.reset(task_id=TASK)
    observation = conversation._view.observation
    history: list[PastTurn] = []
    for action in expert_actions(TASK)[:4]:
        view = EpisodeView(info["goal"], tuple(history), observation, tuple(info["admissible_actions"]))
        assert message == context.turn_messages(view)[0]["content"]
        response = f"<think>I go.</think><action>{action}</action>" if think else f"<action>{action}</action>"
        history.append(PastTurn(observation, action))
        message, _, _, _, info = conversation.step(response)
        assert (info["action"], info["form_valid"]) == (action, True)
        observation = conversation._view.observation


def test_a_response_without_the_form_is_played_and_reported() -> None:
    conversation = ConversationEnv(**ALFWORLD)
    conversation.reset(task_id=TASK)
    message, reward, terminated, truncated, info = conversation.step("I look around.")
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert (info["turn"], info["action"]) == (1, "I look around.")
    assert (info["form_valid"], info["action_valid"]) == (False, False)
    assert "Actions you can take now:" in message


def test_trl_acts_by_a_tool_and_gets_the_sum_of_the_rewards() -> None:
    env = TrlEnvironment(**ALFWORLD, success_reward=7.0)
    tools = [name for name in dir(env) if not name.startswith("_") and name not in ("reset", "get_reward")]
    assert tools == ["act"]
    prompt = env.reset(task_id=TASK, prompt=[])
    assert "<action>" not in prompt and prompt.endswith("]")
    said = [env.act(action) for action in expert_actions(TASK)]
    assert env._conversation.over
    assert env.get_reward() == 7.0
    assert said[-1].endswith("The episode is over; do not act again.")
    assert env.act("look") == "The episode is over; do not act again."
    env.reset(task_id=TASK)
    assert env.get_reward() == 0.0


def test_rows_of_a_trl_data_set_name_tasks_of_the_training_split() -> None:
    rows = task_rows(**ALFWORLD, tasks=3)
    assert [row["task_id"] for row in rows] == [f"small/train/{number:06}" for number in range(3)]
    assert rows[0]["prompt"] == [{"role": "user", "content": ""}]


def test_agilerl_s_rows_are_tasks_and_evaluation_has_others() -> None:
    env = AgileEnv(**ALFWORLD)
    assert env.dataset_size == 60_000
    assert env.reset(row_index=3)[1]["task_id"] == TASK
    assert env.reset(seed=3)[1]["task_id"] == TASK
    assert env.reset(row_index=3, evaluation=True)[1]["split"] == "valid_seen"
    assert env.step("<action>look</action>")[4]["action"] == "look"


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="show_actions must be"):
        ConversationEnv(**ALFWORLD, show_actions="changes")
    with pytest.raises(ValueError, match="has no prompt template 'nope'"):
        ConversationEnv(**ALFWORLD, prompt="nope")
    with pytest.raises(ValueError, match="has no argument foo"):
        ConversationEnv("sdar/ALFWorld-v0", foo=1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        ConversationEnv(**ALFWORLD).step("look")


@pytest.mark.parametrize(
    ("env_id", "response"),
    [
        ("sdar/SearchQA-v0", "<search>who wrote it</search>"),
        ("sdar/WebShop-v0", "<action>search[red shoes]</action>"),
        ("sdar/Math-v0", r"It is \boxed{1}."),
        ("sdar/Science-v0", "<answer>1 m</answer>"),
    ],
)
def test_other_environments_have_their_own_form(env_id: str, response: str) -> None:
    conversation = ConversationEnv(env_id)
    prompt, _ = conversation.reset(seed=0)
    assert len(prompt) > 50
    message, _, _, _, info = conversation.step(response)
    assert info["form_valid"]
    assert message
    conversation.close()
