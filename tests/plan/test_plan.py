"""Plans of real configurations: what changes between contexts, policies and settings, and the command."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from sdar_gym.configs import load_config
from sdar_gym.plan.conversation_estimate import as_conversation, user_message
from sdar_gym.plan.gpus import gpu_of
from sdar_gym.plan.plan import Plan, in_context, make_plan
from sdar_gym.plan.scripted_play import planned_tasks, play_scripted, scripted_policy
from sdar_gym.policy.load import load_tokenizer
from sdar_gym.rollout.trajectory import TurnRecord

SMALL = ["policy.model=builtin:tiny", "env_config.games=generated", "env_config.max_steps=6"]


def plan_of(name: str, *changes: str) -> Plan:
    return make_plan(load_config(name, [*SMALL, *changes]), gpu_of("H100"), tasks=2, response_tokens=40)


def test_a_plan_adds_up() -> None:
    plan = plan_of("paper/alfworld-qwen2.5-3b")
    assert plan.evaluations == 2 + 149 // 5
    for context in plan.contexts.values():
        random, expert = context.cost["random"], context.cost["expert"]
        assert context.played["random"].turns == 6
        assert context.played["expert"].response >= 40
        for cost in (random, expert):
            run = 150 * cost.update_seconds + plan.evaluations * cost.evaluation_seconds
            assert cost.run_seconds == pytest.approx(run)
            assert cost.tokens["gradient"] == cost.tokens["student scores"] == cost.tokens["reference scores"] > 0
    window = plan.contexts["window"].cost["random"].tokens
    # 128 episodes of six turns with responses of 40 tokens.
    assert window["decode"] == pytest.approx(128 * 6 * 40, rel=0.1)
    assert plan.contexts["conversation"].cost["random"].tokens["prefill"] < window["prefill"]
    json.dumps(plan.to_json(), allow_nan=False)


def test_the_other_context_lists_actions_as_it_can() -> None:
    window, conversation = load_config("paper/alfworld-qwen2.5-3b"), load_config("alfworld")
    assert in_context(window, "conversation").rollout.show_actions == "changes"
    assert in_context(conversation, "window").rollout.show_actions == "each"
    assert in_context(conversation, "conversation") is conversation


def turn(observation: str, actions: tuple[str, ...]) -> TurnRecord:
    return TurnRecord(observation, "", "", True, True, 0.0, [], [], 0, admissible_actions=actions)


def test_a_message_lists_all_actions_or_what_changed_or_none() -> None:
    before, after = turn("a hall", ("go left", "look")), turn("a room", ("look", "go back"))
    assert user_message(before, after, "each") == "a room\n\nActions you can take now: ['look'\n'go back']"
    changed = "a room\n\nNew actions: ['go back']\n\nNo longer possible: ['go left']"
    assert user_message(before, after, "changes") == changed
    assert user_message(before, after, "never") == user_message(before, after, "first") == "a room"


def test_a_conversation_holds_every_response_once_with_the_observations_between() -> None:
    run = load_config("quickstart")
    policy = scripted_policy(run.env, "expert")
    assert policy is not None
    tokenizer: Any = load_tokenizer(run.policy.model)
    [played] = play_scripted(run, policy, planned_tasks(run, 1), response_tokens=1)
    [sequence] = as_conversation(played, tokenizer, run.rollout).sequences
    assert len(sequence.spans) == len(played.turns) > 1
    for span, record in zip(sequence.spans, played.turns, strict=True):
        assert sequence.ids[span.start : span.stop] == record.response_ids
    between = tokenizer.decode(sequence.ids[sequence.spans[0].stop : sequence.spans[1].start])
    assert played.turns[1].observation in between and between.endswith("<|im_start|>assistant\n")
    assert sequence.teacher_ids is not None
    longer = len(sequence.teacher_ids) - len(sequence.ids)
    assert sequence.teacher_ids[sequence.spans[0].start + longer :] == sequence.ids[sequence.spans[0].start :]


def test_the_command_prints_tables_or_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sdar_gym.cli.app import main

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", "plan", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    code, out, _ = command("alfworld", *SMALL, "--tasks", "1", "--gpu", "A100")
    assert code == 0
    for part in ("one A100: 312 TFLOP/s", "150 tokens assumed", "GPU-hours of the run", "AdamW, two moments"):
        assert part in out
    code, out, _ = command("quickstart", "--tasks", "1", "--json")
    content = json.loads(out)
    assert (code, content["response_tokens"], content["gpu"]["name"]) == (0, None, "H100")
    assert content["contexts"]["window"]["expert"]["success"] == 1.0
    code, _, err = command("quickstart", "--gpu", "TPU")
    assert code == 2 and "Known: H100, H200, A100, L40S, RTX4090." in err
