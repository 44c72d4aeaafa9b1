"""The settings of a run as plain data classes: each says what it is, and refuses what makes no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date
from math import isfinite
from typing import Any

from sdar_gym.configs.bounds import (
    LARGEST_SEED,
    MOST_EPISODES,
    MOST_GROUPS,
    MOST_THREADS,
    MOST_TOKENS,
    MOST_UPDATES,
    RESERVED_KWARGS,
    at_least,
    not_negative,
    sampling_temperature,
)
from sdar_gym.configs.places import settled
from sdar_gym.configs.typed import check_types
from sdar_gym.paths import local_path
from sdar_gym.skills import builtin_libraries
from sdar_gym.text import shortened
from sdar_gym.validation import one_of


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters, trained instead of the weights.

    Attributes:
        r: Rank of the adapters.
        alpha: Their product is multiplied by alpha / r. Learning rates are about ten times those of whole weights.
        dropout: Of their inputs while training; it moves the student away from the policy that sampled.
        target_modules: Last parts of the names of linear layers, such as `q_proj`; empty for all of attention and MLP.
        seed: Of the adapters' first values.
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: list[str] = field(default_factory=list)
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self, "policy.lora.")
        at_least("policy.lora.r", self.r, 1, 65_536)
        at_least("policy.lora.seed", self.seed, 0, LARGEST_SEED)
        if not (self.alpha > 0 and isfinite(self.alpha)):
            raise ValueError(f"policy.lora.alpha must be above 0, got {self.alpha}; twice the rank is usual.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"policy.lora.dropout must be from 0 up to below 1, got {self.dropout}.")


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The language model.

    Attributes:
        model: `builtin:tiny`, a folder, or a hub name.
        dtype: `float32`, `bfloat16`, `auto` (as saved), or `float64`, for tests of exactness. With half precision the
            learner still keeps whole weights in single precision: in bfloat16 a step of 1e-6 rounds to nothing.
        device: Where rollouts, evaluation and updates compute: `auto` (a GPU where there is one), `cpu`, `cuda`, or one
            GPU of the driver such as `cuda:1`. Remote workers use the GPU that Ray gives them.
        gradient_checkpointing: Recompute activations in the backward pass; None decides by the model's size and the
            memory there is.
        torch_threads: Threads a process; None for 1 with small models, which are by far the fastest so, else as many
            as the cores allow.
        lora: Train adapters instead of the weights; None trains the weights.
        teacher_residence: Where a teacher's weights are while nobody scores with them: `cpu`, or `device`, which is
            faster and takes the room of a second model.
    """

    model: str = "builtin:tiny"
    dtype: str = "float32"
    device: str = "auto"
    gradient_checkpointing: bool | None = None
    torch_threads: int | None = None
    lora: LoraSettings | None = None
    teacher_residence: str = "cpu"

    def __post_init__(self) -> None:
        if isinstance(self.lora, dict):
            raise ValueError("policy.lora must be a LoraSettings, such as LoraSettings(r=16), not a dict.")
        check_types(self, "policy.")
        at_least("policy.torch_threads", self.torch_threads, 1, MOST_THREADS)
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise ValueError(f"policy.device must be auto, cpu, cuda or cuda:<number>, got {shortened(self.device)}.")
        one_of("policy.dtype", self.dtype, ("float32", "bfloat16", "auto", "float64"))
        one_of("policy.teacher_residence", self.teacher_residence, ("cpu", "device"))
        if not self.model.startswith("builtin:"):
            object.__setattr__(self, "model", settled("policy.model", self.model, folder=True))


