"""The sections of a run's configuration: every setting with its type, default, range and meaning in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar

from sdar_gym.configs.bounds import (
    LARGEST_SEED,
    MOST_EPISODES,
    MOST_GROUPS,
    MOST_THREADS,
    MOST_TOKENS,
    MOST_UPDATES,
    RESERVED_KWARGS,
    sampling_temperature,
)
from sdar_gym.configs.path_settings import absolute_path_setting
from sdar_gym.paths import local_path
from sdar_gym.settings import Settings, setting, without_effect
from sdar_gym.skills import builtin_libraries
from sdar_gym.skills.controls import split_control
from sdar_gym.text import shortened


@dataclass(frozen=True, slots=True)
class LoraSettings(Settings):
    """Low-rank adapters (LoRA), trained instead of the weights."""

    PREFIX: ClassVar[str] = "policy.lora."

    r: int = setting(16, "Rank of the adapters.", low=1, high=65_536)
    alpha: float = setting(
        32.0,
        "The adapters' product is multiplied by alpha / r; twice the rank is usual. Learning rates are about ten times "
        "those of full training.",
        above=0,
    )
    dropout: float = setting(
        0.0,
        "Dropout of the adapters' inputs during training; it moves the student away from the policy that sampled.",
        low=0,
        below=1,
    )
    target_modules: list[str] = setting(
        doc="Last parts of the names of linear layers, such as `q_proj`; empty for all of attention and MLP.",
        factory=list,
    )
    seed: int = setting(0, "Seed of the adapters' initial values.", low=0, high=LARGEST_SEED)


@dataclass(frozen=True, slots=True)
class PolicySettings(Settings):
    """The language model."""

    PREFIX: ClassVar[str] = "policy."

    model: str = setting("builtin:tiny", "`builtin:tiny`, a folder, or a hub name.")
    dtype: str = setting(
        "float32",
        "Precision: `float32`, `bfloat16`, `auto` (as saved), or `float64` for tests of exactness. With half precision "
        "the learner still keeps full weights in single precision: in bfloat16 a step of 1e-6 rounds to nothing.",
        choices=("float32", "bfloat16", "auto", "float64"),
    )
    half_weights: bool = setting(
        False,
        "With `dtype=bfloat16`: the learner keeps weights and gradients in bfloat16 as well, and the optimizer keeps "
        "the weights in single precision (master weights), which several learners share out. Less memory; gradients "
        "have three digits.",
    )
    device: str = setting(
        "auto",
        "Device of rollouts, evaluation and updates: `auto` (a GPU if available), `cpu`, `cuda`, or one GPU of "
        "the driver such as `cuda:1`. Remote workers use the GPU that Ray assigns to them.",
    )
    gradient_checkpointing: bool | None = setting(
        None, "Recompute activations in the backward pass; null decides by the model's size and the memory."
    )
    torch_threads: int | None = setting(
        None,
        "Threads of a process; null for 1 with small models, which is by far the fastest for them, else as many as "
        "the cores allow.",
        low=1,
        high=MOST_THREADS,
    )
    lora: LoraSettings | None = setting(None, "Train adapters instead of the weights; null trains the weights.")
    offload_teacher: bool = setting(
        True,
        "Keep a teacher's weights in main memory while they are not in use; false keeps them on the device, which is "
        "faster and uses the memory of a second model.",
    )

    def _check(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise ValueError(f"policy.device must be auto, cpu, cuda or cuda:<number>, got {shortened(self.device)}.")
        if not self.model.startswith("builtin:"):
            self.store(model=absolute_path_setting("policy.model", self.model, folder=True))
        if self.half_weights and (self.dtype != "bfloat16" or self.lora is not None):
            why = "policy.lora trains adapters alone" if self.lora is not None else f"policy.dtype is {self.dtype}"
            without_effect("policy.half_weights", self.half_weights, why)


@dataclass(frozen=True, slots=True)
class SkillSettings(Settings):
    """The teacher's skills."""

    PREFIX: ClassVar[str] = "skills."

    strategy: str = setting(
        "oracle_type", "Retrieval strategy: `oracle_type`, `bm25`, `keywords`, `ucb`, `full`, `random` or `none`."
    )
    library: str | None = setting(
        None,
        "A built-in library, a folder, or null for the environment's own. `wrong`, `mixed`, `empty` and `irrelevant` "
        "are controls: its texts exchanged between all task types or half of them, without content, or about something "
        "else; `NAME:wrong` is that of another.",
    )
    k: int = setting(5, "Maximum number of task-specific skills.", low=1)
    include_general: bool = setting(True, "Whether general skills come first.")
    backend: str = setting("auto", "Backend of the BM25 index.", choices=("auto", "bm25s", "lucene"))
    include_mistakes: bool = setting(False, "Whether general mistakes come with the general skills.")
    field_weights: dict[str, float] = setting(
        doc="With `bm25`: weights of `title`, `when_to_use` and `text`; empty searches them as one text.",
        factory=dict,
        low=0,
    )
    seed: int = setting(0, "Seed of the `random` strategy.", low=0)
    ucb_c: float = setting(1.0, "With `ucb`: exploration constant; 0 goes by mean rewards alone.", low=0)

    def _check(self) -> None:
        if self.library is None:
            return
        library, control = split_control(self.library)
        if library is not None and library not in builtin_libraries():
            path = absolute_path_setting("skills.library", library)
            self.store(library=path if control is None else f"{path}:{control}")


