"""Privileged teacher contexts from finished episodes: expert solution, successful sibling, feedback, hindsight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdar_gym.algorithms.objectives.teacher import Teacher, View
from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.prompting import PrivilegedContext
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.context import PromptContext, PromptTooLongError
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.skills.growth.abstraction import steps_of
from sdar_gym.skills.lookup import skill_env_name

VIEWS = ("solution", "sibling", "feedback", "sibling_or_feedback", "hindsight")
CONTROLS = ("blank",)

# Heading, one-word label and text of each view. In environments that are played step by step a text is one line,
# because compact prompts have one line per fact. Where a verifier checks whole answers, they are shown as they are.
# The control is the same text with `_BLANK` in place of the privileged parts.
_SOLUTION = PrivilegedContext("{steps}.", "The expert's solution of this task, step by step", "solution")
_SIBLING = PrivilegedContext("{steps}.", "A successful attempt at this task, with the result of each step", "example")
_FEEDBACK = PrivilegedContext(
    "Understood: {understood}. Then: {reply}", "The environment's reply to the next action", "feedback"
)
_HINDSIGHT = PrivilegedContext(
    "Accepted: {accepted}. Refused: {refused}. In the end {end}.", "Summary of this attempt, in hindsight", "hindsight"
)
WHOLE_SOLUTION = PrivilegedContext("{solution}", "A correct solution of this problem", "solution")
WHOLE_SIBLING = PrivilegedContext("{answer}", "A correct answer to this problem, from another attempt", "example")
VERDICT = PrivilegedContext("{verdict}", "What checking an attempt at this problem found", "feedback")
_BLANK = "(not shown)"
_UNDERSTOOD = {
    (True, True): "yes",
    (True, False): "no",
    (False, True): "yes, but the response did not match the required format",
    (False, False): "no, and the response did not match the required format",
}
_ENDS = {
    "won": "the task was solved",
    "lost": "it was over without success",
    "truncated": "the turns ran out before the task was solved",
    "prompt_too_long": "it was stopped, because its prompt had grown too long",
    "context_full": "it was stopped, because the conversation had no room for another turn",
    "error": "it was stopped by an error of the environment",
}
# In characters. The reply to a step is shown at length, the results within a demonstration in brief. A whole answer is
# limited by the teacher's prompt; this bound is for texts that no prompt has room for.
_LONGEST_ACTION, _LONGEST_RESULT, _LONGEST_REPLY, _LONGEST_ANSWER = 200, 80, 1200, 100_000


@dataclass(frozen=True, slots=True)
class ViewReport:
    """Counts of turns with and without a teacher's prompt; the three numbers add up to all turns.

    Attributes:
        with_context: Turns with a teacher's prompt.
        without_context: Turns without a privileged context: no solution, or no sibling that won.
        too_long: Turns without one because it, or its control, would be over the limit.
    """

    with_context: int
    without_context: int
    too_long: int

    @property
    def coverage(self) -> float:
        """Share of turns with a teacher's prompt; 0 without turns."""
        return self.with_context / max(1, self.with_context + self.without_context + self.too_long)


class SolutionBook:
    """Expert solutions of tasks, played once per task and cached.

    Args:
        env_id: A registered environment with an expert.
        env_config: Its arguments, those of the rollouts: the expert has the same turn limit.

    Raises:
        ValueError: The environment has no expert, or cannot be made.
    """

    def __init__(self, env_id: str, env_config: Mapping[str, Any]):
        expert = expert_of(env_id)
        if expert is None:
            raise ValueError(
                f"{env_id} has no expert, so the teacher's view 'solution' has nothing to show. Register the "
                "environment with expert='module:Class', or choose the view sibling, feedback or hindsight."
            )
        self._expert = expert
        self._env = make_env(env_id, env_config)
        self._known: dict[str, tuple[str, ...] | None] = {}

    def actions(self, task_id: str) -> tuple[str, ...] | None:
        """The expert's actions, first to last, or None if it does not reach the goal.

        Args:
            task_id: The task; by the environment contract it determines everything, the seed included.
        """
        if task_id not in self._known:
            self._known[task_id] = self._play(task_id)
        return self._known[task_id]

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _play(self, task_id: str) -> tuple[str, ...] | None:
        observation, info = self._env.reset(options={"task_id": task_id})
        actions: list[str] = []
        over = False
        try:
            self._expert.begin(self._env, observation, info)
            while not over:
                actions.append(self._expert.act(observation, info))
                observation, _, terminated, truncated, info = self._env.step(actions[-1])
                over = terminated or truncated
        except ValueError:
            return None  # Experts raise ValueError for a task that cannot be solved.
        return tuple(actions) if info["won"] else None


