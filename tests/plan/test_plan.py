"""Plans of real configurations: what changes between contexts, policies and settings, and the command."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from thinking_template import THINKING  # pyright: ignore[reportMissingImports]

from sdar_gym.configs import load_config
from sdar_gym.plan.contexts import in_context
from sdar_gym.plan.gpus import gpu_of
from sdar_gym.plan.plan import Plan, make_plan
from sdar_gym.plan.scripted_play import planned_tasks, play_scripted, scripted_policy
from sdar_gym.policy.load import load_tokenizer

SMALL = ["policy.model=builtin:tiny", "env_config.games=generated", "env_config.max_steps=4"]


def plan_of(name: str, *changes: str) -> Plan:
    return make_plan(load_config(name, [*SMALL, *changes]), gpu_of("H100"), tasks=2, response_tokens=60)


def test_a_plan_adds_up() -> None:
    plan = plan_of("paper/alfworld-qwen2.5-3b")
    assert plan.evaluations == 2 + 149 // 5
    for context in plan.contexts.values():
        random, expert = context.cost["random"], context.cost["expert"]
        assert context.played["random"].turns == 4
        assert context.played["expert"].response >= 60
        for cost in (random, expert):
            run = 150 * cost.update_seconds + plan.evaluations * cost.evaluation_seconds
            assert cost.run_seconds == pytest.approx(run)
            tokens = cost.tokens
            # Scores read the beginning of a group's prompts once, gradients do not.
            assert tokens["gradient"] > tokens["student scores"] == tokens["reference scores"] > 0
    window = plan.contexts["window"].cost["random"].tokens
    # 128 episodes of four turns with responses of 60 tokens.
    assert window["decode"] == pytest.approx(128 * 4 * 60, rel=0.02)
    assert plan.contexts["conversation"].cost["random"].tokens["prefill"] < window["prefill"]
    json.dumps(plan.to_json(), allow_nan=False)


def test_the_other_context_lists_actions_as_it_can() -> None:
    window, conversation = load_config("paper/alfworld-qwen2.5-3b"), load_config("alfworld")
    assert in_context(window, "conversation").rollout.show_actions == "changes"
    assert in_context(conversation, "window").rollout.show_actions == "each"
    assert in_context(conversation, "conversation") is conversation


def test_a_conversation_is_played_as_a_run_plays_it() -> None:
    run = load_config("quickstart", ["rollout.context=conversation", "rollout.show_actions=never"])
    policy = scripted_policy(run.env, "expert")
    assert policy is not None
    tokenizer: Any = load_tokenizer(run.policy.model)
    [played] = play_scripted(run, policy, planned_tasks(run, 1), response_tokens=1)
    [sequence] = played.sequences
    assert played.won and len(sequence.spans) == len(played.turns) > 1
    for span, record in zip(sequence.spans, played.turns, strict=True):
        assert sequence.ids[span.start : span.stop] == record.response_ids
    between = tokenizer.decode(sequence.ids[sequence.spans[0].stop : sequence.spans[1].start])
    assert played.turns[1].observation in between and between.endswith("<|im_start|>assistant\n")


def test_conversations_without_room_for_another_turn_are_counted() -> None:
    changes = ["rollout.max_context_tokens=800", "rollout.max_response_tokens=60", "env_config.max_steps=20"]
    plan = plan_of("alfworld", *changes)
    window, conversation = (plan.contexts[context].played["random"] for context in ("window", "conversation"))
    assert (window.context_full, window.turns) == (0, 20)
    assert conversation.context_full == 1 and conversation.turns < 20
    assert conversation.longest_sequence <= 800


def test_a_template_that_rewrites_responses_costs_a_new_sequence_a_turn(policy_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(policy_folder, tmp_path / "thinking")
    (folder / "chat_template.jinja").write_text(THINKING, encoding="utf-8")
    changes = [f"policy.model={folder}", "env_config.max_steps=4", "rollout.max_prompt_tokens=1500"]
    changes.append("rollout.chat_template_kwargs={enable_thinking: false}")
    forks, kept = (
        plan_of("alfworld", *changes, f"rollout.rewritten_history={choice}").contexts["conversation"]
        for choice in ("fork", "keep")
    )
    assert (forks.played["random"].forks, kept.played["random"].forks) == (3, 0)
    # A fork reads the past again.
    assert forks.cost["random"].tokens["gradient"] > 1.5 * kept.cost["random"].tokens["gradient"]


def test_a_first_prompt_without_room_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the first prompt of task .* longer than rollout\.max_prompt_tokens=20\."):
        plan_of("alfworld", "rollout.max_prompt_tokens=20")


def test_the_command_prints_tables_or_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sdar_gym.cli.app import main

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", "plan", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    code, out, _ = command("alfworld", *SMALL, "--tasks", "1", "--gpu", "A100")
    assert code == 0
    for part in (
        "one A100: 312 TFLOP/s",
        "150 tokens assumed",
        "GPU-hours of the run",
        "AdamW, two moments",
        "sharded, half",
    ):
        assert part in out
    code, out, _ = command("quickstart", "--tasks", "1", "--json")
    content = json.loads(out)
    assert (code, content["response_tokens"], content["gpu"]["name"]) == (0, None, "H100")
    assert content["contexts"]["window"]["expert"]["success"] == 1.0
    assert [row["model"] for row in content["memory_table"]][::4] == ["0.5B", "1.5B", "3B", "7B", "builtin:tiny"]
    code, _, err = command("quickstart", "--gpu", "TPU")
    assert code == 2 and "Known: H100, H200, A100, L40S, RTX4090." in err
