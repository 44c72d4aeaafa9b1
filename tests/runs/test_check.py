"""Preflight check of a run: opens tasks, builds first prompts, checks the panel."""

from __future__ import annotations

import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.configs import load_config
from sdar_gym.envs.prompting import EpisodeView
from sdar_gym.envs.tasks import freeze_panel
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.environments import make_env
from sdar_gym.runs.check import check_run, stop_tokens

sys.path.insert(0, str(Path(__file__).parents[1] / "algorithms" / "sdar"))
from faulty_env import ENV, register_faulty  # pyright: ignore[reportMissingImports]

SMALL = ["training.iterations=2", "training.tasks_per_iteration=4", "evaluation.tasks=4", "evaluation.teacher_tasks=0"]


def run_of(*changes: str) -> Any:
    return load_config("quickstart", [*SMALL, *changes])


@pytest.fixture
def faulty(clean_registry: None) -> None:
    register_faulty()


def on(fault: str, **env: Any) -> list[str]:
    settings = ", ".join(f"{name}: {value}" for name, value in {"fault": fault, "max_steps": 4, **env}.items())
    return [f"env={ENV}", f"env_config={{{settings}}}", "skills.library=alfworld"]


def test_a_good_run_is_told_what_was_chosen_for_it() -> None:
    (note,) = check_run(run_of())
    assert note.startswith("training.micro_batch_tokens=16384, policy.gradient_checkpointing=false")


def test_a_limit_that_no_task_fits_is_one_message_with_the_length_to_set() -> None:
    told = (
        r"The first prompt of 12 of 12 task\(s\) is longer than rollout.max_prompt_tokens=64; the longest has \d+ tok"
    )
    with pytest.raises(ValueError, match=told):
        check_run(run_of("rollout.prompt=window", "rollout.max_prompt_tokens=64"))


def test_a_few_tasks_that_do_not_fit_are_counted(faulty: None) -> None:
    notes = check_run(run_of(*on("long", every=4), "rollout.prompt=window", "rollout.max_prompt_tokens=900"))
    (told,) = [note for note in notes if "max_prompt_tokens=900" in note]
    assert "skipped in training and counted; in evaluation they count as lost" in told


def test_the_teacher_s_prompts_are_measured_too() -> None:
    notes = check_run(run_of("rollout.max_teacher_prompt_tokens=20"))
    assert any("The teacher's first prompt of 12 of 12" in note for note in notes)
    assert not any("teacher's" in note for note in check_run(run_of("method=grpo")))


def test_a_task_that_cannot_be_opened_is_found(faulty: None) -> None:
    with pytest.raises(ValueError, match=r"Task 'small/.*' of tests/Faulty-v0 cannot be opened: the room has no floor"):
        check_run(run_of(*on("reset", every=1)))


def test_a_panel_of_training_tasks_is_refused(tmp_path: Path) -> None:
    run = run_of()
    env = make_env(run.env, run.env_config)
    panel = freeze_panel("leak", run.env, env.task_ids()[:4], 4)
    env.close()
    panel.save(tmp_path / "leak.json")
    with pytest.raises(ValueError, match=r"4 task\(s\) of the evaluation panel are training tasks"):
        check_run(run_of(f"evaluation.panel={tmp_path / 'leak.json'}"))
    with pytest.raises(ValueError, match=r"Choose another evaluation.split"):
        check_run(run_of("evaluation.split=train"))


def test_a_run_without_end_is_checked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdar_gym.runs import check

    monkeypatch.setattr(check, "_MOST_TASKS", 10)
    opened: list[str] = []
    reset = check.make_env("sdar/ALFWorld-v0", {}).__class__.reset
    monkeypatch.setattr(
        "sdar_gym.envs.alfworld.env.ALFWorldEnv.reset",
        lambda env, **arguments: opened.append(arguments["options"]["task_id"]) or reset(env, **arguments),
    )
    check_run(run_of("training.iterations=100000"))
    assert len(opened) == len(set(opened)) == 14


def test_the_record_names_the_tokens_that_end_a_response() -> None:
    assert stop_tokens(run_of()) == ("<|im_end|>",)


def test_what_only_a_step_would_open_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(env: Any) -> None:
        raise ValueError("the corpus is empty")

    monkeypatch.setattr("sdar_gym.envs.text_env.TextEnv.check_ready", missing)
    with pytest.raises(ValueError, match="the corpus is empty"):
        check_run(run_of())


def test_a_run_keeps_the_day_that_its_template_tells(policy_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from sdar_gym.runs.check import with_date

    shutil.copytree(policy_folder, tmp_path / "dated")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "dated")
    tokenizer.chat_template = "Today: {{ strftime_now('%d %b %Y') }};" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "dated")
    dated = with_date(run_of(f"policy.model={tmp_path / 'dated'}"))
    assert dated.rollout.date == date.today().isoformat()
    earlier = run_of(f"policy.model={tmp_path / 'dated'}", "rollout.date=2020-02-29")
    assert with_date(earlier) is earlier
    context = build_context(tokenizer, earlier.env, earlier.env_config, earlier.rollout)
    view = EpisodeView("look", (), "a room", ())
    assert tokenizer.decode(context.first_prompt(view).ids).startswith("Today: 29 Feb 2020;")
    assert with_date(run_of()).rollout.date is None
