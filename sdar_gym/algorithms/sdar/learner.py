"""The learner: scores the teacher and the reference once per update, then takes gradient steps on one objective."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from transformers import PreTrainedModel

from sdar_gym.algorithms.objective import Objective, TokenBatch, compute_loss
from sdar_gym.algorithms.sdar.batch import ADVANTAGE, OLD_LOGP, TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH, WEIGHT
from sdar_gym.algorithms.sdar.module import ANSWER_MASK, INPUT_IDS, PROMPT_LENGTH
from sdar_gym.policy.logprobs import score_answers

# Columns that this learner adds to its shard before the first gradient step.
TEACHER_LOGP, REFERENCE_LOGP = "teacher_logp", "reference_logp"
STEP = "sdar_step"


class SDARLearner(TorchLearner):
    """One learner for every method that is a preset of the objective.

    Teacher and student log-probabilities come from the same numerics, this learner's. The teacher has the weights with
    which the update starts, and the skills in its prompt. The reference, if the objective asks for one, is a frozen
    copy of the initial policy.
    """

    def build(self) -> None:
        """Build module and optimizer; keep a frozen copy of the initial weights if they are a reference."""
        super().build()
        torch.set_num_threads(self.config.policy_settings.torch_threads)
        self._objective: Objective = self.config.get_objective()
        self._reference: PreTrainedModel | None = None
        if self._objective.kl_coeff > 0:
            self._reference = copy.deepcopy(self._model).requires_grad_(False).eval()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW over the parameters that are trained."""
        parameters = [p for p in self._module[module_id].parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, betas=tuple(self.config.adam_betas), weight_decay=self.config.weight_decay
        )
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    def update(self, *, training_data: TrainingData, timesteps: dict[str, Any], **kwargs: Any) -> Any:
        """One update on this learner's shard of a prepared batch.

        Args:
            training_data: A batch made by `prepare_batch`.
            timesteps: Holds the number of the update under `STEP`, for the schedules.
            **kwargs: RLlib's: epochs and minibatch size.
        """
        self._step = int(timesteps[STEP])
        training_data.solve_refs()
        columns = training_data.batch.policy_batches[DEFAULT_MODULE_ID]
        if self._objective.needs_teacher_at(self._step):
            columns[TEACHER_LOGP] = self._score(self._model, columns, TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH)
        if self._reference is not None:
            columns[REFERENCE_LOGP] = self._score(self._reference, columns, INPUT_IDS, PROMPT_LENGTH)
        return super().update(training_data=training_data, timesteps=timesteps, **kwargs)

    @property
    def _model(self) -> PreTrainedModel:
        return self.module[DEFAULT_MODULE_ID].unwrapped().model

    @torch.no_grad()
    def _score(self, model: PreTrainedModel, columns: Any, ids: str, lengths: str) -> np.ndarray[Any, Any]:
        """Log-probabilities of all answers of the shard, [rows, answer tokens], without gradient."""
        mask_BT = torch.as_tensor(columns[ANSWER_MASK])
        input_ids, prompt_length = torch.as_tensor(columns[ids]), torch.as_tensor(columns[lengths])
        result_BT = torch.zeros(mask_BT.shape)
        was_training = model.training
        model.eval()
        for rows, width in self._micro_batches(prompt_length, mask_BT):
            answer = int(mask_BT[rows].sum(dim=1).max())
            scores = score_answers(
                model,
                input_ids[rows, :width].to(self.device),
                prompt_length[rows].to(self.device),
                mask_BT[rows, :answer].to(self.device),
                self.config.rollout_settings.temperature,
            )
            result_BT[rows, :answer] = scores.logp_BT.cpu()
        model.train(was_training)
        return result_BT.numpy()

    def _micro_batches(
        self, prompt_length_B: torch.Tensor, mask_BT: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, int]]:
        """Rows of similar length, as many as fit into the token budget, and their width; padding rows are left out."""
        answers_B = mask_BT.sum(dim=1)
        width_B = prompt_length_B + answers_B
        order = width_B.argsort(stable=True)
        order = order[answers_B[order] > 0].tolist()
        batch: list[int] = []
        for row in order:
            if batch and (len(batch) + 1) * int(width_B[row]) > self.config.micro_batch_tokens:
                yield torch.tensor(batch), int(width_B[batch[-1]])
                batch = []
            batch.append(row)
        if batch:
            yield torch.tensor(batch), int(width_B[batch[-1]])

    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """One optimizer step on one minibatch, in micro-batches whose gradients add up."""
        columns = batch[DEFAULT_MODULE_ID]
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        # Weights divide by the token count of the whole update. A minibatch has its share of them, and RLlib averages
        # gradients over learners, so both divisors are taken back here.
        scale = float(self.config.num_minibatches * max(1, self.config.num_learners))
        module = self.module[DEFAULT_MODULE_ID]
        total = torch.zeros(())
        micro_batches = list(self._micro_batches(columns[PROMPT_LENGTH].cpu(), columns[ANSWER_MASK].cpu()))
        for number, (rows, width) in enumerate(micro_batches):
            with contextlib.ExitStack() as stack:
                if hasattr(module, "no_sync") and number + 1 < len(micro_batches):
                    stack.enter_context(module.no_sync())
                loss = self._micro_loss(module, columns, rows.to(self.device), width)
                (scale * loss).backward()
            total = total + loss.detach().cpu()
        alone = max(1, self.config.num_learners) == 1
        if not micro_batches and not alone:
            self._zero_loss(module, columns).backward()
        if micro_batches or not alone:
            gradients = {reference: parameter.grad for reference, parameter in self._params.items()}
            self.apply_gradients(self.postprocess_gradients(gradients))
        return {}, {DEFAULT_MODULE_ID: total * scale}, {}

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """The loss of some rows, a share of the update's: add, do not average. Its metrics are logged on the way."""
        output = compute_loss(
            self._objective,
            TokenBatch(
                logp_BT=fwd_out["logp"],
                old_logp_BT=batch[OLD_LOGP].float(),
                adv_B=batch[ADVANTAGE].float(),
                mask_BT=batch[ANSWER_MASK],
                weight_BT=batch[WEIGHT].float(),
                teacher_logp_BT=batch[TEACHER_LOGP].float() if TEACHER_LOGP in batch else None,
                ref_logp_BT=batch[REFERENCE_LOGP].float() if REFERENCE_LOGP in batch else None,
                entropy_BT=fwd_out["entropy"],
            ),
            self._step,
        )
        for name, value in output.metrics.items():
            # Parts of a global weighted mean: they add up over micro-batches, minibatches and learners.
            self.metrics.log_value((module_id, name), float(value) / self.config.num_epochs, reduce="sum")
        for name, value in output.maxima.items():
            self.metrics.log_value((module_id, name), float(value), reduce="max")
        return output.loss

    def _zero_loss(self, module: Any, columns: Any) -> torch.Tensor:
        """What a learner with nothing but padding adds: the others wait for its gradients, so it must have some."""
        first = slice(0, 1)
        micro = {
            INPUT_IDS: columns[INPUT_IDS][first, :2],
            PROMPT_LENGTH: columns[PROMPT_LENGTH][first],
            ANSWER_MASK: torch.ones((1, 1), dtype=torch.bool, device=self.device),
        }
        return 0.0 * module.forward_train(micro)["logp"].sum()

    def _micro_loss(self, module: Any, columns: Any, rows: torch.Tensor, width: int) -> torch.Tensor:
        answer = int(columns[ANSWER_MASK][rows].sum(dim=1).max())
        micro = {
            INPUT_IDS: columns[INPUT_IDS][rows, :width],
            PROMPT_LENGTH: columns[PROMPT_LENGTH][rows],
            ADVANTAGE: columns[ADVANTAGE][rows],
            ANSWER_MASK: columns[ANSWER_MASK][rows, :answer].bool(),
        }
        for name in (OLD_LOGP, WEIGHT, TEACHER_LOGP, REFERENCE_LOGP):
            if name in columns:
                micro[name] = columns[name][rows, :answer]
        return self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=micro, fwd_out=module.forward_train(micro)
        )