@dataclass(frozen=True, slots=True)
class VllmSettings(Settings):
    """The vLLM engine."""

    PREFIX: ClassVar[str] = "rollout.vllm."

    tensor_parallel_size: int = setting(
        1, "GPUs that share the layers of one engine; each remote runner gets as many.", low=1, high=64
    )
    gpu_memory_utilization: float | None = setting(
        None,
        "Share of the GPU's memory for weights, keys and values; null for 0.9 of what the engine has of the GPU, which "
        "it may share with a learner.",
        above=0,
        high=1,
    )
    enforce_eager: bool | None = setting(
        None,
        "Whether the model is neither compiled nor captured in CUDA graphs: starts faster, decodes more slowly. null "
        "for true on the CPU only.",
    )


@dataclass(frozen=True, slots=True)
class RolloutSettings(Settings):
    """How episodes are played."""

    PREFIX: ClassVar[str] = "rollout."

    engine: str = setting(
        "transformers",
        "What samples responses: `transformers`, `vllm`, another registered engine, or `module:function` of one.",
    )
    vllm: VllmSettings | None = setting(None, "With `engine=vllm`: its own settings; null for its defaults.")
    context: str = setting(
        "window",
        "What the model reads at each turn: `window`, a fresh prompt with the last turns (published), or "
        "`conversation`, one growing chat in which every token is read once.",
        choices=("window", "conversation"),
    )
    prompt: str = setting("window", "Prompt template: one of the environment's by name, or `module:NAME`.")
    window: int = setting(2, "Number of past turns included verbatim.", low=0)
    think: bool = setting(True, "Whether responses reason in `<think>` tags first.")
    show_actions: str = setting(
        "each",
        "Where prompts list the admissible actions: at `each` turn, at the `first`, their `changes` from turn to turn "
        "(both with `conversation` only), or `never`.",
        choices=("each", "first", "changes", "never"),
    )
    max_prompt_tokens: int = setting(
        2048, "Longest prompt of the student; with `conversation` of its first turn.", low=1, high=MOST_TOKENS
    )
    max_context_tokens: int | None = setting(
        None,
        "With `conversation`: longest conversation, responses included; an episode ends where the next turn has no "
        "room. null for the model's context length.",
        low=1,
        high=MOST_TOKENS,
    )
    max_observation_tokens: int | None = setting(
        None, "Longest observation in a prompt; the rest is cut off before it is encoded. null for no limit.", low=1
    )
    rewritten_history: str = setting(
        "fork",
        "With `conversation`, where the chat template renders past responses otherwise than they were sampled (Qwen3 "
        "drops their thinking): `fork` starts a new sequence with the template's rendering, `keep` keeps what was "
        "sampled.",
        choices=("fork", "keep"),
    )
    max_response_tokens: int = setting(512, "Longest response.", low=1, high=MOST_TOKENS)
    temperature: float = setting(
        1.0,
        "Temperature of the training rollouts, from 0.01 to 100; the learner scores at the same temperature.",
        low=0,
    )
    chat_template_kwargs: dict[str, Any] = setting(doc="Variables of the chat template.", factory=dict)
    max_teacher_prompt_tokens: int | None = setting(
        None,
        "Longest prompt with skills or another privileged context; null for twice the student's, within the model's "
        "context length. A turn with a longer teacher prompt gets no teacher.",
        low=1,
        high=MOST_TOKENS,
    )
    system: str | None = setting(None, "System message; null leaves it to the chat template.")
    few_shot: int = setting(
        0, "Worked turns before every prompt, from the environment's expert in a training task.", low=0, high=100
    )
    untagged_characters: int | None = setting(
        30,
        "Characters, from its end, that the history keeps of a response without action tags; the released SDAR code "
        "keeps 30. null keeps it whole.",
        low=1,
    )
    max_batch_tokens: int | None = setting(
        None, "Prompt tokens that the engine prefills at once; null decides by the device's memory.", low=1
    )
    date: str | None = setting(
        None, "The date that chat templates see, `YYYY-MM-DD`; null for the date on which the run began."
    )
    max_failed_tasks: int = setting(
        20,
        "Tasks of a run in which the environment may raise an error; each costs its group. One more ends the run.",
        low=0,
    )

    turn_timeout_s: float | None = setting(
        600.0,
        "Seconds that one call of an environment may take, its searches and their retries included; then it is "
        "interrupted, and its task fails. null for no limit.",
        above=0,
    )
    stall_timeout_s: float | None = setting(
        3600.0,
        "Seconds without a step of the engine or a call of an environment after which the process is ended: an env "
        "runner is restarted and its episodes are played again. null for no limit.",
        above=0,
    )

    def _check(self) -> None:
        if self.stall_timeout_s is not None and self.stall_timeout_s <= (self.turn_timeout_s or 0):
            raise ValueError(
                f"rollout.stall_timeout_s must be above rollout.turn_timeout_s={self.turn_timeout_s:g}, got "
                f"{self.stall_timeout_s:g}: an environment is interrupted before its process is ended."
            )
        if self.date is not None:
            try:
                date.fromisoformat(self.date)
            except ValueError as error:
                raise ValueError(
                    f"rollout.date must be a day such as 2026-01-31, got {shortened(self.date)}."
                ) from error
        if self.engine != "vllm":
            without_effect("rollout.vllm", self.vllm, f"rollout.engine is {shortened(self.engine)}")
        if self.context == "window":
            if self.show_actions in ("first", "changes"):
                raise ValueError(
                    f"rollout.show_actions={self.show_actions} needs rollout.context=conversation: in a window every "
                    "prompt stands alone. Use each or never."
                )
            without_effect("rollout.max_context_tokens", self.max_context_tokens, "rollout.context is window")
        if self.temperature == 0:
            raise ValueError("rollout.temperature must be above 0, got 0: groups of identical episodes teach nothing.")
        sampling_temperature("rollout.temperature", self.temperature)
        kwargs = self.chat_template_kwargs
        reserved = sorted(name for name in kwargs if name in RESERVED_KWARGS or name.startswith("return_"))
        if reserved:
            raise ValueError(
                f"rollout.chat_template_kwargs cannot set {', '.join(reserved)}: the gym passes that to the template "
                "itself. It is for the template's own variables, such as enable_thinking."
            )

    @property
    def teacher_prompt_limit(self) -> int:
        """Longest prompt with a privileged context, in tokens."""
        return self.max_teacher_prompt_tokens or 2 * self.max_prompt_tokens

    def refuse_longer_than(self, context_length: int | None) -> None:
        """Refuses a conversation that is longer than the model's context, with the longer prompt of its teacher.

        Args:
            context_length: In tokens; None if the model has no limit.

        Raises:
            ValueError: With the longest that fits.
        """
        if context_length is None or self.context == "window" or self.max_context_tokens is None:
            return
        limits = self.within(context_length)
        room = max(0, limits.teacher_prompt_limit - limits.max_prompt_tokens)
        if self.max_context_tokens + room > context_length:
            raise ValueError(
                f"rollout.max_context_tokens={self.max_context_tokens}, and the {room} tokens by which a teacher's "
                f"prompt may be longer, exceed the model's context length of {context_length}. Lower it to "
                f"{max(1, context_length - room)}, or leave it out."
            )

    def within(self, context_length: int | None) -> RolloutSettings:
        """The settings with limits that are null set by the model's context length.

        A conversation leaves the room that the teacher's longer prompt needs, with or without a teacher, so that all
        methods play the same episodes.

        Args:
            context_length: In tokens; None if the model has no limit.
        """
        if context_length is None:
            return self
        limit = max(1, context_length - self.max_response_tokens)
        teacher = self.max_teacher_prompt_tokens or min(self.teacher_prompt_limit, limit)
        if self.context == "window":
            return replace(self, max_teacher_prompt_tokens=teacher)
        room = max(0, teacher - self.max_prompt_tokens)
        longest = self.max_context_tokens or context_length - room
        return replace(self, max_teacher_prompt_tokens=teacher, max_context_tokens=max(1, longest))


