"""Skill audit: what each skill is worth to a policy before training, from the same tasks without and with skills."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.prompting import PrivilegedContext, skill_context
from sdar_gym.envs.registry import entry_of
from sdar_gym.evaluation.panels import PanelPlayer
from sdar_gym.evaluation.repeated import clustered_interval
from sdar_gym.evaluation.skill_gaps import EpisodeGap, GapScorer, mean_gap
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills import SkillLibrary
from sdar_gym.skills.controls import library_of

HELPS, HARMS, NO_DIFFERENCE, TOO_FEW = "helps", "harms", "no difference shown", "too few differ"
ALL, TYPE, SKILL = "all", "task type", "skill"
# With fewer tasks that differ, a two-sided sign test cannot reach 5 %: 2 / 2^5 = 0.0625. A bootstrap of a few equal
# differences is an interval without width, which would exclude 0 after two tasks.
_LEAST_DIFFERING = 6


@dataclass(frozen=True, slots=True)
class AuditRow:
    """The worth of skills on the tasks whose teacher reads them.

    Attributes:
        kind: `all`, `task type` or `skill`.
        name: The task type, or the skills' ids; several ids were shown for exactly the same tasks.
        tasks: Number of tasks.
        student: Success without skills, mean over tasks.
        teacher: Success with skills in the prompt.
        difference: Teacher minus student, mean over tasks.
        low: Lower end of its 95 % interval: a bootstrap over tasks.
        high: Upper end.
        differing: Tasks with another success rate.
        verdict: `helps`, `harms`, `no difference shown`, or `too few differ`.
        gap_failed: Mean log-probability gap per token, in nats, in failed student episodes; None without tokens.
        gap_won: The same in won student episodes.
        action_gap_failed: `gap_failed` over the tokens of actions.
        action_gap_won: `gap_won` over the tokens of actions.
    """

    kind: str
    name: str
    tasks: int
    student: float
    teacher: float
    difference: float
    low: float
    high: float
    differing: int
    verdict: str
    gap_failed: float | None
    gap_won: float | None
    action_gap_failed: float | None
    action_gap_won: float | None


@dataclass(frozen=True, slots=True)
class SkillAudit:
    """Result of an audit.

    Attributes:
        rows: All tasks, each task type, each skill.
        settings: What the result depends on: tasks, draws, library and strategy.
        without_skills: Tasks for which nothing was retrieved; they are in no row.
        left_out: Tasks with an error of the environment.
    """

    rows: tuple[AuditRow, ...]
    settings: dict[str, Any]
    without_skills: int
    left_out: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """A student's episode, the same request with skills in the prompt, and the gap of the student's tokens."""

    student: Episode
    teacher: Episode
    gap: EpisodeGap | None


def audit_skills(
    run: RunConfig,
    model_name: str,
    *,
    split: str | None = None,
    tasks: int = 96,
    repeats: int = 1,
    alone: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
    scored: Callable[[int, int], None] = lambda done, total: None,
) -> SkillAudit:
    """Plays the same tasks without and with skills in the prompt, and scores the student's tokens under both prompts.

    The draws are those of training: `rollout.temperature`, the whole distribution. Both episodes of a pair have the
    same seed.

    Args:
        run: Determines environment, prompt and skills.
        model_name: The policy; it is its own teacher.
        split: Split of the tasks; None for the environment's first, the training split.
        tasks: Number of tasks.
        repeats: Episodes of each task without and with skills.
        alone: Whether each skill is also played alone in the prompt. Else a skill's row has the episodes whose prompt
            had all skills that were retrieved with it.
        report: Called with the numbers of finished and of all episodes.
        scored: Called with the numbers of finished and of all episodes whose tokens are scored with skills.

    Raises:
        ValueError: A setting or the policy is invalid, or no task gets a skill.
    """
    settings = replace(
        run.evaluation,
        split=split or _first_split(run),
        panel=None,
        tasks=tasks,
        repeats=repeats,
        temperature=run.rollout.temperature,
        top_p=1.0,
        top_k=0,
        with_skills=False,
    )
    run = replace(run, evaluation=settings)
    library = _library(run)
    with PanelPlayer(run, model_name) as player:
        panel, requests = player.panel, player.requests()
        total = 2 * len(requests)
        students = player.play(requests, lambda done, _: report(done, total), keep_failed=True)
        taught = [
            (request, episode)
            for request, episode in zip(requests, students, strict=True)
            if episode.skills and not episode.error
        ]
        if not taught:
            raise ValueError(
                f"No task of {panel.name} gets a skill of library {library.name!r} by the strategy "
                f"{run.skills.strategy!r}; choose another library or strategy."
            )
        arms: list[tuple[str | None, list[tuple[EpisodeRequest, Episode]]]] = [(None, taught)]
        if alone:
            arms += [
                (skill, [pair for pair in taught if skill in pair[1].skills])
                for skill in dict.fromkeys(skill for _, episode in taught for skill in episode.skills)
            ]
        before, total = len(requests), len(requests) + sum(len(arm) for _, arm in arms)
        played = []
        for skill, arm in arms:
            shown = [replace(request, privileged=_context(library, episode, skill)) for request, episode in arm]
            teachers = player.play(shown, lambda done, _, before=before: report(before + done, total), keep_failed=True)
            played.append((skill, [episode for _, episode in arm], teachers))
            before += len(arm)
    # The engine's memory is for the copy of the model that scores.
    del player
    scorer = GapScorer(run, model_name)
    pairs: dict[str | None, list[_Pair]] = {}
    finished, total = 0, sum(len(own) for _, own, _ in played)
    for skill, own, teachers in played:
        scored(finished, total)
        pairs[skill] = _pairs(scorer, library, skill, own, teachers)
        finished += len(own)
    scored(finished, total)
    return SkillAudit(
        rows=tuple(_rows(pairs)),
        settings={
            "policy": model_name,
            "env": run.env,
            "panel": panel.name,
            "panel_hash": panel.hash,
            "tasks": len(panel.task_ids),
            "repeats": repeats,
            "temperature": settings.temperature,
            "seed": settings.seed,
            "library": library.name,
            "fingerprint": library.fingerprint(),
            "strategy": run.skills.strategy,
            "k": run.skills.k,
            "include_general": run.skills.include_general,
            "include_mistakes": run.skills.include_mistakes,
            "alone": alone,
        },
        without_skills=len({episode.task_id for episode in students if not episode.skills and not episode.error}),
        left_out=len({episode.task_id for episode in students if episode.error}),
    )


def paired_difference(student: Sequence[float], teacher: Sequence[float]) -> tuple[float, float, float, int, str]:
    """Compares success rates task by task.

    Args:
        student: Success rate of each task.
        teacher: The same with skills.

    Returns:
        Mean difference, both ends of its 95 % interval, the number of tasks that differ, and the verdict.
    """
    differences = [after - before for before, after in zip(student, teacher, strict=True)]
    low, high = clustered_interval(differences)
    differing = sum(difference != 0 for difference in differences)
    verdict = HELPS if low > 0 else HARMS if high < 0 else NO_DIFFERENCE
    if verdict != NO_DIFFERENCE and differing < _LEAST_DIFFERING:
        verdict = TOO_FEW
    return sum(differences) / len(differences), low, high, differing, verdict


def _first_split(run: RunConfig) -> str:
    from sdar_gym.rollout.environments import make_env

    env = make_env(run.env, run.env_config)
    split = env.splits[0]
    env.close()
    return split


def _library(run: RunConfig) -> SkillLibrary:
    library = library_of(run.skills.library, entry_of(run.env).skills)
    if library is None or run.skills.strategy == "none":
        raise ValueError(
            f"There are no skills to audit: skills.strategy={run.skills.strategy}, "
            f"skills.library={run.skills.library or 'null'} for {run.env}. Name a library (--library) and a strategy."
        )
    return library


def _context(library: SkillLibrary, episode: Episode, skill: str | None) -> PrivilegedContext:
    """What the teacher reads: all skills of an episode, or one alone."""
    ids = episode.skills if skill is None else (skill,)
    context = skill_context("\n\n".join(library.get(each).text for each in ids))
    assert context is not None  # A skill has a text.
    return context


def _pairs(
    scorer: GapScorer, library: SkillLibrary, skill: str | None, students: list[Episode], teachers: list[Episode]
) -> list[_Pair]:
    gaps = scorer.gaps(students, lambda episode: _context(library, episode, skill))
    return [
        _Pair(student, teacher, gap)
        for student, teacher, gap in zip(students, teachers, gaps, strict=True)
        if not teacher.error
    ]


def _rows(arms: Mapping[str | None, Sequence[_Pair]]) -> list[AuditRow]:
    together = arms[None]
    types = sorted({pair.student.task_type for pair in together})
    rows = [_row(ALL, "all tasks", together)]
    rows += [_row(TYPE, kind, [pair for pair in together if pair.student.task_type == kind]) for kind in types]
    if len(arms) > 1:
        return rows + [_row(SKILL, skill, pairs) for skill, pairs in arms.items() if skill is not None and pairs]
    tasks_of: defaultdict[str, dict[int, _Pair]] = defaultdict(dict)
    for number, pair in enumerate(together):
        for skill in pair.student.skills:
            tasks_of[skill][number] = pair
    # Skills that were shown for the same episodes cannot be told apart by them.
    groups: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for skill, numbered in tasks_of.items():
        groups[tuple(numbered)].append(skill)
    return rows + [
        _row(SKILL, ", ".join(skills), [together[number] for number in numbers]) for numbers, skills in groups.items()
    ]


def _row(kind: str, name: str, pairs: Sequence[_Pair]) -> AuditRow:
    by_task: defaultdict[str, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        by_task[pair.student.task_id].append(pair)
    student = [sum(pair.student.won for pair in task) / len(task) for task in by_task.values()]
    teacher = [sum(pair.teacher.won for pair in task) / len(task) for task in by_task.values()]
    difference, low, high, differing, verdict = paired_difference(student, teacher)
    failed = [pair.gap for pair in pairs if pair.gap is not None and not pair.student.won]
    won = [pair.gap for pair in pairs if pair.gap is not None and pair.student.won]
    return AuditRow(
        kind=kind,
        name=name,
        tasks=len(by_task),
        student=sum(student) / len(student),
        teacher=sum(teacher) / len(teacher),
        difference=difference,
        low=low,
        high=high,
        differing=differing,
        verdict=verdict,
        gap_failed=mean_gap(failed),
        gap_won=mean_gap(won),
        action_gap_failed=mean_gap(failed, action=True),
        action_gap_won=mean_gap(won, action=True),
    )
