"""Plan of a run: its tokens, operations, memory and time, for both contexts and for two ways of playing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.plan.contexts import RESPONSE_TOKENS, TASKS, Played, PlayedEpisodes, in_context, lengths_of, play_contexts
from sdar_gym.plan.gpus import Efficiency, Gpu
from sdar_gym.plan.memory import Memory, memory_of, width_of
from sdar_gym.plan.memory_table import MICRO_BATCH_TOKENS, MemoryRow, memory_rows
from sdar_gym.plan.model_size import ModelSize, model_size
from sdar_gym.plan.timing import Decoding, compute_seconds, decoding, step_overhead
from sdar_gym.plan.work import Passes, UpdateWork, passes_of, update_work
from sdar_gym.rollout.trajectory import Episode

# Fewer episodes at a time than this are not planned, whatever the memory.
_LEAST_CONCURRENT = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one update, and of the run if every update and evaluation were played like this.

    Attributes:
        tokens: By pass, each pass counted once.
        flops: By pass.
        seconds: By pass, on one GPU.
        decode: Steps of decoding.
        evaluation_seconds: One evaluation.
        run_seconds: All updates and evaluations.
    """

    tokens: Mapping[str, float]
    flops: Mapping[str, float]
    seconds: Mapping[str, float]
    decode: Decoding
    evaluation_seconds: float
    run_seconds: float

    @property
    def update_seconds(self) -> float:
        """Seconds of an update."""
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """The plan with one context.

    Attributes:
        show_actions: Where actions are listed.
        played: Measured lengths, by policy.
        cost: By policy.
    """

    show_actions: str
    played: Mapping[str, Played]
    cost: Mapping[str, Cost]


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run.

    Attributes:
        run: Its configuration.
        gpu: The GPU.
        efficiency: Assumed shares of its peaks.
        response_tokens: Assumed length of responses that reason first; None where responses are the action alone.
        size: The model's sizes.
        memory: By part.
        evaluations: Number of evaluations.
        contexts: By context.
    """

    run: RunConfig
    gpu: Gpu
    efficiency: Efficiency
    response_tokens: int | None
    size: ModelSize
    memory: Memory
    evaluations: int
    contexts: Mapping[str, ContextPlan]

    @property
    def table_tokens(self) -> int:
        """Tokens of a micro-batch in the table of memory: as set, else the same for all sizes."""
        return self.run.training.micro_batch_tokens or MICRO_BATCH_TOKENS

    @property
    def memory_rows(self) -> list[MemoryRow]:
        """Memory by model size, way of training and number of GPUs."""
        name = self.run.policy.model.rpartition("/")[2]
        return memory_rows(self.size, name, self.run.policy, self.table_tokens)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        run = self.run
        return {
            "configuration": run.name,
            "method": run.method,
            "env": run.env,
            "env_config": run.env_config,
            "model": run.policy.model.rpartition("/")[2],
            "engine": run.rollout.engine,
            "context": run.rollout.context,
            "parameters": self.size.shape.parameters,
            "episodes_per_update": _episodes(run),
            "updates": run.training.iterations,
            "evaluations": self.evaluations,
            "response_tokens": self.response_tokens,
            "gpu": asdict(self.gpu),
            "efficiency": asdict(self.efficiency),
            "memory": asdict(self.memory) | {"total": self.memory.total},
            "memory_table": [row.to_json() for row in self.memory_rows],
            "contexts": {
                name: {
                    "show_actions": context.show_actions,
                    **{
                        policy: asdict(context.played[policy])
                        | asdict(cost)
                        | {"update_seconds": cost.update_seconds, "run_gpu_hours": cost.run_seconds / 3600}
                        for policy, cost in context.cost.items()
                    },
                }
                for name, context in self.contexts.items()
            },
        }


def make_plan(
    run: RunConfig,
    gpu: Gpu,
    efficiency: Efficiency | None = None,
    *,
    response_tokens: int = RESPONSE_TOKENS,
    tasks: int = TASKS,
    progress: Callable[[str], None] = lambda _: None,
    played: PlayedEpisodes | None = None,
) -> Plan:
    """Plans a run on one GPU.

    Args:
        run: The configuration; of the model, only configuration and tokenizer are loaded.
        gpu: The GPU.
        efficiency: Assumed shares of its peaks.
        response_tokens: Assumed length of responses that reason first.
        tasks: Training tasks that are played, by each policy as one group.
        progress: Is told what is being played.
        played: The episodes of `play_contexts`, if they are there already: those of a model with the same tokenizer.

    Raises:
        ValueError: The model's configuration or tokenizer cannot be loaded, or a task cannot be played.
    """
    efficiency = efficiency or Efficiency()
    size = model_size(run.policy.model)
    memory = memory_of(size, run.policy, run.training, run.objective, gpu.memory)
    passes = passes_of(
        run.objective,
        old_logp=run.training.old_logp,
        epochs=run.training.num_epochs,
        recomputed=memory.gradient_checkpointing,
        adapters=run.policy.lora is not None,
    )
    interval, updates = run.evaluation.interval, run.training.iterations
    # Before the first update, at each interval, and after the last one.
    evaluations = 2 + ((updates - 1) // interval if interval else 0)
    if played is None:
        played = play_contexts(run, response_tokens=response_tokens, tasks=tasks, progress=progress)
    contexts = {}
    for context, by_policy in played.items():
        variant = in_context(run, context)
        cost = {
            name: cost_of(variant, episodes, size, memory, passes, gpu, efficiency, evaluations)
            for name, episodes in by_policy.items()
        }
        lengths = {name: lengths_of(episodes) for name, episodes in by_policy.items()}
        contexts[context] = ContextPlan(variant.rollout.show_actions, lengths, cost)
    thinks = min(response_tokens, run.rollout.max_response_tokens) if run.rollout.think else None
    return Plan(run, gpu, efficiency, thinks, size, memory, evaluations, contexts)


def cost_of(
    run: RunConfig,
    episodes: Sequence[Episode],
    size: ModelSize,
    memory: Memory,
    passes: Passes,
    gpu: Gpu,
    efficiency: Efficiency,
    evaluations: int,
) -> Cost:
    """The cost of a run whose episodes are like these.

    Args:
        run: The configuration.
        episodes: Measured episodes.
        size: The model's sizes.
        memory: Says how many episodes are decoded at the same time.
        passes: How often an update makes each pass.
        gpu: Peaks.
        efficiency: Shares of them.
        evaluations: Number of evaluations.
    """
    mean = update_work(episodes, memory.micro_batch_tokens) * (1 / len(episodes))
    work = mean * _episodes(run)
    tokens = tokens_of_update(work, passes)
    flops = {
        "prefill": work.prefill.flops(size),
        "decode": work.decode.flops(size),
        "student scores": passes.student * work.student.flops(size),
        "reference scores": passes.reference * work.student.flops(size),
        "teacher scores": passes.teacher * work.teacher.flops(size),
        "gradient": passes.gradient * passes.gradient_flops(work.gradient, size),
    }
    longest = max(sum(len(turn.response_ids) for turn in episode.turns) for episode in episodes)
    # On average: conversations that grow in turns share the memory.
    held = mean.decode.pairs / max(1.0, mean.decode.tokens)
    room = memory.kv_room / (memory.kv_token * max(1.0, held))
    overhead = step_overhead(run.rollout.engine, size, efficiency)

    def rollout(count: float) -> tuple[float, Decoding]:
        decode = decoding(
            mean.decode * count,
            size,
            gpu,
            efficiency,
            concurrent=max(_LEAST_CONCURRENT, min(count, room)),
            longest=longest,
            width=width_of(run.policy),
            overhead=overhead,
        )
        return compute_seconds(mean.prefill.flops(size) * count, gpu, efficiency) + decode.seconds, decode

    decode = rollout(_episodes(run))[1]
    seconds = {name: compute_seconds(value, gpu, efficiency) for name, value in flops.items()}
    seconds["decode"] = decode.seconds
    teacher_tasks = run.evaluation.teacher_tasks if run.objective.teacher is not None else 0
    evaluated = (run.evaluation.tasks + teacher_tasks) * run.evaluation.repeats
    evaluation = rollout(evaluated)[0] if evaluated else 0.0
    return Cost(
        tokens=tokens,
        flops=flops,
        seconds=seconds,
        decode=decode,
        evaluation_seconds=evaluation,
        run_seconds=run.training.iterations * sum(seconds.values()) + evaluations * evaluation,
    )


def tokens_of_update(work: UpdateWork, passes: Passes) -> dict[str, float]:
    """Tokens by pass; those of a gradient once an epoch, although it costs several forward passes."""
    return {
        "prefill": work.prefill.tokens,
        "decode": work.gradient.predicted,
        "student scores": passes.student * work.student.tokens,
        "reference scores": passes.reference * work.student.tokens,
        "teacher scores": passes.teacher * work.teacher.tokens,
        "gradient": passes.gradient * work.gradient.tokens,
    }


def _episodes(run: RunConfig) -> int:
    return run.training.group_size * run.training.tasks_per_iteration