@dataclass(frozen=True, slots=True)
class SkillSettings:
    """The teacher's skills.

    Attributes:
        strategy: `oracle_type`, `bm25`, `keywords`, `ucb`, `full`, `random` or `none`.
        library: A built-in library, a folder, or None for the environment's own.
        k: Task-specific skills at the most.
        include_general: Whether general skills come first.
        backend: Of the BM25 index: `auto`, `bm25s` or `lucene`.
        include_mistakes: Whether general mistakes come with the general skills.
        field_weights: Of `bm25`: how much `title`, `when_to_use` and `text` count; empty searches them as one text.
        seed: Of `random`.
        ucb_c: Of `ucb`: how much skills are preferred of which little is known; 0 goes by mean rewards alone.
    """

    strategy: str = "oracle_type"
    library: str | None = None
    k: int = 5
    include_general: bool = True
    backend: str = "auto"
    include_mistakes: bool = False
    field_weights: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    ucb_c: float = 1.0

    def __post_init__(self) -> None:
        check_types(self, "skills.")
        at_least("skills.k", self.k, 1)
        at_least("skills.seed", self.seed, 0)
        one_of("skills.backend", self.backend, ("auto", "bm25s", "lucene"))
        not_negative("skills.ucb_c", self.ucb_c)
        for name, weight in self.field_weights.items():
            not_negative(f"skills.field_weights.{name}", weight)
        if self.library is not None and self.library not in builtin_libraries():
            object.__setattr__(self, "library", settled("skills.library", self.library))


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How episodes are played.

    Attributes:
        prompt: Name of one of the environment's prompt templates.
        window: Past turns told word for word.
        think: Whether answers reason in `<think>` tags first.
        max_prompt_tokens: Longest prompt of the student.
        max_teacher_prompt_tokens: Longest prompt with skills or another privileged text in it; None for twice the
            student's, as far as the model reads. A turn whose teacher's prompt is longer gets no teacher.
        max_response_tokens: Longest answer.
        temperature: Of the training rollouts; the learner scores at the same temperature.
        chat_template_kwargs: Passed to the chat template.
        system: System message; None leaves it to the chat template.
        few_shot: Worked turns before every prompt, from the environment's expert in a training task.
        untagged_characters: Characters, from its end, that the history keeps of a response without action tags; the
            released SDAR code keeps 30. None keeps it whole.
        max_batch_tokens: Prompt tokens that the engine reads at once; None decides by the device's memory.
        date: The day that chat templates see, `YYYY-MM-DD`; None for the day on which the run began.
        max_failed_tasks: Tasks of a run whose environment may raise an error; each costs its group. One more ends the
            run.
    """

    prompt: str = "window"
    window: int = 2
    think: bool = True
    max_prompt_tokens: int = 2048
    max_response_tokens: int = 512
    temperature: float = 1.0
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    max_teacher_prompt_tokens: int | None = None
    system: str | None = None
    few_shot: int = 0
    untagged_characters: int | None = 30
    max_batch_tokens: int | None = None
    date: str | None = None
    max_failed_tasks: int = 20

    def __post_init__(self) -> None:
        check_types(self, "rollout.")
        at_least("rollout.window", self.window, 0)
        at_least("rollout.max_prompt_tokens", self.max_prompt_tokens, 1, MOST_TOKENS)
        at_least("rollout.max_response_tokens", self.max_response_tokens, 1, MOST_TOKENS)
        at_least("rollout.max_teacher_prompt_tokens", self.max_teacher_prompt_tokens, 1, MOST_TOKENS)
        at_least("rollout.untagged_characters", self.untagged_characters, 1)
        at_least("rollout.max_batch_tokens", self.max_batch_tokens, 1)
        at_least("rollout.few_shot", self.few_shot, 0, 100)
        at_least("rollout.max_failed_tasks", self.max_failed_tasks, 0)
        if self.date is not None:
            try:
                date.fromisoformat(self.date)
            except ValueError as error:
                raise ValueError(
                    f"rollout.date must be a day such as 2026-01-31, got {shortened(self.date)}."
                ) from error
        if not (self.temperature > 0 and isfinite(self.temperature)):
            raise ValueError(
                f"rollout.temperature must be above 0, got {self.temperature}: "
                "groups of identical episodes teach nothing."
            )
        sampling_temperature("rollout.temperature", self.temperature)
        kwargs = self.chat_template_kwargs
        reserved = sorted(name for name in kwargs if name in RESERVED_KWARGS or name.startswith("return_"))
        if reserved:
            raise ValueError(
                f"rollout.chat_template_kwargs cannot set {', '.join(reserved)}: the gym says that to the template "
                "itself. It is for the template's own variables, such as enable_thinking."
            )

    @property
    def teacher_prompt_limit(self) -> int:
        """Longest prompt with a privileged text in it, in tokens."""
        return self.max_teacher_prompt_tokens or 2 * self.max_prompt_tokens

    def within(self, context_length: int | None) -> RolloutSettings:
        """The same with the teacher's limit, where it was left open, cut to what a model reads.

        Args:
            context_length: Tokens that the model reads at once; None without limit.
        """
        if context_length is None or self.max_teacher_prompt_tokens is not None:
            return self
        room = max(1, context_length - self.max_response_tokens)
        return replace(self, max_teacher_prompt_tokens=min(self.teacher_prompt_limit, room))


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The update.

    Attributes:
        group_size: Episodes of one task, at least 2.
        tasks_per_iteration: Groups an update.
        iterations: Updates.
        lr: Peak learning rate of AdamW; constant after the warm-up.
        lr_warmup_updates: Updates over which the learning rate rises linearly to `lr`; 0 for none.
        num_minibatches: Optimizer steps an epoch.
        num_epochs: Passes over the update's episodes.
        micro_batch_tokens: Tokens of one forward and backward pass, padding included; bounds the memory. None decides
            by the model's size and the memory there is.
        invalid_action_penalty: What a turn with an invalid answer is fined.
        grad_clip: Largest global norm of a gradient.
        weight_decay: Of AdamW.
        adam_betas: Of AdamW.
        objective: Settings of the algorithm's preset to change, such as `{distill: {coeff: 0.03}}`.
        objective_by_algorithm: The same for single algorithms, for configurations that are used with several; what
            `objective` says comes before it.
    """

    group_size: int = 8
    tasks_per_iteration: int = 16
    iterations: int = 150
    lr: float = 1e-6
    lr_warmup_updates: int = 0
    num_minibatches: int = 1
    num_epochs: int = 1
    micro_batch_tokens: int | None = None
    invalid_action_penalty: float = 0.1
    grad_clip: float = 1.0
    weight_decay: float = 0.01
    adam_betas: tuple[float, float] = (0.9, 0.999)
    objective: dict[str, Any] = field(default_factory=dict)
    objective_by_algorithm: dict[str, dict[str, Any]] = field(default_factory=dict)

    def objective_of(self, algorithm: str) -> dict[str, Any]:
        """The settings to change for one algorithm."""
        return _merged(self.objective_by_algorithm.get(algorithm, {}), self.objective)

    def __post_init__(self) -> None:
        check_types(self, "training.")
        if self.group_size < 2:
            raise ValueError(
                f"training.group_size must be at least 2, got {self.group_size}: an advantage is relative to the "
                "group's other episodes, and a group of one has none. The published runs use 8."
            )
        at_least("training.group_size", self.group_size, 2, MOST_EPISODES)
        at_least("training.iterations", self.iterations, 1, MOST_UPDATES)
        for name in ("tasks_per_iteration", "num_minibatches"):
            at_least(f"training.{name}", getattr(self, name), 1, MOST_EPISODES)
        at_least("training.num_epochs", self.num_epochs, 1, 1_000)
        at_least("training.micro_batch_tokens", self.micro_batch_tokens, 1)
        at_least("training.lr_warmup_updates", self.lr_warmup_updates, 0, MOST_UPDATES)
        for name, most in (("lr", 1.0), ("grad_clip", None)):
            value = getattr(self, name)
            if not (value > 0 and isfinite(value)) or (most is not None and value > most):
                limit = f" and at most {most:g}" if most is not None else ""
                raise ValueError(f"training.{name} must be above 0{limit}, got {value}.")
        not_negative("training.invalid_action_penalty", self.invalid_action_penalty, 1e6)
        not_negative("training.weight_decay", self.weight_decay, 1e3)
        for name in ("objective", "objective_by_algorithm"):
            object.__setattr__(self, name, _with_settled_teacher(getattr(self, name), f"training.{name}"))
        self._check_sizes()
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ValueError(f"training.adam_betas must be two numbers from 0 up to below 1, got {self.adam_betas}.")

    def _check_sizes(self) -> None:
        """Refuse products that nobody means: each factor may be fine alone."""
        episodes = self.group_size * self.tasks_per_iteration
        if episodes > MOST_EPISODES:
            raise ValueError(
                f"training.group_size x training.tasks_per_iteration = {episodes:,} episodes an update; "
                f"{MOST_EPISODES:,} is the most."
            )
        if self.iterations * self.tasks_per_iteration > MOST_GROUPS:
            raise ValueError(
                f"training.iterations x training.tasks_per_iteration = "
                f"{self.iterations * self.tasks_per_iteration:,} groups in all; {MOST_GROUPS:,} is the most."
            )
        if self.num_minibatches > episodes:
            raise ValueError(
                f"training.num_minibatches must be at most the {episodes} episodes of an update (training.group_size x "
                f"training.tasks_per_iteration), got {self.num_minibatches}."
            )


