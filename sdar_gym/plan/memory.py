"""Memory of a plan by part, for one GPU that samples and learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.teacher import Weights
from sdar_gym.configs.sections import PolicySettings, TrainingSettings
from sdar_gym.plan.model_size import ModelSize
from sdar_gym.policy.chunked_head import LOGIT_BUDGET_BYTES
from sdar_gym.policy.learner_memory import COPIES, SINGLE, STEP, Scheme, pass_memory, standing_memory, step_memory
from sdar_gym.policy.sizing import Machine, activation_bytes, choose_training_sizes

ENGINE = "weights of the engine"
# Logits of a chunk of tokens, their softmax and their gradient.
_LOGIT_COPIES = 3
# Share of a GPU's memory that can be filled; the rest is for the driver and fragmentation.
USABLE = 0.9
# Micro-batch sizes whose activations are listed beside the chosen one.
MICRO_BATCHES = (2_048, 8_192, 16_384)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory by part, in bytes.

    Attributes:
        gpu: What is on the GPU all the time or at the peak of an update.
        main: Copies in main memory.
        micro_batch_tokens: Tokens of one forward and backward pass.
        gradient_checkpointing: Whether activations are recomputed.
        activations: Of micro-batches, as (tokens, kept, recomputed).
        kv_token: Keys and values of one token.
        kv_room: What keys and values can take while the learner waits: the usable rest beside its weights, gradients
            and moments. If engine and learner do not fit together, the rest beside the engine's weights alone.
        available: Memory of the GPU.
    """

    gpu: Mapping[str, float]
    main: Mapping[str, float]
    micro_batch_tokens: int
    gradient_checkpointing: bool
    activations: tuple[tuple[int, float, float], ...]
    kv_token: float
    kv_room: float
    available: float

    @property
    def fits(self) -> bool:
        """Whether one GPU can sample and learn."""
        return self.total <= self.available

    @property
    def total(self) -> float:
        """Peak on the GPU."""
        return sum(self.gpu.values())


def logit_memory(size: ModelSize, micro_batch_tokens: int) -> float:
    """Logits in single precision, their softmax and their gradient: of a chunk, or of all tokens if these are fewer."""
    vocabulary = size.head // size.shape.hidden
    return float(_LOGIT_COPIES * min(LOGIT_BUDGET_BYTES, SINGLE * micro_batch_tokens * vocabulary))


def width_of(policy: PolicySettings) -> int:
    """Bytes per number of the engine's weights; `auto` is taken for half precision, as most models are saved."""
    return {"float32": 4, "float64": 8}.get(policy.dtype, 2)


def memory_of(
    size: ModelSize, policy: PolicySettings, training: TrainingSettings, objective: Objective, gpu_memory: float
) -> Memory:
    """Memory of a run on one GPU, with the micro-batch that the run would choose there.

    Args:
        size: The model's sizes.
        policy: Precision, adapters, recomputation.
        training: The micro-batch, if it is set.
        objective: Says whether a reference and a teacher are stored.
        gpu_memory: In bytes.
    """
    width, shape = width_of(policy), size.shape
    half = width == 2
    teacher = objective.teacher
    stored = {"reference weights": objective.kl_coeff > 0 and policy.lora is None}
    stored["teacher weights"] = teacher is not None and (
        teacher.weights in (Weights.EMA, Weights.STALE, Weights.EXTERNAL)
        or (teacher.weights is Weights.FROZEN and not stored["reference weights"])
    )
    kept_width = width if policy.lora or policy.half_weights else SINGLE
    copies = {name: float(shape.parameters * kept_width) for name in stored if stored[name]}
    on_gpu = {} if policy.offload_teacher else copies
    scheme = Scheme(
        width, policy.half_weights, adapters=None if policy.lora is None else policy.lora.r * size.linear_ends
    )
    learner = standing_memory(shape, scheme) | pass_memory(shape, scheme)
    learner[ENGINE] = width * shape.parameters
    held = learner | on_gpu
    # Where nothing fits, the sizes are those of a GPU with room for activations.
    room = gpu_memory if sum(held.values()) < gpu_memory else gpu_memory + sum(held.values())
    sizes = choose_training_sizes(
        shape,
        Machine(memory=0, gpu_memory=int(room)),
        half=half,
        lora=policy.lora is not None,
        models_beside=1 + len(on_gpu),
        micro_batch_tokens=training.micro_batch_tokens,
        gradient_checkpointing=policy.gradient_checkpointing,
        half_weights=policy.half_weights,
    )
    listed = sorted({*MICRO_BATCHES, sizes.micro_batch_tokens})
    kept, recomputed = (float(activation_bytes(shape, width, recomputed=again)) for again in (False, True))
    at_peak = {
        "activations": sizes.micro_batch_tokens * (recomputed if sizes.gradient_checkpointing else kept),
        "logits of a chunk": logit_memory(size, sizes.micro_batch_tokens),
    }
    # A step comes after the passes, whose memory it can use.
    beyond = step_memory(shape, scheme) - sum(at_peak.values()) - held.get(COPIES, 0.0)
    if beyond > 0:
        at_peak[STEP] = beyond
    parts = held | at_peak
    beside = sum(held.values()) - held.get(COPIES, 0.0) if sum(parts.values()) <= gpu_memory else learner[ENGINE]
    return Memory(
        gpu=parts,
        main={} if on_gpu else copies,
        micro_batch_tokens=sizes.micro_batch_tokens,
        gradient_checkpointing=sizes.gradient_checkpointing,
        activations=tuple((tokens, tokens * kept, tokens * recomputed) for tokens in listed),
        kv_token=float(width * shape.layers * shape.kv),
        kv_room=max(0.0, USABLE * gpu_memory - beside),
        available=gpu_memory,
    )
