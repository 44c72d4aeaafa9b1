"""The skill audit: verdicts, rows, and that it tells right skills from wrong ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_gym.configs import load_config
from sdar_gym.envs.prompting import skill_context
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.evaluation.repeated import clustered_interval
from sdar_gym.evaluation.skill_audit import (
    ALL,
    HARMS,
    HELPS,
    NO_DIFFERENCE,
    SKILL,
    TOO_FEW,
    TYPE,
    AuditRow,
    SkillAudit,
    audit_skills,
    paired_difference,
)
from sdar_gym.evaluation.skill_gaps import GapScorer, mean_gap
from sdar_gym.policy.load import load_model
from sdar_gym.skills import SkillLibrary, load_library

PROCEDURES = ("look.procedure", "pick.procedure", "clean.procedure", "cool.procedure", "heat.procedure")


def run_of(*changes: str) -> Any:
    return load_config("quickstart", changes)


def rows_of(audit: SkillAudit, kind: str) -> dict[str, AuditRow]:
    return {row.name: row for row in audit.rows if row.kind == kind}


@pytest.mark.parametrize(
    ("student", "teacher", "verdict"),
    [
        ([0.0] * 8, [1.0] * 8, HELPS),
        ([1.0] * 8, [0.0] * 8, HARMS),
        ([0.0, 1.0] * 8, [1.0, 0.0] * 8, NO_DIFFERENCE),
        ([1.0] * 8, [1.0] * 8, NO_DIFFERENCE),
        # Equal differences have an interval without width, however few they are.
        ([0.0] * 5, [1.0] * 5, TOO_FEW),
        ([0.0] * 20, [1.0] * 5 + [0.0] * 15, TOO_FEW),
        ([0.0] * 20, [1.0] * 6 + [0.0] * 14, HELPS),
    ],
)
def test_the_verdict_follows_the_interval_of_the_paired_differences(
    student: list[float], teacher: list[float], verdict: str
) -> None:
    differences = [after - before for before, after in zip(student, teacher, strict=True)]
    mean, low, high, differing, found = paired_difference(student, teacher)
    assert (low, high) == clustered_interval(differences)
    assert mean == sum(differences) / len(differences)
    assert differing == sum(value != 0 for value in differences)
    assert found == verdict


def test_an_audit_is_the_panel_without_and_with_skills() -> None:
    run = run_of("env_config.max_steps=4")
    progress: list[tuple[int, int]] = []
    audit = audit_skills(run, "builtin:tiny", tasks=12, report=lambda done, total: progress.append((done, total)))
    assert progress[-1] == (24, 24)
    assert (audit.settings["panel"], audit.without_skills, audit.left_out) == ("train-12", 0, 0)
    everything = rows_of(audit, ALL)["all tasks"]
    settings = replace(run.evaluation, split="train", tasks=12, temperature=1.0)
    panel = {
        skills: play_panel(replace(run, evaluation=replace(settings, with_skills=skills)), "builtin:tiny")[0]
        for skills in (False, True)
    }
    assert (everything.student, everything.teacher) == (panel[False]["success"], panel[True]["success"])
    types = rows_of(audit, TYPE)
    assert {name: row.student for name, row in types.items()} == {
        name.removeprefix("success/"): value for name, value in panel[False].items() if name.startswith("success/")
    }
    skills = rows_of(audit, SKILL)
    assert set(PROCEDURES) < set(skills)
    assert [row.tasks for row in (everything, *types.values(), *skills.values())] == [12, *[2] * 12]
    assert everything.gap_failed is not None
    assert everything.action_gap_failed is not None


def test_gaps_are_differences_of_log_probabilities() -> None:
    run = run_of("env_config.max_steps=2", "evaluation.tasks=2", "policy.dtype=float32")
    _, episodes = play_panel(run, "builtin:tiny")
    advice = skill_context("Find the object, take it, go to the target and move it there.")
    assert advice is not None
    scorer = GapScorer(run, "builtin:tiny")
    found = scorer.gaps(episodes, lambda _: advice)
    model = load_model("builtin:tiny", "float32").eval()
    for episode, gap in zip(episodes, found, strict=True):
        expected = 0.0
        for sequence in episode.sequences:
            ids, _ = scorer._context.teacher_tokens(episode, sequence, [advice])
            length = len(sequence.ids) - sequence.spans[0].start
            expected += _logp(model, ids, length) - _logp(model, sequence.ids, length)
        assert gap is not None
        assert gap.total == pytest.approx(expected, abs=1e-4)
        assert gap.tokens == sum(len(turn.response_ids) for turn in episode.turns)
        assert 0 < gap.action_tokens < gap.tokens
    one = scorer.gaps(episodes[:1], lambda _: advice)[0]
    assert one is not None and found[0] is not None
    assert one.total == pytest.approx(found[0].total, abs=1e-4)
    assert mean_gap([]) is None
    assert mean_gap([one]) == one.total / one.tokens
    assert mean_gap([one], action=True) == one.action_total / one.action_tokens


@torch.no_grad()
def _logp(model: Any, ids: list[int], length: int) -> float:
    logits = model(input_ids=torch.tensor([ids])).logits[0, -length - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(ids[-length:])[:, None]).sum())


def test_skills_that_are_shown_together_share_a_row_unless_each_is_played_alone() -> None:
    run = run_of("env_config.max_steps=2", "skills.k=2")
    together = rows_of(audit_skills(run, "builtin:tiny", tasks=6), SKILL)
    assert len(together) == 6
    assert all(name.count(", ") == 1 for name in together)
    alone = rows_of(audit_skills(run, "builtin:tiny", tasks=6, alone=True), SKILL)
    assert sorted(alone) == sorted(skill for name in together for skill in name.split(", "))
    assert {row.tasks for row in alone.values()} == {1}


def test_a_task_counts_once_however_often_it_is_played() -> None:
    run = run_of("env_config.max_steps=12")
    row = rows_of(audit_skills(run, "builtin:tiny", tasks=6, repeats=3), ALL)["all tasks"]
    assert row.tasks == 6
    assert row.low <= row.difference <= row.high
    # Success rates of single tasks are thirds, their mean over six tasks is a multiple of an eighteenth.
    assert row.teacher * 18 == pytest.approx(round(row.teacher * 18))
    assert row.differing <= 6


def test_there_must_be_skills_to_audit() -> None:
    with pytest.raises(ValueError, match=r"no skills to audit: skills\.strategy=none"):
        audit_skills(run_of("skills.strategy=none"), "builtin:tiny", tasks=2)


@pytest.mark.filterwarnings("ignore::sdar_gym.skills.warnings.SkillCoverageWarning")
def test_tasks_without_skills_are_counted_and_an_empty_audit_is_refused(tmp_path: Path) -> None:
    full = load_library("alfworld")
    SkillLibrary("heat", (full.get("heat.procedure"),)).save(tmp_path / "heat")
    run = run_of("env_config.max_steps=2", f"skills.library={tmp_path / 'heat'}")
    audit = audit_skills(run, "builtin:tiny", tasks=6)
    assert (audit.without_skills, rows_of(audit, ALL)["all tasks"].tasks) == (5, 1)
    with pytest.raises(ValueError, match="No task of train-1 gets a skill"):
        audit_skills(run, "builtin:tiny", tasks=1)


@pytest.mark.slow
def test_right_skills_help_and_the_same_texts_for_the_wrong_task_types_do_not(tmp_path: Path) -> None:
    """The control: every task type gets another one's text."""
    full = load_library("alfworld")
    right = [full.get(name) for name in (*PROCEDURES, "two.procedure")]
    texts = [skill.text for skill in (*right[1:], right[0])]
    wrong = tuple(replace(skill, text=text) for skill, text in zip(right, texts, strict=True))
    SkillLibrary("wrong", wrong).save(tmp_path / "wrong")
    rows = rows_of(audit_skills(run_of(), "builtin:tiny", tasks=192), SKILL)
    assert [rows[skill.id].verdict for skill in right].count(HELPS) >= 5
    audit = audit_skills(run_of(f"skills.library={tmp_path / 'wrong'}"), "builtin:tiny", tasks=192)
    assert rows_of(audit, ALL)["all tasks"].verdict in (HARMS, NO_DIFFERENCE)
    assert {row.verdict for row in rows_of(audit, SKILL).values()} <= {HARMS, NO_DIFFERENCE, TOO_FEW}
    # The teacher does not disown the tokens of lost episodes as the one with right skills does.
    lost, disowned = rows_of(audit, ALL)["all tasks"].gap_failed, [row.gap_failed for row in rows.values()]
    assert lost is not None and all(gap is not None and gap < lost for gap in disowned)
