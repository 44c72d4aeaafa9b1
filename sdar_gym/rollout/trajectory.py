"""Trajectories: a finished episode as text for people and as token sequences for the learner.

An `Episode` has turns, which are text, and token sequences, which are what the policy read and wrote. A sequence holds
any number of response spans: with a window context one sequence a turn with one span, with an append-only conversation
one sequence an episode with a span for every turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any


@dataclass(frozen=True, slots=True)
class ResponseSpan:
    """The response of one turn within a token sequence.

    Attributes:
        turn: Number of the turn in its episode, from 0.
        start: Position of its first token in the sequence.
        stop: Position after its last token.
    """

    turn: int
    start: int
    stop: int


@dataclass(slots=True)
class TokenSequence:
    """Token ids that a model reads in one forward pass, with the responses that were sampled in it.

    Sampled ids are trained ids: text is never tokenized again. The teacher's sequence has the same responses. Mostly it
    has the same tokens from the first response on, behind another prompt; then a span lies
    `len(teacher_ids) - len(ids)` tokens later in it. Where each turn of a conversation has a privileged context of its
    own, `teacher_starts` says where the spans are.

    Attributes:
        ids: The student's tokens: prompts, chat template and responses.
        spans: The responses, in order.
        teacher_ids: The teacher's tokens, with the privileged context in the prompt; None without a teacher.
        control_ids: The teacher's tokens with the privileged part blanked, or with a control text; None if the method
            does not score it.
        teacher_starts: Start of each span in the teacher's tokens; None if all lie equally later.
        control_starts: The same in the control's tokens.
    """

    ids: list[int]
    spans: list[ResponseSpan]
    teacher_ids: list[int] | None = None
    control_ids: list[int] | None = None
    teacher_starts: list[int] | None = None
    control_starts: list[int] | None = None

    @property
    def starts(self) -> list[int]:
        """Start of each span."""
        return [span.start for span in self.spans]

    def starts_in(self, ids: list[int]) -> list[int]:
        """Start of each span in longer tokens that differ before the first response only."""
        return [span.start + len(ids) - len(self.ids) for span in self.spans]

    def behind(self, prompt_ids: list[int]) -> list[int]:
        """The tokens from the first response on, behind another prompt."""
        return [*prompt_ids, *self.ids[self.spans[0].start :]]

    @property
    def prompt_ids(self) -> list[int]:
        """The tokens before the first response."""
        return self.ids[: self.spans[0].start]


@dataclass(slots=True)
class TurnRecord:
    """One turn of an episode.

    Attributes:
        observation: The observation before the action.
        response: The model's response, decoded.
        action: The action that was sent to the environment.
        valid_form: Whether the response had the required form.
        valid_action: Whether the environment understood the action.
        reward: Reward of the turn.
        response_ids: The sampled tokens, the end token included if it was reached; empty where a server sampled them.
        old_logp: The sampler's log-probability of each response token, at the sampling temperature, in nats.
        weight_version: Version of the weights that sampled it.
        prompt_tokens: Length of the prompt.
        cached_tokens: Prompt tokens that the engine did not read again.
        admissible_actions: The admissible actions, as the prompt showed them.
        finish_reason: Why the response ended: `stop` (an end token) or `length` (cut off).
        tagged: Whether the response had the tags that mark an action.
        dropped_turns: Past turns that were left out of the prompt to keep its limit.
        teacher_too_long: Whether the teacher's prompt was over its limit, so that this turn has no teacher.
        feedback: What the environment's verifier said of the action in detail, for teachers and logs; None if the
            environment has no verifier.
        counted_tokens: Response tokens as a server counted them; None where `response_ids` has them.
    """

    observation: str
    response: str
    action: str
    valid_form: bool
    valid_action: bool
    reward: float
    response_ids: list[int]
    old_logp: list[float]
    weight_version: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    admissible_actions: tuple[str, ...] = ()
    finish_reason: str = "stop"
    tagged: bool = True
    dropped_turns: int = 0
    teacher_too_long: bool = False
    feedback: str | None = None
    counted_tokens: int | None = None

    @property
    def response_tokens(self) -> int:
        """Length of the response in tokens."""
        return len(self.response_ids) if self.counted_tokens is None else self.counted_tokens


@dataclass(slots=True)
class Episode:
    """One finished episode.

    Attributes:
        episode_id: `<group>/<member>`.
        group_id: Episodes of one group play one task from one seed.
        turns: The turns, as text.
        sequences: The token sequences that hold the turns' responses, in order.
        member: Position in the group.
        ended: `won`, `lost` (terminated without success), `truncated` (turn limit), `prompt_too_long`, `context_full`
            (no room for another turn in the conversation), or `error`.
        context_forks: Times a conversation began a new sequence because the chat template rewrote its past.
        reference: The environment's worked solution of the task, for teachers and logs; empty if it has none.
        error: The error that ended it, the environment's or the server's, with task and turn; empty without one.
        limit: The limit of the evaluation that truncated it, `turns` or `tokens`; empty if none did.
        metrics: The environment's metrics by name, such as `goal_condition_rate` or `f1`; see `Turn.extra`.
        skills: Ids of the skills that were retrieved for the teacher.
        skills_specific: Whether at least one of them is specific to this task's type; None if no skills were requested.
        skill_scores: The strategy's score of each, in the same order; 0 where none was needed, infinite where `ucb` had
            not tried it yet.
        skill_strategy: Name of the retrieval strategy.
        skill_backend: Search backend of the strategy; `none` if it searches nothing.
    """

    episode_id: str
    group_id: int
    task_id: str
    task_type: str
    split: str
    goal: str
    turns: list[TurnRecord] = field(default_factory=list)
    sequences: list[TokenSequence] = field(default_factory=list)
    won: bool = False
    score: float = 0.0
    ended: str = ""
    context_forks: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    skills: tuple[str, ...] = ()
    skills_specific: bool | None = None
    skill_scores: tuple[float, ...] = ()
    skill_strategy: str = ""
    skill_backend: str = ""
    member: int = 0
    reference: str = ""
    error: str = ""
    limit: str = ""

    def continue_turn(self, turn: TurnRecord, prompt_ids: list[int]) -> None:
        """Appends a turn of a conversation: another response span in the last sequence, for the teacher as well.

        Args:
            turn: The turn.
            prompt_ids: The prompt; it begins with the tokens of the last sequence.
        """
        turn.prompt_tokens = len(prompt_ids)
        sequence = self.sequences[-1]
        added = [*prompt_ids[len(sequence.ids) :], *turn.response_ids]
        sequence.ids += added
        for other_ids in (sequence.teacher_ids, sequence.control_ids):
            if other_ids is not None:
                other_ids += added
        sequence.spans.append(ResponseSpan(len(self.turns), len(prompt_ids), len(sequence.ids)))
        self.turns.append(turn)

    def add_turn(
        self,
        turn: TurnRecord,
        prompt_ids: list[int],
        teacher_prompt_ids: list[int] | None = None,
        control_prompt_ids: list[int] | None = None,
    ) -> None:
        """Appends a turn with a fresh prompt: a sequence with one response span.

        Args:
            turn: The turn.
            prompt_ids: The prompt, chat template included.
            teacher_prompt_ids: The same with the privileged context; empty or None without a teacher.
            control_prompt_ids: The same with a control text in its place; empty or None without one.
        """
        turn.prompt_tokens = len(prompt_ids)
        span = ResponseSpan(len(self.turns), len(prompt_ids), len(prompt_ids) + len(turn.response_ids))
        sequence = TokenSequence([*prompt_ids, *turn.response_ids], [span])
        if teacher_prompt_ids:
            sequence.teacher_ids = sequence.behind(teacher_prompt_ids)
        if control_prompt_ids:
            sequence.control_ids = sequence.behind(control_prompt_ids)
        self.turns.append(turn)
        self.sequences.append(sequence)

    def sequence_of(self, turn: int) -> TokenSequence:
        """The sequence that holds a turn's response.

        Args:
            turn: Number of the turn, from 0.

        Raises:
            ValueError: No sequence holds it.
        """
        for sequence in self.sequences:
            if any(span.turn == turn for span in sequence.spans):
                return sequence
        raise ValueError(f"Episode {self.episode_id} has no tokens of turn {turn}.")

    @property
    def total_reward(self) -> float:
        """Sum of the turns' rewards."""
        return sum(turn.reward for turn in self.turns)

    def env_steps(self) -> int:
        """Number of turns, under the name that RLlib expects of episodes."""
        return len(self.turns)

    def agent_steps(self) -> int:
        """Number of turns; an episode has one agent."""
        return len(self.turns)

    def to_json(self) -> dict[str, Any]:
        """The form of `episodes/*.jsonl`, the same for training and evaluation; token ids are left out."""
        return {
            "episode_id": self.episode_id,
            "group_id": self.group_id,
            "task_id": self.task_id,
            "task_type": self.task_type,
            "split": self.split,
            "goal": self.goal,
            "won": self.won,
            "score": self.score,
            "reward": self.total_reward,
            "ended": self.ended,
            **({"error": self.error} if self.error else {}),
            **({"limit": self.limit} if self.limit else {}),
            **({"context_forks": self.context_forks} if self.context_forks else {}),
            **({"metrics": dict(self.metrics)} if self.metrics else {}),
            **({"reference": self.reference} if self.reference else {}),
            "skills": list(self.skills),
            "skills_specific": self.skills_specific,
            # JSON has no infinity.
            "skill_scores": [round(score, 5) if isfinite(score) else None for score in self.skill_scores],
            "skill_strategy": self.skill_strategy,
            "skill_backend": self.skill_backend,
            "turns": [
                {
                    "observation": turn.observation,
                    **({"admissible_actions": list(turn.admissible_actions)} if turn.admissible_actions else {}),
                    "response": turn.response,
                    "action": turn.action,
                    "valid_form": turn.valid_form,
                    "valid_action": turn.valid_action,
                    "reward": turn.reward,
                    "prompt_tokens": turn.prompt_tokens,
                    "response_tokens": turn.response_tokens,
                    "finish_reason": turn.finish_reason,
                    # A server's log-probabilities are not known.
                    "mean_logprob": None
                    if turn.counted_tokens is not None
                    else round(sum(turn.old_logp) / max(1, len(turn.old_logp)), 5),
                    **({"dropped_turns": turn.dropped_turns} if turn.dropped_turns else {}),
                    **({} if turn.feedback is None else {"feedback": turn.feedback}),
                }
                for turn in self.turns
            ],
        }