@dataclass(frozen=True, slots=True)
class TrainingSettings(Settings):
    """The update."""

    PREFIX: ClassVar[str] = "training."

    group_size: int = setting(8, "Episodes of one task, at least 2.", high=MOST_EPISODES)
    tasks_per_iteration: int = setting(16, "Groups of an update.", low=1, high=MOST_EPISODES)
    iterations: int = setting(150, "Updates of a run.", low=1, high=MOST_UPDATES)
    lr: float = setting(1e-6, "Peak learning rate of AdamW; constant after the warm-up.", above=0, high=1)
    lr_warmup_updates: int = setting(
        0, "Updates over which the learning rate rises linearly to `lr`; 0 for none.", low=0, high=MOST_UPDATES
    )
    num_minibatches: int = setting(1, "Optimizer steps of an epoch.", low=1, high=MOST_EPISODES)
    num_epochs: int = setting(1, "Passes over the update's episodes.", low=1, high=1_000)
    micro_batch_tokens: int | None = setting(
        None,
        "Tokens of one forward and backward pass, padding included; bounds the memory. null decides by the model's "
        "size and the memory.",
        low=1,
    )
    invalid_action_penalty: float = setting(0.1, "Penalty of a turn with an invalid action.", low=0, high=1_000_000)
    old_logp: str = setting(
        "sampler",
        "Log-probabilities in the importance ratio: the `sampler`'s, or recomputed by the `learner` before the first "
        "gradient step.",
        choices=("sampler", "learner"),
    )
    importance_correction: str | None = setting(
        None,
        "With `old_logp=learner`: correction for a sampler whose numerics differ from the learner's, by the ratio ρ of "
        "the learner's probability to the sampler's, of a token or a response: `off`; `token_truncate` or "
        "`sequence_truncate` weight with min(ρ, cap); `token_mask` or `sequence_mask` leave out ρ above the cap or "
        "below 1/cap, and weight the rest with ρ. null is `token_truncate` with `old_logp=learner`, else `off`.",
        choices=("off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
    )
    importance_cap: float = setting(2.0, "Largest importance weight of the correction.", low=1)
    max_staleness: int = setting(
        0,
        "Updates by which the weights that play episodes may be behind the learner's: 0 plays between two updates, 1 "
        "plays the next update's episodes during an update, on remote env runners.",
        low=0,
        high=1,
    )
    grad_clip: float = setting(1.0, "Largest global norm of a gradient.", above=0)
    weight_decay: float = setting(0.01, "Weight decay of AdamW.", low=0, high=1_000)
    adam_betas: tuple[float, float] = setting((0.9, 0.999), "Betas of AdamW.", low=0, below=1)
    objective: dict[str, Any] = setting(
        doc="Settings of the method's objective to change, such as `{distill: {coeff: 0.03}}`.", factory=dict
    )
    objective_by_method: dict[str, dict[str, Any]] = setting(
        doc="The same for single methods, for configurations that are used with several; `objective` overrides it.",
        factory=dict,
    )

    @property
    def correction(self) -> str:
        """The importance correction, with null replaced by its meaning."""
        return self.importance_correction or ("token_truncate" if self.old_logp == "learner" else "off")

    def objective_of(self, method: str) -> dict[str, Any]:
        """The settings to change for one method."""
        return _merged(self.objective_by_method.get(method, {}), self.objective)

    def _check(self) -> None:
        if self.group_size < 2:
            raise ValueError(
                f"training.group_size must be at least 2, got {self.group_size}: an advantage is relative to the "
                "group's other episodes, and a group of one has none. The published runs use 8."
            )
        if self.old_logp == "sampler":
            without_effect(
                "training.importance_correction",
                self.importance_correction,
                "with training.old_logp=sampler the importance ratio itself is to the sampler",
            )
        if self.correction == "off" and self.importance_cap != 2.0:
            without_effect("training.importance_cap", self.importance_cap, "there is no importance correction")
        for name in ("objective", "objective_by_method"):
            self.store(**{name: _with_absolute_teacher(getattr(self, name), f"training.{name}")})
        episodes = self.group_size * self.tasks_per_iteration
        if episodes > MOST_EPISODES:
            raise ValueError(
                f"training.group_size x training.tasks_per_iteration = {episodes:,} episodes an update; "
                f"the limit is {MOST_EPISODES:,}. Lower one of the two."
            )
        if self.iterations * self.tasks_per_iteration > MOST_GROUPS:
            raise ValueError(
                f"training.iterations x training.tasks_per_iteration = "
                f"{self.iterations * self.tasks_per_iteration:,} groups in all; the limit is {MOST_GROUPS:,}. Lower "
                "one of the two."
            )
        if self.num_minibatches > episodes:
            raise ValueError(
                f"training.num_minibatches must be at most the {episodes} episodes of an update (training.group_size x "
                f"training.tasks_per_iteration), got {self.num_minibatches}."
            )


@dataclass(frozen=True, slots=True)
class ResourceSettings(Settings):
    """Processes and GPUs of a run."""

    PREFIX: ClassVar[str] = "resources."

    num_env_runners: int = setting(
        0, "Remote processes that play episodes; 0 plays in the driver.", low=0, high=100_000
    )
    num_learners: int = setting(0, "Remote processes that learn; 0 learns in the driver.", low=0, high=10_000)
    num_evaluation_runners: int = setting(
        0,
        "Remote processes that play the evaluation set beside training; 0 plays it between two updates, by those that "
        "play training episodes.",
        low=0,
        high=10_000,
    )
    num_gpus_per_env_runner: float | None = setting(
        None, "GPUs of one env runner; null distributes the available ones.", low=0, high=1_000
    )
    num_gpus_per_learner: float | None = setting(
        None, "GPUs of one learner; null for one each if available.", low=0, high=1_000
    )
    shard_optimizer: bool | None = setting(
        None,
        "Share out the optimizer's state over the learners, instead of a copy in each; the weights are the same bit "
        "for bit. null does where several learners train the whole model.",
    )


@dataclass(frozen=True, slots=True)
class EvaluationSettings(Settings):
    """The evaluation before, during and after training, on a fixed evaluation set (a panel)."""

    PREFIX: ClassVar[str] = "evaluation."

    split: str | None = setting(
        None, "Split that the set is chosen from; null for the environment's first one after the training split."
    )
    panel: str | None = setting(
        None, "File of a fixed set; null chooses `tasks` of the split, the same ones every time."
    )
    tasks: int = setting(128, "Tasks of a chosen set.", low=1, high=MOST_EPISODES)
    repeats: int = setting(
        1,
        "Episodes of each task. With more than one the result has pass@k and pass^k, and its interval is clustered by "
        "task.",
        low=1,
        high=10_000,
    )
    temperature: float = setting(0.4, "Temperature of the responses; 0 takes the most likely token.", low=0)
    top_p: float = setting(
        1.0, "Only the most likely tokens that together reach this probability are drawn.", above=0, high=1
    )
    top_k: int = setting(0, "Only the k most likely tokens are drawn; 0 for all.", low=0)
    seed: int = setting(0, "Seed of the draws.", low=0, high=LARGEST_SEED)
    interval: int = setting(5, "Updates between evaluations; 0 evaluates only before and after.", low=0)
    with_skills: bool = setting(False, "Whether the acting policy sees the skills (measures the teacher).")
    teacher_tasks: int = setting(
        32,
        "Tasks of the set that the method's teacher plays as well, with its skills; 0 for none.",
        low=0,
        high=MOST_EPISODES,
    )
    token_turns: int = setting(
        256, "Turns of an update whose tokens are written out at each evaluation; 0 for none.", low=0
    )
    batch_size: int | None = setting(
        None, "Episodes that `sdar-gym eval` plays at once; null decides by the device.", low=1, high=MOST_EPISODES
    )

    def _check(self) -> None:
        if self.temperature:
            sampling_temperature("evaluation.temperature", self.temperature)
        elif self.repeats > 1:
            raise ValueError(
                f"evaluation.repeats={self.repeats} with evaluation.temperature=0 plays the same episode "
                f"{self.repeats} times; set a temperature, or leave repeats out."
            )
        if self.tasks * self.repeats > MOST_EPISODES:
            raise ValueError(
                f"evaluation.tasks x evaluation.repeats = {self.tasks * self.repeats:,} episodes; the limit is "
                f"{MOST_EPISODES:,}. Lower one of the two."
            )
        if self.panel is not None:
            self.store(panel=str(local_path("evaluation.panel", self.panel)))


@dataclass(frozen=True, slots=True)
class CheckpointSettings(Settings):
    """Which checkpoints a run keeps."""

    PREFIX: ClassVar[str] = "checkpoints."

    keep: int = setting(2, "Newest checkpoints that stay; older ones are removed.", low=2, high=1_000_000)
    best: bool = setting(
        True,
        "Whether the checkpoint with the best success on the evaluation set is kept as well; an evaluation that is the "
        "best so far writes one.",
    )


@dataclass(frozen=True, slots=True)
class WarmStartSettings(Settings):
    """Supervised fine-tuning on scripted episodes, by `sdar-gym warmstart --model`."""

    PREFIX: ClassVar[str] = "warmstart."

    play: str = setting(
        "expert",
        "Who plays the episodes: `expert`, the environment's own, or `skill_reader` (ALFWorld): a script that does "
        "what a skill in the prompt says, right or made up, and guesses without one: the model has to read skills.",
        choices=("expert", "skill_reader"),
    )
    episodes: int = setting(256, "Episodes to train on, each of another training task.", low=1, high=MOST_GROUPS)
    epochs: int = setting(2, "Passes over the episodes.", low=1, high=1_000)
    lr: float | None = setting(
        None, "Peak learning rate of AdamW; null for 1e-5, with adapters for 1e-4.", above=0, high=1
    )
    lr_schedule: str = setting(
        "cosine",
        "Learning rate after the warm-up: `cosine`, down to a tenth, or `constant`.",
        choices=("cosine", "constant"),
    )
    lr_warmup_share: float = setting(
        0.05, "Share of the steps over which the learning rate rises linearly.", low=0, high=1
    )
    batch_tokens: int = setting(
        16_384, "Tokens of one optimizer step, prompts included, on average.", low=1, high=1_000_000_000
    )
    held_out: int = setting(
        16,
        "Episodes for the held-out loss, of training tasks that are not trained on; 0 for none.",
        low=0,
        high=MOST_EPISODES,
    )
    held_out_interval: int = setting(20, "Steps between held-out losses; 0 computes them only before and after.", low=0)

    def rate(self, lora: LoraSettings | None) -> float:
        """The peak learning rate.

        Args:
            lora: The adapters' settings, or None if the weights are trained.
        """
        return self.lr if self.lr is not None else 1e-5 if lora is None else 1e-4


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Merges two groups of settings, nested ones included; the second takes precedence.

    A gate or shaper of another name replaces the first, whose settings it does not have.
    """
    result = dict(first)
    for name, value in second.items():
        before = result.get(name)
        base = {"name": before} if isinstance(before, str) else before
        if isinstance(base, dict) and isinstance(value, dict) and value.get("name") in (None, base.get("name")):
            value = _merged(base, value)
        result[name] = value
    return result


def _with_absolute_teacher(objective: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings with the folder of every `teacher.model` made absolute."""
    result = {}
    for key, value in objective.items():
        place = f"{name}.{key}"
        if key == "teacher" and isinstance(value, dict) and isinstance(value.get("model"), str) and value["model"]:
            model = value["model"]
            if not model.startswith("builtin:"):
                model = absolute_path_setting(f"{place}.model", model, folder=True)
            result[key] = value | {"model": model}
        else:
            result[key] = _with_absolute_teacher(value, place) if isinstance(value, dict) else value
    return result
