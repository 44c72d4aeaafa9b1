"""Memory-based defaults: micro-batch and batch sizes, gradient checkpointing, threads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from sdar_gym.policy.learner_memory import Scheme, pass_memory, standing_memory
from sdar_gym.policy.load import load_model_config

# The published micro-batch size; larger ones are not faster.
_MOST_MICRO_TOKENS, _LEAST_MICRO_TOKENS = 16_384, 512
# Below this many tokens a GPU is underused, so recomputing activations is cheaper.
_WORTHWHILE_TOKENS = 4_096
# Share of the memory left beside weights and optimizer; the rest is for fragmentation, logits of a chunk, and others.
_ACTIVATION_SHARE = 0.5
_CPU_BATCH_TOKENS = 32_768
_SMALL = 50_000_000
_GIB = 1 << 30
# Assumed memory of a cluster's GPU that the driver cannot query.
_UNSEEN_GPU = 16 * _GIB


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory that a process can use.

    Attributes:
        memory: Main memory, in bytes.
        gpu_memory: Memory of one GPU, in bytes; 0 without one.
    """

    memory: int
    gpu_memory: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model that determine its memory.

    Attributes:
        parameters: Number of weights; tied ones count once.
        layers: Number of blocks.
        hidden: Hidden size.
        intermediate: Hidden size of the feed-forward layers.
        kv: Numbers of keys and values per token and layer.
        largest: Number of weights of the largest tensor, as a rule the embedding; 0 if it does not matter.
    """

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    kv: int
    largest: int = 0


@dataclass(frozen=True, slots=True)
class TrainingSizes:
    """Result of `choose_training_sizes`.

    Attributes:
        micro_batch_tokens: Tokens of one forward and backward pass.
        gradient_checkpointing: Whether activations are recomputed.
        note: A sentence with the chosen sizes and the estimated memory.
    """

    micro_batch_tokens: int
    gradient_checkpointing: bool
    note: str


def learner_machine(on_gpu: bool, gpu_index: int = 0) -> Machine:
    """Memory of the machine of a learner, as seen from the driver.

    Args:
        on_gpu: Whether the learner has a GPU. If the driver has none to query, a small one is assumed.
        gpu_index: The driver's GPU to query.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpu = 0
    if on_gpu:
        visible = torch.cuda.is_available() and gpu_index < torch.cuda.device_count()
        gpu = torch.cuda.get_device_properties(gpu_index).total_memory if visible else _UNSEEN_GPU
    return Machine(memory, gpu)