def privileged_context_writer(
    teacher: Teacher | None, tokenizer: Any, env_id: str, env_config: Mapping[str, Any], rollout: RolloutSettings
) -> PrivilegedContextWriter | None:
    """The writer of a teacher's prompts, or None where they are written during the rollout or not at all.

    Args:
        teacher: The method's teacher, or None.
        tokenizer: The policy's.
        env_id: The environment.
        env_config: Its arguments.
        rollout: How episodes are played; the prompts are those of the rollout.

    Raises:
        ValueError: The environment cannot offer the teacher's view.
    """
    if teacher is None or not teacher.after_rollout:
        return None
    context = build_context(tokenizer, env_id, env_config, rollout)
    return PrivilegedContextWriter(teacher, context, env_id, env_config)


class PrivilegedContextWriter:
    """Writes the teacher's prompts of finished episodes.

    Args:
        teacher: Determines the view, and whether blanked control prompts are written.
        context: The builder of the rollout's prompts.
        env_id: The environment.
        env_config: Its arguments.

    Raises:
        ValueError: The environment has no expert, which the view `solution` needs.
    """

    def __init__(self, teacher: Teacher, context: PromptContext, env_id: str, env_config: Mapping[str, Any]):
        self._teacher = teacher
        self._context = context
        self._env_name = skill_env_name(env_id)
        self._solutions = SolutionBook(env_id, env_config) if teacher.view is View.SOLUTION else None

    def write(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Fills in the teacher's token sequences.

        Args:
            episodes: Whole groups.

        Returns:
            The share of turns with a teacher's prompt, as `view_coverage`.
        """
        report = attach_teacher_prompts(
            episodes,
            str(self._teacher.view),
            self._context,
            env_name=self._env_name,
            solutions=self._solutions,
            control="blank" if self._teacher.blank_control else None,
        )
        return {"view_coverage": report.coverage}


def attach_teacher_prompts(
    episodes: Sequence[Episode],
    view: str,
    context: PromptContext,
    *,
    env_name: str,
    solutions: SolutionBook | None = None,
    control: str | None = None,
) -> ViewReport:
    """Fills `teacher_ids`, and `control_ids` where requested, of the episodes' token sequences in place.

    The teacher reads the turn's own prompt with a privileged context under its heading; in a conversation the first
    user message has it, so that it is read once for all turns. There `feedback`, which differs from turn to turn,
    stands in the user message before its response.

    - `solution`: the environment's worked solution, or the actions of its expert in this task.
    - `sibling`: the shortest won episode of the group, never the episode's own: its steps without the refused ones, or
      its correct answer where a verifier checks whole answers.
    - `feedback`: the environment's reply to this very step, after the last step how the episode ended; or what the
      verifier found.
    - `sibling_or_feedback`: the sibling, and the feedback where no other episode of the group won.
    - `hindsight`: what was accepted and refused in the whole episode, abstracted as `steps_of` does, and how
      it ended.

    Args:
        episodes: Finished episodes; whole groups, for `sibling`.
        view: One of `VIEWS`. Prompts with skills are written while episodes are played, not here.
        context: The builder that wrote the episodes' prompts.
        env_name: The environment, for messages.
        solutions: Needed by `solution`.
        control: `blank` also writes the same prompt with the privileged parts of its text blanked.

    Returns:
        Counts of turns with and without a teacher's prompt; without one, `teacher_ids` is None.

    Raises:
        ValueError: Unknown view or control, no solutions where they are needed, or the context does not make the
            episodes' prompts.

    Source:
        `sibling` and `sibling_or_feedback`: SDPO (arXiv 2601.20802), where an episode is never its own demonstration,
        and feedback is used where there is none. `feedback` and its
        control: OCSD (arXiv 2608.04788). `hindsight`: SEED (arXiv 2607.14777) and OPID (arXiv 2606.26790), in which
        a model writes the summary; here rules do. All wordings are ours.
    """
    if view not in VIEWS:
        raise ValueError(f"The view {view!r} is not made of finished episodes; those are {', '.join(VIEWS)}.")
    if control is not None and control not in CONTROLS:
        raise ValueError(f"Unknown control {control!r}; choose {', '.join(CONTROLS)} or None.")
    if view == "solution" and solutions is None:
        raise ValueError("The view 'solution' needs solutions: pass a SolutionBook of the environment.")
    _check_context(episodes, context, env_name)
    groups: defaultdict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        groups[episode.group_id].append(episode)
    counts = {"with_context": 0, "without_context": 0, "too_long": 0}
    for episode in episodes:
        texts = _texts(view, episode, groups[episode.group_id], solutions)
        for sequence in episode.sequences:
            turns = [span.turn for span in sequence.spans]
            sequence.teacher_ids = sequence.control_ids = sequence.teacher_starts = sequence.control_starts = None
            shown = [text for turn in turns if (text := texts[turn]) is not None]
            if len(shown) < len(turns):
                counts["without_context"] += len(turns)
                continue
            try:
                teacher = context.teacher_tokens(episode, sequence, [text.full for text in shown])
                blank = context.teacher_tokens(episode, sequence, [text.blank for text in shown]) if control else None
            except PromptTooLongError:
                for turn in turns:
                    episode.turns[turn].teacher_too_long = True
                counts["too_long"] += len(turns)
                continue
            sequence.teacher_ids, sequence.teacher_starts = teacher
            if blank is not None:
                sequence.control_ids, sequence.control_starts = blank
            counts["with_context"] += len(turns)
    return ViewReport(**counts)


def requests_with_view(view: str, episodes: Sequence[Episode], seed: int) -> list[EpisodeRequest]:
    """Requests of the same tasks, in which the acting policy reads what a teacher with this view would read.

    Only where a verifier checks whole answers: elsewhere feedback differs from step to step. The policy is then its own
    teacher in another attempt, with the solution, a sibling's answer, or the feedback on the first attempt.

    Args:
        view: One of `VIEWS`.
        episodes: Finished episodes; whole groups, for siblings.
        seed: Seed of the draws.

    Returns:
        A request for each episode that has a privileged context; empty in environments without a verifier.
    """
    verified = [episode for episode in episodes if episode.turns and episode.turns[-1].feedback is not None]
    groups: defaultdict[int, list[Episode]] = defaultdict(list)
    for episode in verified:
        groups[episode.group_id].append(episode)
    requests = []
    for episode in verified:
        text = _texts(view, episode, groups[episode.group_id], None)[-1]
        if text is not None:
            requests.append(EpisodeRequest(episode.task_id, episode.group_id, episode.member, seed, text.full))
    return requests


def _check_context(episodes: Sequence[Episode], context: PromptContext, env_name: str) -> None:
    """Rebuilds one prompt, of an episode's last sequence, to detect settings other than the rollout's."""
    episode = next((episode for episode in episodes if episode.turns), None)
    if episode is None:
        return
    sequence = episode.sequences[-1]
    try:
        again = context.sequence_prompt(episode, sequence.spans[0].turn)
    except PromptTooLongError:
        again = []
    if again != sequence.prompt_ids:
        raise ValueError(
            f"Episode {episode.episode_id} of {env_name} was played with another prompt than this context makes. Build "
            "the context with the rollouts' tokenizer, template, window and limit; the acting policy must not have "
            "seen skills."
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """A privileged context, and the same with its privileged parts blanked."""

    full: PrivilegedContext
    blank: PrivilegedContext


def _filled(scaffold: PrivilegedContext, **parts: str) -> _Pair:
    blanks = dict.fromkeys(parts, _BLANK)
    return _Pair(
        replace(scaffold, text=scaffold.text.format(**parts)), replace(scaffold, text=scaffold.text.format(**blanks))
    )


def _texts(
    view: str, episode: Episode, group: Sequence[Episode], solutions: SolutionBook | None
) -> Sequence[_Pair | None]:
    """The privileged text of each turn."""
    if view == "feedback":
        return list(_feedback(episode))
    if view == "hindsight":
        text = _hindsight(episode)
    elif view == "solution":
        text = _solution(episode, solutions)
    else:
        text = _sibling(episode, group)
        if text is None and view == "sibling_or_feedback":
            return list(_feedback(episode))
    return [text] * len(episode.turns)


def _solution(episode: Episode, solutions: SolutionBook | None) -> _Pair | None:
    if episode.reference:
        return _filled(WHOLE_SOLUTION, solution=episode.reference[:_LONGEST_ANSWER])
    actions = solutions.actions(episode.task_id) if solutions is not None else None
    return _filled(_SOLUTION, steps=_listed(actions)) if actions else None


def _sibling(episode: Episode, group: Sequence[Episode]) -> _Pair | None:
    won = [other for other in group if other is not episode and other.won]
    if not won:
        return None
    # Ties are decided by the order of the group.
    best = min(won, key=lambda other: len(other.turns))
    if best.turns[-1].feedback is not None:
        return _filled(WHOLE_SIBLING, answer=best.turns[-1].action[:_LONGEST_ANSWER])
    steps = [
        f"{_short(turn.action, _LONGEST_ACTION)} -> {_short(reply, _LONGEST_RESULT)}"
        for turn, reply in zip(best.turns, _replies(best), strict=True)
        if turn.valid_action
    ]
    return _filled(_SIBLING, steps="; ".join(steps)) if steps else None


def _feedback(episode: Episode) -> Iterator[_Pair]:
    for turn, reply in zip(episode.turns, _replies(episode), strict=True):
        if turn.feedback is not None:
            yield _filled(VERDICT, verdict=turn.feedback[:_LONGEST_ANSWER])
        else:
            understood = _UNDERSTOOD[turn.valid_form, turn.valid_action]
            yield _filled(_FEEDBACK, understood=understood, reply=_short(reply, _LONGEST_REPLY))


def _hindsight(episode: Episode) -> _Pair:
    record = {"goal": episode.goal, "turns": [_step(turn, turn.valid_action) for turn in episode.turns]}
    # `steps_of` abstracts accepted steps; with every verdict inverted it abstracts the refused ones.
    opposite = {"goal": episode.goal, "turns": [_step(turn, not turn.valid_action) for turn in episode.turns]}
    refused = list(dict.fromkeys(steps_of(opposite)))
    return _filled(_HINDSIGHT, accepted=_listed(steps_of(record)), refused=_listed(refused), end=_end(episode))


def _step(turn: TurnRecord, accepted: bool) -> dict[str, Any]:
    """A turn in the form that `steps_of` reads."""
    return {"action": turn.action, "observation": turn.observation, "valid_action": accepted}


def _replies(episode: Episode) -> list[str]:
    """The environment's reply to each turn; for the last one, how the episode ended."""
    return [*(turn.observation for turn in episode.turns[1:]), _end(episode)][: len(episode.turns)]


def _end(episode: Episode) -> str:
    """How the episode ended, as part of a sentence."""
    return f"{_ENDS.get(episode.ended, 'it was over')} (score {episode.score:.2f})"


def _listed(steps: Sequence[str]) -> str:
    return "; ".join(_short(step, _LONGEST_ACTION) for step in steps) or "nothing"


def _short(text: str, limit: int) -> str:
    """A text on one line, cut where it is too long."""
    line = " ".join(text.split()) or "(nothing)"
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."