@dataclass(frozen=True, slots=True)
class ResourceSettings:
    """What a run may use.

    Attributes:
        num_env_runners: Remote processes that play episodes; 0 plays in the driver.
        num_learners: Remote processes that learn; 0 learns in the driver.
        num_gpus_per_env_runner: GPUs of one env runner; None shares out what there is.
        num_gpus_per_learner: GPUs of one learner; None for one each where there are any.
    """

    num_env_runners: int = 0
    num_learners: int = 0
    num_gpus_per_env_runner: float | None = None
    num_gpus_per_learner: float | None = None

    def __post_init__(self) -> None:
        check_types(self, "resources.")
        at_least("resources.num_env_runners", self.num_env_runners, 0, 100_000)
        at_least("resources.num_learners", self.num_learners, 0, 10_000)
        not_negative("resources.num_gpus_per_env_runner", self.num_gpus_per_env_runner, 1_000)
        not_negative("resources.num_gpus_per_learner", self.num_gpus_per_learner, 1_000)


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """The panel that is played before, during and after training.

    Attributes:
        split: Split the panel is chosen from.
        panel: File of a frozen panel; None chooses `tasks` of the split, the same ones every time.
        tasks: Tasks of a chosen panel.
        temperature: Of the evaluation's answers; 0 takes the most likely token.
        seed: Of its draws.
        interval: Updates between evaluations; 0 evaluates only before and after.
        with_skills: Whether the acting policy sees the skills (measures the teacher).
        teacher_tasks: Tasks of the panel that the method's teacher plays as well, with its skills; 0 for none.
        token_turns: Turns of an update whose tokens are written out at each evaluation; 0 for none.
        batch_size: Episodes that `sdar-gym eval` plays at once; None decides by the device.
    """

    split: str = "valid_seen"
    panel: str | None = None
    tasks: int = 128
    temperature: float = 0.4
    seed: int = 0
    interval: int = 5
    with_skills: bool = False
    teacher_tasks: int = 32
    token_turns: int = 256
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_types(self, "evaluation.")
        at_least("evaluation.teacher_tasks", self.teacher_tasks, 0, MOST_EPISODES)
        at_least("evaluation.token_turns", self.token_turns, 0)
        at_least("evaluation.tasks", self.tasks, 1, MOST_EPISODES)
        at_least("evaluation.batch_size", self.batch_size, 1, MOST_EPISODES)
        at_least("evaluation.interval", self.interval, 0)
        at_least("evaluation.seed", self.seed, 0, LARGEST_SEED)
        not_negative("evaluation.temperature", self.temperature)
        if self.temperature:
            sampling_temperature("evaluation.temperature", self.temperature)
        if self.panel is not None:
            object.__setattr__(self, "panel", str(local_path("evaluation.panel", self.panel)))


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both, groups of settings within as well; where both say something, the second."""
    result = dict(first)
    for name, value in second.items():
        before = result.get(name)
        result[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _with_settled_teacher(objective: dict[str, Any], name: str) -> dict[str, Any]:
    """The same with the folder of every `teacher.model` made absolute."""
    result = {}
    for key, value in objective.items():
        place = f"{name}.{key}"
        if key == "teacher" and isinstance(value, dict) and isinstance(value.get("model"), str) and value["model"]:
            model = value["model"]
            settle = not model.startswith("builtin:")
            result[key] = value | {"model": settled(f"{place}.model", model, folder=True) if settle else model}
        else:
            result[key] = _with_settled_teacher(value, place) if isinstance(value, dict) else value
    return result
