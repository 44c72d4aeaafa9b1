"""The process around vLLM: its environment, what vLLM would change in it, and weights in files for other processes."""

from __future__ import annotations

import json
import logging
import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from sdar_gym.configs.sections import LoraSettings


def set_environment(on_cpu: bool) -> None:
    """Sets what vLLM reads from the environment when it is imported; what the user has set is kept.

    Args:
        on_cpu: Whether the engine is on the CPU.
    """
    # The engine is part of this process: weights are handed over without being copied to another one.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # With an error it would print every running request; the error itself is raised.
    logging.getLogger("vllm.logging_utils.dump_input").setLevel(logging.CRITICAL)
    if on_cpu:
        # Several engines on a machine would bind their threads to the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


@contextmanager
def process_state_kept() -> Iterator[None]:
    """Restores what vLLM changes in a process that others use too: random numbers, threads, libraries of children.

    On the CPU it replaces `torch.set_num_threads` by a function that does nothing, and sets `LD_PRELOAD`.
    """
    numbers, numpy_numbers = random.getstate(), np.random.get_state()
    set_num_threads, preload = torch.set_num_threads, os.environ.get("LD_PRELOAD")
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(numbers)
        np.random.set_state(numpy_numbers)
        torch.set_num_threads = set_num_threads
        if preload is None:
            os.environ.pop("LD_PRELOAD", None)
        else:
            os.environ["LD_PRELOAD"] = preload


@contextmanager
def weights_folder(state: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """A folder with weights, in shared memory where there is some, for processes that load them from a file.

    Args:
        state: All weights. Tied ones are stored under each of their names.
    """
    with _folder() as folder:
        # Tensors that share memory are refused by the format.
        save_file({name: tensor.clone() for name, tensor in state.items()}, Path(folder, "model.safetensors"))
        yield folder


@contextmanager
def adapters_folder(state: Mapping[str, torch.Tensor], lora: LoraSettings) -> Iterator[str]:
    """A folder with adapters in the form of peft, the only one that vLLM reads.

    Args:
        state: Tensors by their names in the learner, such as `….q_proj.lora_A.default.weight`.
        lora: Rank and scale.
    """
    targets = {name.partition(".lora_")[0].rpartition(".")[2] for name in state}
    config = {"peft_type": "LORA", "r": lora.r, "lora_alpha": lora.alpha, "target_modules": sorted(targets)}
    tensors = {f"base_model.model.{name.replace('.default.', '.')}": tensor.clone() for name, tensor in state.items()}
    with _folder() as folder:
        Path(folder, "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(tensors, Path(folder, "adapter_model.safetensors"))
        yield folder


def _folder() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="sdar-gym-", dir=place)
