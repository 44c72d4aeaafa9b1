"""Export of a checkpoint: the policy in it as a folder that `transformers` and vLLM load."""

from __future__ import annotations

from pathlib import Path

from sdar_gym.configs import load_config
from sdar_gym.policy import trained_prompt
from sdar_gym.policy.load import load_tokenizer
from sdar_gym.policy.policy_model import merged_policy
from sdar_gym.policy.saving import save_model
from sdar_gym.runs.checkpoint import CheckpointError, read_state, verify_checkpoint


def export_checkpoint(folder: Path, target: Path) -> int:
    """Exports the policy of a run's checkpoint.

    Args:
        folder: `RUN/checkpoint` or `RUN/previous_checkpoint`; the run's `config.yaml` names the model.
        target: Folder for the policy.

    Returns:
        The number of updates that the checkpoint has done.

    Raises:
        CheckpointError: It is damaged, or holds no policy.
        ValueError: The run's configuration or its model cannot be read.
    """
    manifest = verify_checkpoint(folder)
    run = load_config(str(folder.parent / "config.yaml"))
    try:
        weights = read_state(folder, manifest)["learner_group"]["learner"]["rl_module"]["default_policy"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no policy: it is no checkpoint of a training run.") from error
    model = merged_policy(run.policy.model, run.policy.dtype, run.policy.lora, weights)
    record = {trained_prompt.FILE: trained_prompt.prompt_record_text(run.rollout)}
    save_model(model, load_tokenizer(run.policy.model), target, record)
    return manifest.update