def empty_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The model without weights, on the `meta` device: names and shapes cost no memory.

    Raises:
        ValueError: The configuration is not that of a causal language model.
    """
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@lru_cache(maxsize=8)
def model_shape(name: str) -> Shape:
    """The sizes of a policy by name, without loading weights.

    Raises:
        PolicyLoadError: Its configuration cannot be loaded.
    """
    return shape_of(empty_model(load_model_config(name)))


def shape_of(model: PreTrainedModel) -> Shape:
    """The sizes of a model, loaded or on the `meta` device."""
    config = model.config.get_text_config()
    heads = int(getattr(config, "num_attention_heads", 1))
    hidden = int(config.hidden_size)
    head_width = int(getattr(config, "head_dim", None) or hidden // heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    return Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=int(config.num_hidden_layers),
        hidden=hidden,
        intermediate=int(getattr(config, "intermediate_size", None) or 4 * hidden),
        kv=2 * kv_heads * head_width,
        largest=max(parameter.numel() for parameter in model.parameters()),
    )


def activation_bytes(shape: Shape, width: int, *, recomputed: bool) -> int:
    """Bytes of activations per token, kept until the backward pass.

    Args:
        shape: The model's sizes.
        width: Bytes per number.
        recomputed: Whether gradient checkpointing keeps only each layer's input and one layer's activations.

    Source: counted on Llama's block (two norms, queries, keys, values, attention, gate, up and down projections), and
        2.3 MB per token measured for SmolLM2-135M in single precision, which this gives as 2.2.
    """
    layer = 11 * shape.hidden + 8 * shape.intermediate
    return width * (layer + shape.layers * shape.hidden if recomputed else shape.layers * layer)


def choose_training_sizes(
    shape: Shape,
    machine: Machine,
    *,
    half: bool,
    lora: bool,
    models_beside: int,
    micro_batch_tokens: int | None,
    gradient_checkpointing: bool | None,
    half_weights: bool = False,
    learners: int = 1,
    sharded: bool = False,
) -> TrainingSizes:
    """Choose micro-batch size and gradient checkpointing to fit the memory.

    Args:
        shape: The model's sizes.
        machine: Memory of the learner; GPU memory counts if there is a GPU.
        half: Whether the model is in half precision.
        lora: Whether adapters are trained instead of the weights.
        models_beside: Further copies of the model in the same memory, such as a runner's or a frozen teacher's.
        micro_batch_tokens: The user's setting; None to choose.
        gradient_checkpointing: The user's setting; None to choose.
        half_weights: Whether the learner's weights are in half precision, with master weights in the optimizer.
        learners: Number of learners, each with memory of its own.
        sharded: Whether they share out the optimizer's state.
    """
    width = 2 if half else 4
    memory = machine.gpu_memory or machine.memory
    # Those of adapters are small beside the model.
    scheme = Scheme(width, half_weights, 0 if lora else None, learners, sharded)
    own = int(sum((standing_memory(shape, scheme) | pass_memory(shape, scheme)).values()))
    left = 0.9 * memory - own - models_beside * shape.parameters * width

    def fits(recomputed: bool) -> int:
        tokens = int(max(0.0, left) * _ACTIVATION_SHARE / activation_bytes(shape, width, recomputed=recomputed))
        return max(_LEAST_MICRO_TOKENS, min(_MOST_MICRO_TOKENS, tokens // 256 * 256))

    recompute = gradient_checkpointing
    if recompute is None:
        recompute = fits(False) < min(_WORTHWHILE_TOKENS, micro_batch_tokens or _WORTHWHILE_TOKENS)
    tokens = micro_batch_tokens or fits(recompute)
    needed = (
        own + models_beside * shape.parameters * width + tokens * activation_bytes(shape, width, recomputed=recompute)
    )
    where = "GPU" if machine.gpu_memory else "main"
    note = (
        f"training.micro_batch_tokens={tokens}, policy.gradient_checkpointing={str(recompute).lower()}: about "
        f"{needed / _GIB:.1f} of {memory / _GIB:.0f} GiB of {where} memory for {shape.parameters / 1e6:.1f}M parameters"
    )
    if needed > memory:
        note += (
            "; that is more than is available: use policy.lora, policy.dtype=bfloat16 with policy.half_weights, "
            "several learners, or a smaller model"
        )
    return TrainingSizes(tokens, recompute, note)


def set_threads(setting: int | None, model: torch.nn.Module, processes: int) -> None:
    """Set the number of torch threads of this process.

    Args:
        setting: `policy.torch_threads`; None for one thread with small models, which do not use a second one, else an
            equal share of the cores.
        model: The policy.
        processes: Processes of the run that compute on this machine at the same time.
    """
    small = sum(parameter.numel() for parameter in model.parameters()) < _SMALL
    share = 1 if small else max(1, len(os.sched_getaffinity(0)) // max(1, processes))
    torch.set_num_threads(setting or share)


def default_batch_tokens(model: PreTrainedModel) -> int:
    """Prompt tokens per engine batch: a third of the free GPU memory, for keys, values and one layer's activations."""
    if model.device.type != "cuda":
        return _CPU_BATCH_TOKENS
    shape, width = shape_of(model), model.dtype.itemsize
    token = width * (shape.layers * shape.kv + 8 * shape.hidden + 3 * shape.intermediate)
    free, _ = torch.cuda.mem_get_info(model.device)
    return max(_CPU_BATCH_TOKENS // 2, min(1 << 20, int(free / 3 / token)))


def default_cache_tokens(model: PreTrainedModel) -> int:
    """Tokens whose keys and values an engine keeps: a third of the free GPU memory, or an eighth of main memory."""
    shape = shape_of(model)
    token = model.dtype.itemsize * shape.layers * shape.kv
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        return max(_CPU_BATCH_TOKENS // 2, free // 3 // token)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(_CPU_BATCH_TOKENS // 2, min(4 * _CPU_BATCH_TOKENS, memory // 8 // token))


def default_evaluation_batch(device: torch.device) -> int:
    """Episodes per evaluation batch: enough to fill the device, few enough for frequent progress."""
    return 256 if device.type == "cuda" else 32
