"""Studies: their runs, what is chosen where, and the micro study's arms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.configs import load_config
from sdar_gym.reproduce import runs as module
from sdar_gym.reproduce.chat import CHAT
from sdar_gym.reproduce.micro import PARTS
from sdar_gym.reproduce.runs import StudyError, read_log, run_jobs
from sdar_gym.reproduce.study import FIRST_TUNING_SEED, Arm, Part, Setting, chosen_values, final_jobs, tuning_jobs

PART = Part(
    "p",
    "P",
    Setting("quickstart", (), ("evaluation.split=valid_unseen",), ("evaluation.split=valid_seen",)),
    (Arm("grpo", ("method=grpo",), "training.lr", ("1e-3", "2e-3")), Arm("sdar", ("method=sdar",))),
)


def test_settings_are_chosen_on_other_seeds_and_another_panel_than_the_results() -> None:
    tuning = list(tuning_jobs(PART, 2))
    assert {(job.arm, job.value) for job in tuning} == {("grpo", "1e-3"), ("grpo", "2e-3")}
    assert {job.seed for job in tuning} == {FIRST_TUNING_SEED, FIRST_TUNING_SEED + 1}
    assert all("evaluation.split=valid_unseen" in job.changes for job in tuning)
    final = list(final_jobs(PART, {"grpo": "2e-3"}, range(2)))
    assert [(job.arm, job.value, job.seed) for job in final] == [
        ("grpo", "2e-3", 0), ("sdar", None, 0), ("grpo", "2e-3", 1), ("sdar", None, 1),
    ]  # fmt: skip
    assert all("evaluation.split=valid_seen" in job.changes for job in final)
    assert "training.lr=2e-3" in final[0].changes


def test_the_best_mean_is_chosen() -> None:
    rows = [
        {"arm": "grpo", "value": value, "success": success}
        for value, success in (("1e-3", 0.9), ("1e-3", 0.1), ("2e-3", 0.6), ("2e-3", 0.6))
    ]
    assert chosen_values(PART, rows) == {"grpo": "2e-3"}
    assert chosen_values(PART, [{**row, "success": 0.5} for row in rows]) == {"grpo": "1e-3"}
    assert chosen_values(PART, []) == {}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_arm_of_the_micro_study_is_a_configuration(part: Part) -> None:
    names = [arm.name for arm in part.arms]
    assert len(set(names)) == len(names) and names[0] == "grpo"
    for arm in part.arms:
        # The same number of tries for every arm that has anything to choose.
        assert len(arm.values) in (0, 3)
        for value in arm.values or (None,):
            run = load_config(part.setting.config, [*part.setting.changes, *part.setting.test, *arm.settings(value)])
            objective = run.objective
            assert objective.kl_coeff == 0 and objective.entropy_coeff == 0
            assert str(objective.advantage.statistics) == "turn"
            # The panel of the results is none on which anything is chosen.
            tuned = load_config(part.setting.config, [*part.setting.changes, *part.setting.validation])
            assert tuned.evaluation.split != run.evaluation.split != "train"
    if part.base:
        chosen = {arm.name: (arm.tuned, arm.values) for arm in part.base.arms}
        assert all((arm.tuned, arm.values) == chosen[arm.name] for arm in part.arms if arm.values)
    assert part.baseline in names


def test_the_arms_of_the_chat_study_differ_in_their_teacher_alone() -> None:
    setting = CHAT.setting
    runs = {arm.name: load_config(setting.config, [*setting.changes, *setting.test, *arm.changes]) for arm in CHAT.arms}
    for name, run in runs.items():
        assert str(run.rollout.context) == "conversation" and run.evaluation.split == "valid_seen"
        assert run.objective.kl_coeff == 0 and str(run.objective.advantage.statistics) == "turn"
        assert run.training.lr == runs[CHAT.baseline].training.lr
        assert (run.objective.distill is None) == (name == "grpo")
        assert (run.skills.library == "wrong") == name.endswith("wrong skills")


def test_an_arm_that_trains_the_same_in_the_base_is_played_once() -> None:
    wrong = Part("w", "W", PART.setting, (PART.arms[0], Arm("sdar", ("method=sdar", "skills.library=wrong"))), PART)
    jobs = list(final_jobs(wrong, {"grpo": "1e-3"}, range(1)))
    assert [(job.part, job.arm) for job in jobs] == [("p", "grpo"), ("w", "sdar")]
    larger = replace(PART.setting, changes=("training.group_size=8",))
    jobs = list(final_jobs(replace(wrong, setting=larger), {"grpo": "1e-3"}, range(1)))
    assert [job.part for job in jobs] == ["w", "w"]
    shop = replace(PART.setting, config="quickstart-webshop")
    jobs = list(final_jobs(replace(wrong, setting=shop), {"grpo": "1e-3"}, range(1)))
    assert [job.part for job in jobs] == ["w", "w"]


def result(job: Any) -> dict[str, Any]:
    return {"part": job.part, "arm": job.arm, "value": job.value, "seed": job.seed, "stage": job.stage, "success": 0.5}


def test_only_what_is_missing_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, log = list(tuning_jobs(PART, 1)), tmp_path / "study" / "runs.jsonl"
    played: list[Any] = []

    def pretend(left: Any, path: Path, concurrent: int, report: Any) -> None:
        played.append([job.key for job in left])
        for job in left[:1] if len(played) == 1 else left:
            with path.open("a") as file:
                file.write(json.dumps(result(job)) + "\n")

    monkeypatch.setattr(module, "_tune", pretend)
    with pytest.raises(StudyError, match=r"1 of 2 runs failed, the first of them \('p', 'grpo', '2e-3'"):
        run_jobs(jobs, log, 1, lambda *_: None)
    assert [row["value"] for row in run_jobs(jobs, log, 1, lambda *_: None)] == ["1e-3", "2e-3"]
    assert run_jobs(jobs, log, 1, lambda *_: None) and len(played) == 2
    assert [len(left) for left in played] == [2, 1]


def test_a_damaged_log_is_named_and_a_torn_line_left_out(tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"
    (job, _) = tuning_jobs(PART, 1)
    log.write_text(json.dumps(result(job)) + "\n" + '{"part": "p"')
    assert list(read_log(log)) == [job.key]
    log.write_text('{"part": "p"}\n')
    with pytest.raises(StudyError, match="is no log of a study"):
        read_log(log)


def test_a_study_that_ray_ends_is_one_message(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ray.exceptions import OutOfMemoryError

    class Tuner:
        def fit(self) -> None:
            raise RuntimeError("Caught unexpected exception") from OutOfMemoryError(
                "1 worker(s) were killed\nMemory: ..."
            )

    with pytest.raises(StudyError, match=r"Ray ended the study: .*1 worker\(s\) were killed\. .*fewer --jobs"):
        module._fit(Tuner(), tmp_path / "runs.jsonl")
