"""Preflight check of a run: settings, resources, policy, tasks, prompts and panel, before Ray starts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.prompting import EpisodeView, prompt_template, skill_context
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.evaluation.panels import build_panel
from sdar_gym.paths import first_line
from sdar_gym.policy.chat import ChatFormat
from sdar_gym.policy.load import load_generation_config, load_model_config, load_tokenizer, stop_token_ids
from sdar_gym.policy.preflight import check_policy
from sdar_gym.rollout.build import build_context, build_retriever
from sdar_gym.rollout.context import PromptContext, PromptTooLongError
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.sampler import TaskSampler
from sdar_gym.runs.mirror import check_mirror
from sdar_gym.runs.trackers import check_trackers
from sdar_gym.skills import Retriever
from sdar_gym.skills.lookup import query_for, skill_env_name

# Tasks opened before training (fail fast); later tasks of longer runs are opened when they are played.
_MOST_TASKS = 2_000


@dataclass(slots=True)
class _Lengths:
    """First prompts over a limit: count, longest length in tokens, and its task."""

    count: int = 0
    longest: int = 0
    task_id: str = ""

    def add(self, task_id: str, tokens: int) -> None:
        self.count += 1
        if tokens > self.longest:
            self.longest, self.task_id = tokens, task_id


def check_run(run: RunConfig) -> list[str]:
    """Check a run before Ray starts: settings, resources, policy, tasks, prompts, panel.

    Returns:
        Notes for the user, a sentence each: chosen sizes, tasks that will be skipped.

    Raises:
        ValueError: Says what is wrong and how to fix it.
    """
    from sdar_gym.algorithms.sdar.config import SDARConfig

    check_trackers(run.trackers)
    if run.mirror is not None:
        check_mirror(run.mirror)
    config = SDARConfig.from_run(run)
    config.check()
    teacher = config.get_method().objective.teacher
    facts = check_policy(
        run.policy.model,
        rollout=run.rollout,
        policy=run.policy,
        template=prompt_template(run.env, run.rollout.prompt),
        teacher=None if teacher is None else teacher.model,
    )
    notes = [config.get_sizes().note, *facts.notes]
    tokenizer = load_tokenizer(run.policy.model)
    env = make_env(run.env, run.env_config)
    try:
        env.check_ready()
        panel = build_panel(run.env, env, run.evaluation)
        training_ids = env.task_ids()
        _refuse_overlap(run, panel.task_ids, training_ids)
        played = _training_tasks(run, training_ids)
        # With the limits that `check` set for this model.
        context = build_context(tokenizer, run.env, run.env_config, config.rollout_settings)
        retriever = build_retriever(run.env, run.skills)
        reads_skills = config.get_method().acts_with_skills
        teaches = teacher is not None and str(teacher.view) == "skills"
        notes += _check_prompts(
            run, env, panel.task_ids, played, context, retriever, teaches=teaches, acts_with_skills=reads_skills
        )
    finally:
        env.close()
    return notes


def with_date(run: RunConfig) -> RunConfig:
    """The run with a fixed date if its chat template writes one, so that a resume has the same prompts."""
    if run.rollout.date is not None:
        return run
    if not ChatFormat(load_tokenizer(run.policy.model), run.rollout.chat_template_kwargs).asks_for_clock:
        return run
    return replace(run, rollout=replace(run.rollout, date=date.today().isoformat()))


def stop_tokens(run: RunConfig) -> tuple[str, ...]:
    """The tokens that end a response in this run, as text for its record."""
    tokenizer = load_tokenizer(run.policy.model)
    generation = load_generation_config(run.policy.model, load_model_config(run.policy.model))
    ids = stop_token_ids(generation, tokenizer, run.rollout.chat_template_kwargs)
    return tuple(str(tokenizer.convert_ids_to_tokens(token)) for token in ids)


def _training_tasks(run: RunConfig, ids: Sequence[str]) -> list[str]:
    """The tasks of the first updates, each once, in order."""
    sampler = TaskSampler(ids, run.seed)
    found: dict[str, None] = {}
    for step in range(run.training.iterations):
        if len(found) >= min(_MOST_TASKS, len(ids)):
            break
        found |= dict.fromkeys(sampler.take(step, run.training.tasks_per_iteration))
    return list(found)[:_MOST_TASKS]


def _refuse_overlap(run: RunConfig, panel: Iterable[str], training: Iterable[str]) -> None:
    shared = sorted(set(panel) & set(training))
    if shared:
        raise ValueError(
            f"{len(shared)} task(s) of the evaluation panel are training tasks, {shared[0]!r} among them: the result "
            f"would measure memorization. Choose another evaluation.{'panel' if run.evaluation.panel else 'split'}."
        )


def _check_prompts(
    run: RunConfig,
    env: TextEnv,
    panel: Sequence[str],
    training: Sequence[str],
    context: PromptContext,
    retriever: Retriever,
    *,
    teaches: bool,
    acts_with_skills: bool,
) -> list[str]:
    """Fail fast: open every task before training, and build its first prompts for student and teacher."""
    student, teacher = _Lengths(), _Lengths()
    tasks = list(dict.fromkeys((*panel, *training)))
    for task_id in tasks:
        try:
            observation, info = env.reset(options={"task_id": task_id})
        except Exception as error:
            raise ValueError(f"Task {task_id!r} of {run.env} cannot be opened: {first_line(error)}") from error
        view = EpisodeView(info["goal"], (), observation, tuple(info["admissible_actions"]))
        skills = None
        if teaches or acts_with_skills:
            query = query_for(skill_env_name(run.env), info, observation)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # The run itself warns of missing skills.
                skills = skill_context(retriever.retrieve(query).text)
        for context_of, lengths in (
            (skills if acts_with_skills else None, student),
            (skills if teaches else None, teacher),
        ):
            try:
                context.first_prompt(view, context_of)
            except PromptTooLongError as error:
                lengths.add(task_id, error.tokens)
    notes = []
    limit = run.rollout.teacher_prompt_limit if acts_with_skills else run.rollout.max_prompt_tokens
    if student.count:
        setting = "max_teacher_prompt_tokens" if acts_with_skills else "max_prompt_tokens"
        told = (
            f"The first prompt of {student.count} of {len(tasks)} task(s) is longer than rollout.{setting}={limit}; "
            f"the longest has {student.longest} tokens ({student.task_id})."
        )
        if 2 * student.count > len(tasks):
            raise ValueError(f"{told} Raise it to {student.longest} at least, or use a shorter rollout.prompt.")
        notes.append(f"{told} They are skipped in training and counted; in evaluation they count as lost.")
    if teaches and teacher.count > student.count:
        notes.append(
            f"The teacher's first prompt of {teacher.count} of {len(tasks)} task(s) is longer than "
            f"rollout.max_teacher_prompt_tokens={run.rollout.teacher_prompt_limit}; the longest has {teacher.longest} "
            f"tokens ({teacher.task_id}). Such turns have no teacher and are counted."
        )
    return notes
