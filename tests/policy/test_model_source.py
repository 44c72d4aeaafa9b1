"""Model sources: folders that load, and messages with a remedy for those that do not."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sdar_gym.policy import hub_access
from sdar_gym.policy.load import PolicyLoadError, load_model, load_tokenizer, policy_path
from sdar_gym.policy.lora import Adapters
from sdar_gym.policy.model_source import policy_source
from sdar_gym.policy.teacher_weights import TeacherWeights


@pytest.fixture
def copied(policy_folder: Path, tmp_path: Path) -> Path:
    """A saved policy that may be changed."""
    return Path(shutil.copytree(policy_folder, tmp_path / "policy"))


def save_adapters(base: Path, folder: Path, **settings: Any) -> torch.Tensor:
    """Save adapters that have learned something, and give the logits of base and adapters."""
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "up_proj"], **settings))
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    wrapped.save_pretrained(str(folder))
    return logits(wrapped.eval())


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=torch.arange(5, 25)[None], use_cache=False).logits.float()


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"use_rslora": True}], ids=["lora", "dora", "rslora"])
def test_adapters_load_merged_into_their_base(policy_folder: Path, tmp_path: Path, settings: Any) -> None:
    folder = tmp_path / "adapter"
    expected = save_adapters(policy_folder, folder, **settings)
    model = load_model(str(folder))
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(logits(load_model(str(policy_folder))), expected, atol=1e-2)
    # An ordinary model: nothing of peft is left, and all of it can be trained.
    assert model.state_dict().keys() == load_model(str(policy_folder)).state_dict().keys()
    assert all(parameter.requires_grad for parameter in model.parameters())
    # No tokenizer beside the adapters: the base's.
    assert load_tokenizer(str(folder)).get_vocab() == load_tokenizer(str(policy_folder)).get_vocab()
    assert policy_path(str(folder)) == str(policy_folder)


@pytest.mark.parametrize("dtype", ["bfloat16", "auto", "float64"])
def test_adapters_are_merged_before_rounding(policy_folder: Path, tmp_path: Path, dtype: str) -> None:
    save_adapters(policy_folder, tmp_path / "adapter")
    single, other = load_model(str(tmp_path / "adapter")), load_model(str(tmp_path / "adapter"), dtype)
    wanted = {"bfloat16": torch.bfloat16, "auto": torch.float32, "float64": torch.float64}[dtype]
    assert other.dtype == wanted
    for name, tensor in single.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor.to(wanted), atol=1e-6, rtol=0)


def test_training_goes_on_from_base_and_first_adapters(policy_folder: Path, tmp_path: Path) -> None:
    expected = save_adapters(policy_folder, tmp_path / "adapter")
    model = load_model(str(tmp_path / "adapter"))
    adapters = Adapters(model, r=2, alpha=4)
    for parameter in adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert not torch.allclose(logits(model), expected, atol=1e-2)
    with TeacherWeights("frozen", model, adapters=adapters).swapped_in() as reference:
        torch.testing.assert_close(logits(reference), expected, atol=1e-5, rtol=1e-4)


def test_a_tokenizer_beside_adapters_comes_first(policy_folder: Path, tmp_path: Path, tokenizer: Any) -> None:
    save_adapters(policy_folder, tmp_path / "adapter")
    own = load_tokenizer(str(policy_folder))
    own.chat_template = "{{ messages[0]['content'] }}"
    own.save_pretrained(tmp_path / "adapter")
    assert load_tokenizer(str(tmp_path / "adapter")).chat_template == own.chat_template


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_a_base_is_found_from_the_adapters(copied: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied.parent / "adapter"
    expected = save_adapters(copied, folder)
    shutil.move(copied, folder / "base" if where == "inside" else copied.parent / "base")
    change(folder / "adapter_config.json", base_model_name_or_path="base")
    monkeypatch.chdir("/")
    torch.testing.assert_close(logits(load_model(str(folder))), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "/gone/base",
            r"holds LoRA adapters of '/gone/base', which cannot be loaded\. No such folder: /gone/base\. Set ",
        ),
        ("nobody/base", r"Could not load the model of 'nobody/base'.*HF_HUB_OFFLINE is set"),
        (None, r"does not name the base model\. Set base_model_name_or_path in adapter_config\.json"),
        ("", r"does not name the base model"),
    ],
)
def test_adapters_without_their_base_are_refused(
    policy_folder: Path, tmp_path: Path, base: str | None, message: str
) -> None:
    save_adapters(policy_folder, tmp_path / "adapter")
    change(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path=base)
    with pytest.raises(PolicyLoadError, match=message) as refused:
        load_model(str(tmp_path / "adapter"))
    assert "\n" not in str(refused.value)


def test_adapters_of_another_model_are_refused(policy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    save_adapters(policy_folder, folder)
    change(folder / "adapter_config.json", base_model_name_or_path="builtin:tiny")
    with pytest.raises(PolicyLoadError, match=r"adapters of .* do not fit their base .*size mismatch") as refused:
        load_model(str(folder))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700
    # Fewer adapters than the configuration says: they would be drawn at random.
    save_adapters(policy_folder, folder)
    change(folder / "adapter_config.json", target_modules=["q_proj", "up_proj", "v_proj"])
    with pytest.raises(PolicyLoadError, match=r"4 tensors are missing, .*v_proj.* among them"):
        load_model(str(folder))
    change(folder / "adapter_config.json", target_modules=["q_proj"])
    with pytest.raises(PolicyLoadError, match=r"4 tensors are unknown, .*up_proj.* among them"):
        load_model(str(folder))


def test_adapters_that_cannot_be_merged_are_refused(policy_folder: Path, tmp_path: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(policy_folder)
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(model, prompt).save_pretrained(str(tmp_path))
    with pytest.raises(PolicyLoadError, match="adapters of the kind 'PROMPT_TUNING'; only LoRA adapters are merged"):
        load_model(str(tmp_path))


def test_a_folder_with_both_a_model_and_adapters_is_refused(policy_folder: Path, copied: Path) -> None:
    save_adapters(policy_folder, copied)
    with pytest.raises(PolicyLoadError, match="holds both a whole model and adapters"):
        load_model(str(copied))


def test_damaged_adapters_are_one_clear_error(policy_folder: Path, tmp_path: Path) -> None:
    save_adapters(policy_folder, tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(PolicyLoadError, match="The adapters of ") as refused:
        load_model(str(tmp_path))
    assert "\n" not in str(refused.value)


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["config.yaml", "metrics.jsonl", "policy/config.json"],
            r"is a run folder\. Its trained policy is .*/policy\.",
        ),
        (["config.yaml", "metrics.jsonl"], r"is a run folder\. It has no trained policy yet"),
        (
            ["manifest.json", "state.json", "weights.safetensors"],
            r"is a training checkpoint, .*sdar-gym train --resume",
        ),
        (["rllib_checkpoint.json"], r"is a training checkpoint, .*sdar-gym train --resume .*has no trained policy yet"),
        (
            ["checkpoint-9/config.json", "checkpoint-100/config.json"],
            r"checkpoints of a trainer .* such as .*/checkpoint-100",
        ),
        (["checkpoint-5/adapter_config.json", "README.md"], r"such as .*/checkpoint-5\."),
        (["model.Q4_1.gguf"], r"holds a GGUF file.*gguf_file"),
        (["global_step100/x.pt", "latest", "zero_to_fp32.py"], r"sharded checkpoint of DeepSpeed or FSDP; merge it"),
        (["__0_0.distcp"], r"sharded checkpoint of DeepSpeed or FSDP"),
        (["params.json", "consolidated.00.pth"], r"in its authors' own format; use the version for transformers"),
        (["snapshots/abc/config.json"], r"not a saved model; did you mean .*/snapshots/abc\?"),
        (["actor/config.json"], r"did you mean .*/actor\?"),
        (["model.safetensors", "tokenizer.json"], r"holds weights without config\.json; copy config\.json"),
        (["tokenizer.json", "tokenizer_config.json"], r"holds a tokenizer only"),
        (["notes.txt"], r"is a folder without config\.json: not a saved model\.$"),
    ],
)
def test_what_is_no_saved_model_is_told_apart(tmp_path: Path, names: list[str], message: str) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    make(folder, *names)
    for load in (load_model, load_tokenizer, policy_path):
        with pytest.raises(PolicyLoadError, match=message) as refused:
            load(str(folder))
        assert str(folder) in str(refused.value)


def test_a_checkpoint_of_a_run_names_the_run_s_policy(tmp_path: Path) -> None:
    make(tmp_path, "run/checkpoint/rllib_checkpoint.json", "run/policy/config.json", "run/config.yaml")
    with pytest.raises(
        PolicyLoadError, match=rf"--resume {tmp_path}/run\. Its trained policy is {tmp_path}/run/policy\."
    ):
        policy_path(str(tmp_path / "run" / "checkpoint"))


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_packed_weights_are_refused(copied: Path, settings: Any, method: str) -> None:
    change(copied / "config.json", quantization_config=settings)
    with pytest.raises(PolicyLoadError, match=rf"is quantized \({method}\), and quantized weights cannot be trained"):
        load_model(str(copied))


def test_packed_weights_of_other_tools_are_refused(copied: Path) -> None:
    change(copied / "config.json", quantization={"group_size": 64, "bits": 4})
    with pytest.raises(PolicyLoadError, match="is quantized, and quantized weights"):
        load_model(str(copied))


def test_a_missing_shard_is_named(copied: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(copied)
    (copied / "model.safetensors").unlink()
    model.save_pretrained(copied, max_shard_size="20KB")
    shards = sorted(copied.glob("model-*.safetensors"))
    assert len(shards) > 2
    load_model(str(copied))
    shards[1].unlink()
    with pytest.raises(
        PolicyLoadError, match=rf"is incomplete: 1 of the files of .* are missing, {shards[1].name} among"
    ):
        load_model(str(copied))


@pytest.mark.parametrize(
    ("name", "message"),
    [("model.gguf", "holds a GGUF file"), ("pytorch_model_fsdp_0/x.distcp", "sharded checkpoint of DeepSpeed or FSDP")],
)
def test_weights_of_another_form_beside_a_config_are_told(copied: Path, name: str, message: str) -> None:
    (copied / "model.safetensors").unlink()
    make(copied, name)
    with pytest.raises(PolicyLoadError, match=message):
        load_model(str(copied))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_git_lfs_pointer_is_told(copied: Path, name: str) -> None:
    (copied / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(PolicyLoadError, match=rf"{name} is a Git LFS pointer.*run `git lfs pull`"):
        load_model(str(copied))


def test_a_folder_without_tokenizer_says_where_one_is(copied: Path, tmp_path: Path) -> None:
    step = tmp_path / "policy" / "checkpoint-500"
    step.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(copied / name, step / name)
    with pytest.raises(PolicyLoadError, match=rf"tokenizer of .* is missing: .* Copy it from {copied}, which has one"):
        load_tokenizer(str(step))
    load_model(str(step))
    shutil.move(step, tmp_path / "alone")
    with pytest.raises(
        PolicyLoadError, match=r"holds a model only\. Save the tokenizer of the model that it was trained"
    ):
        load_tokenizer(str(tmp_path / "alone"))


def test_a_model_that_needs_its_own_code_is_refused_without_asking(copied: Path) -> None:
    change(copied / "config.json", model_type="new_kind", auto_map={"AutoConfig": "configuration_new.NewConfig"})
    (copied / "configuration_new.py").write_text("raise SystemExit('run')")
    with pytest.raises(PolicyLoadError, match="needs custom Python code, which is not run"):
        load_model(str(copied))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "name must not be empty"),
        ("  ", "name must not be empty"),
        ("a\x00b", "name must not be empty"),
        ("s3://bucket/model", "must be a folder, a built-in policy or a hub name, got the address"),
        ("https://user:secret@host/model", "got the address 'https://host/model'; download it"),
        ("~nobody-at-all/model", "No such folder: "),
        ("x" * 5000, "(No such folder|Could not load the)"),
    ],
)
def test_names_that_cannot_be_any_are_refused(name: str, message: str) -> None:
    for load in (load_model, load_tokenizer):
        with pytest.raises(PolicyLoadError, match=message) as refused:
            load(name)
        assert "secret" not in str(refused.value)


def test_a_file_is_not_a_folder(policy_folder: Path) -> None:
    with pytest.raises(PolicyLoadError, match=r"model\.safetensors is a file; name the folder that holds it"):
        policy_source(str(policy_folder / "model.safetensors"))


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """As if the hub were at some address and might be asked."""

    def at(address: str) -> None:
        monkeypatch.setattr(hub_access.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub_access.constants, "ENDPOINT", address)
        hub_access.hub_responds.cache_clear()

    yield at
    hub_access.hub_responds.cache_clear()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid", "silent"])
def test_a_hub_that_cannot_be_reached_is_told_at_once(online: Callable[[str], None], address: str, silent: str) -> None:
    address = silent if address == "silent" else address
    online(address)
    started = time.monotonic()
    with pytest.raises(
        PolicyLoadError, match=rf"model of 'nope': there is no such folder here, .*{address} does not respond"
    ):
        load_model("nope")
    # The libraries by themselves take most of a minute.
    assert time.monotonic() - started < 2 * hub_access.HUB_TIMEOUT + 2


def test_what_is_cached_is_used_when_the_hub_is_away(
    online: Callable[[str], None], policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online("http://127.0.0.1:9")
    monkeypatch.setattr(hub_access, "try_to_load_from_cache", lambda name, file: str(policy_folder / "config.json"))
    assert hub_access.require_from_hub("somebody/model", "model") is True


@pytest.mark.parametrize(("status", "there"), [(401, True), (404, True), (407, False), (503, False)])
def test_an_error_of_the_hub_is_an_answer_and_one_of_a_proxy_is_not(
    online: Callable[[str], None], status: int, there: bool
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        online(f"http://127.0.0.1:{server.server_port}")
        assert hub_access.hub_responds() is there
    finally:
        server.shutdown()
        server.server_close()
