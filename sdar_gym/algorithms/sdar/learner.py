"""The learner: scores teacher and reference once per update, then takes gradient steps on one objective."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import tree
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from transformers import PreTrainedModel

from sdar_gym.algorithms.loss import TokenBatch, compute_loss
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.sdar.batch import (
    ADVANTAGE,
    CONTROL_INPUT_IDS,
    CONTROL_PROMPT_LENGTH,
    DISTILL,
    OLD_LOGP,
    TEACHER_INPUT_IDS,
    TEACHER_LOGP,
    TEACHER_PROMPT_LENGTH,
    WEIGHT,
)
from sdar_gym.algorithms.sdar.dense_teacher import AGREEMENT, DENSE_TEACHER_LOGP, DIVERGENCE, DenseTargets
from sdar_gym.algorithms.sdar.module import ANSWER_MASK, INPUT_IDS, PROMPT_LENGTH
from sdar_gym.algorithms.sdar.scoring import Scorer, dense_term, micro_batches
from sdar_gym.algorithms.teachers import Weights
from sdar_gym.policy.load import load_model
from sdar_gym.policy.non_finite import NonFiniteError, largest_magnitude
from sdar_gym.policy.sizing import set_threads
from sdar_gym.policy.teacher_weights import TeacherWeights

# Columns that this learner adds to its shard before the first gradient step.
REFERENCE_LOGP, SHARD_ROW = "reference_logp", "shard_row"
STEP = "sdar_step"
TEACHER_STATE = "teacher_weights"


class SDARLearner(TorchLearner):
    """One learner for every method that is a preset of the objective.

    Teacher and student log-probabilities come from the same numerics, this learner's. The reference of the KL term and
    a frozen teacher are the same weights, kept once.
    """

    def build(self) -> None:
        """Build module and optimizer; set aside what teacher and reference need of the initial weights."""
        super().build()
        self._objective: Objective = self.config.get_objective()
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        set_threads(self.config.policy_settings.torch_threads, module, max(1, self.config.num_learners))
        self._micro_batch_tokens = self.config.get_sizes().micro_batch_tokens
        self._scorer = Scorer(
            self._micro_batch_tokens,
            self.config.rollout_settings.temperature,
            self.device,
            module.numerics,
            module.compute_dtype,
        )
        module.dense_term = self._dense_term
        self._targets: DenseTargets | None = None
        teacher = self._objective.teacher
        needs_frozen = self._objective.kl_coeff > 0 or (teacher is not None and teacher.weights is Weights.FROZEN)
        self._frozen = self._weights("frozen") if needs_frozen else None
        self._teacher: TeacherWeights | None = None
        if teacher is not None:
            self._teacher = self._frozen if teacher.weights is Weights.FROZEN else self._weights(teacher.weights)

    def _weights(self, kind: str) -> TeacherWeights:
        settings, teacher = self.config.policy_settings, self._objective.teacher
        external = None
        if kind == Weights.EXTERNAL:
            external = load_model(teacher.model, settings.dtype)
        return TeacherWeights(
            str(kind),
            self._model,
            rate=teacher.rate if kind == Weights.EMA else None,
            every=teacher.every if kind == Weights.STALE else None,
            external=external,
            residence=settings.teacher_residence,
            adapters=getattr(self.module[DEFAULT_MODULE_ID].unwrapped(), "adapters", None),
        )

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW over the parameters that are trained."""
        parameters = [p for p in self._module[module_id].parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, betas=tuple(self.config.adam_betas), weight_decay=self.config.weight_decay
        )
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    def score(self, *, columns: dict[str, np.ndarray[Any, Any]], wanted: Sequence[str]) -> dict[str, torch.Tensor]:
        """Scores of rows that the driver asks about before it makes advantages of them.

        Args:
            columns: Made by `scoring_columns`.
            wanted: Of `student`, `teacher`, `control` (log-probabilities of the answers) and `cost` (how far the
                teacher is from the student).

        Returns:
            What was asked for by name, each [rows, answer tokens]; with `student` also `entropy`.
        """
        result: dict[str, torch.Tensor] = {}
        with self._evaluating() as model:
            if "student" in wanted:
                result["student"], result["entropy"] = self._scorer.student(model, columns)
            if "cost" in wanted:
                result["cost"] = self._scorer.costs(
                    self._objective.distill, self._objective.future.cost, model, self._teacher, columns
                )
        if "teacher" in wanted or "control" in wanted:
            with self._teacher.borrow() as teacher:
                if "teacher" in wanted:
                    result["teacher"] = self._scorer.logp(teacher, columns, TEACHER_INPUT_IDS, TEACHER_PROMPT_LENGTH)
                if "control" in wanted:
                    result["control"] = self._scorer.logp(teacher, columns, CONTROL_INPUT_IDS, CONTROL_PROMPT_LENGTH)
        return result

    def update(self, *, training_data: TrainingData, timesteps: dict[str, Any], **kwargs: Any) -> Any:
        """One update on this learner's shard of a prepared batch.

        Args:
            training_data: A batch made by `prepare_batch`.
            timesteps: Holds the number of the update under `STEP`, for the schedules.
            **kwargs: RLlib's: epochs and minibatch size.

        Raises:
            NonFiniteError: A loss or a gradient was not finite, and no step was taken; or a step made weights that are
                not.
        """
        self._step = int(timesteps[STEP])
        if self._step <= self.config.lr_warmup_updates:
            # A function of the update's number alone, so that a resumed run goes on at the same rate.
            rate = self.config.lr * min(1.0, (self._step + 1) / (self.config.lr_warmup_updates + 1))
            for _, optimizer in self.get_optimizers_for_module(DEFAULT_MODULE_ID):
                self._set_optimizer_lr(optimizer, rate)
        training_data.solve_refs()
        columns = training_data.batch.policy_batches[DEFAULT_MODULE_ID]
        columns[SHARD_ROW] = np.arange(len(columns[PROMPT_LENGTH]))
        self._targets = None
        if self._objective.dense_at(self._step) and TEACHER_INPUT_IDS in columns:
            with self._evaluating() as model:
                self._targets = self._scorer.targets(
                    self._objective.distill, model, self._teacher, columns, torch.as_tensor(columns[DISTILL])
                )
        if self._objective.kl_coeff > 0:
            with self._frozen.borrow() as model:
                columns[REFERENCE_LOGP] = self._scorer.logp(model, columns).numpy()
        self._optimizer_steps = 0
        results = super().update(training_data=training_data, timesteps=timesteps, **kwargs)
        self._targets = None
        self._refuse_broken_weights()
        if self._teacher is not None:
            self._teacher.after_update(self._step + 1)
        return results

    @property
    def lends_weights(self) -> bool:
        """Whether a teacher's weights are in the student's place just now."""
        return any(each is not None and each.lent for each in (self._teacher, self._frozen))

    def teacher_policy(self) -> dict[str, Any]:
        """The policy's state with the weights of a teacher that follows the student."""
        with self._teacher.borrow():
            return self.module[DEFAULT_MODULE_ID].unwrapped().get_state(inference_only=True)

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, and the weights of a teacher that follows the student."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._teacher is not None and self._check_component(TEACHER_STATE, components, not_components):
            state[TEACHER_STATE] = self._teacher.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().set_state(state)
        if self._teacher is not None and TEACHER_STATE in state:
            self._teacher.set_state(state[TEACHER_STATE])

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        """Take moments as this learner's own.

        Arrays that Ray brings lie in memory which all learners of a machine share. RLlib would take that memory as it
        is, and each learner's step would change the moments of the others.
        """
        super()._set_optimizer_state(
            tree.map_structure(lambda value: value.copy() if isinstance(value, np.ndarray) else value, state)
        )

    @property
    def _model(self) -> PreTrainedModel:
        return self.module[DEFAULT_MODULE_ID].unwrapped().model

    @contextlib.contextmanager
    def _evaluating(self) -> Any:
        """The student as it scores: in evaluation mode, without gradient."""
        model = self._model
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                yield model
        finally:
            model.train(was_training)

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
        pieces = list(micro_batches(columns[PROMPT_LENGTH].cpu(), columns[ANSWER_MASK].cpu(), self._micro_batch_tokens))
        for number, (rows, width) in enumerate(pieces):
            with contextlib.ExitStack() as stack:
                if hasattr(module, "no_sync") and number + 1 < len(pieces):
                    stack.enter_context(module.no_sync())
                loss = self._micro_loss(module, columns, rows.to(self.device), width)
                (scale * loss).backward()
            total = total + loss.detach().cpu()
        alone = max(1, self.config.num_learners) == 1
        if not pieces and not alone:
            self._zero_loss(module, columns).backward()
        if pieces or not alone:
            gradients = {reference: parameter.grad for reference, parameter in self._params.items()}
            self._refuse_broken_step(total * scale, gradients)
            self.apply_gradients(self.postprocess_gradients(gradients))
        return {}, {DEFAULT_MODULE_ID: total * scale}, {}

    def _refuse_broken_step(self, loss: torch.Tensor, gradients: dict[Any, torch.Tensor]) -> None:
        """Refuse a step along a gradient that is no direction; all learners do, or none does.

        Raises:
            NonFiniteError: With the update, the step and what is wrong.
        """
        self._optimizer_steps += 1
        present = [gradient for gradient in gradients.values() if gradient is not None]
        norm = torch.nn.utils.get_total_norm(present) if present else torch.zeros(())
        # One number, and so one wait for the device a step.
        wrong = (~norm.isfinite()).to(self.device, torch.float32) + (~loss.isfinite()).to(self.device, torch.float32)
        if max(1, self.config.num_learners) > 1:
            # Losses are of shards: the others would wait for ever for a learner that ended alone.
            torch.distributed.all_reduce(wrong)
        if float(wrong) > 0:
            raise NonFiniteError(
                f"Update {self._step + 1} broke off before optimizer step {self._optimizer_steps}: the loss is "
                f"{float(loss):g} and the norm of the gradient is {float(norm):g}. Try a smaller training.lr, or "
                "policy.dtype=float32."
            )

    def _refuse_broken_weights(self) -> None:
        """Refuse weights that a step has made infinite: nobody shall play with them or keep them.

        Raises:
            NonFiniteError: With the update.
        """
        trained = [parameter.detach() for parameter in self._params.values()]
        if trained and not bool(largest_magnitude(trained).isfinite()):
            raise NonFiniteError(
                f"The optimizer's step of update {self._step + 1} made weights that are not finite. Try a smaller "
                "training.lr or training.weight_decay."
            )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """The loss of some rows, a share of the update's: add, do not average. Its metrics are logged on the way."""
        logp_BT = fwd_out["logp"]

        def number(name: str, source: dict[str, Any] = batch) -> torch.Tensor | None:
            return source[name].to(logp_BT.dtype) if name in source else None

        teacher_logp_BT = number(TEACHER_LOGP)
        if teacher_logp_BT is None:
            teacher_logp_BT = number(DENSE_TEACHER_LOGP, fwd_out)
        distill_B = batch.get(DISTILL)
        output = compute_loss(
            self._objective,
            TokenBatch(
                logp_BT=logp_BT,
                old_logp_BT=number(OLD_LOGP),
                adv_BT=number(ADVANTAGE),
                mask_BT=batch[ANSWER_MASK],
                weight_BT=number(WEIGHT),
                distill_mask_BT=None if distill_B is None else distill_B.bool()[:, None].expand_as(logp_BT),
                teacher_logp_BT=teacher_logp_BT,
                dense_BT=number(DIVERGENCE, fwd_out),
                agree_BT=fwd_out[AGREEMENT].bool() if AGREEMENT in fwd_out else None,
                ref_logp_BT=number(REFERENCE_LOGP),
                entropy_BT=fwd_out["entropy"],
            ),
            self._step,
        )
        metrics = {name: float(value) for name, value in output.metrics.items()}
        maxima = {name: float(value) for name, value in output.maxima.items()}
        # RLlib leaves nan out of sums and maxima; so it is counted.
        wrong = sum(not math.isfinite(value) for value in (*metrics.values(), *maxima.values()))
        if wrong:
            self.metrics.log_value((module_id, "not_finite"), float(wrong), reduce="sum")
        for name, value in metrics.items():
            # Parts of a global weighted mean: they add up over micro-batches, minibatches and learners.
            self.metrics.log_value((module_id, name), value / self.config.num_epochs, reduce="sum")
        for name, value in maxima.items():
            self.metrics.log_value((module_id, name), value, reduce="max")
        return output.loss

    def _zero_loss(self, module: Any, columns: Any) -> torch.Tensor:
        """What a learner with nothing but padding adds: the others wait for its gradients, so it must have some."""
        first = slice(0, 1)
        micro = {
            INPUT_IDS: columns[INPUT_IDS][first, :2],
            PROMPT_LENGTH: columns[PROMPT_LENGTH][first],
            ANSWER_MASK: torch.ones((1, 1), dtype=torch.bool, device=self.device),
            SHARD_ROW: columns[SHARD_ROW][first],
        }
        return 0.0 * module.forward_train(micro)["logp"].sum()

    def _micro_loss(self, module: Any, columns: Any, rows: torch.Tensor, width: int) -> torch.Tensor:
        answer = int(columns[ANSWER_MASK][rows].sum(dim=1).max())
        micro = {
            INPUT_IDS: columns[INPUT_IDS][rows, :width],
            ANSWER_MASK: columns[ANSWER_MASK][rows, :answer].bool(),
        }
        for name in (PROMPT_LENGTH, SHARD_ROW, DISTILL):
            if name in columns:
                micro[name] = columns[name][rows]
        for name in (ADVANTAGE, OLD_LOGP, WEIGHT, TEACHER_LOGP, REFERENCE_LOGP):
            if name in columns:
                micro[name] = columns[name][rows, :answer]
        return self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=micro, fwd_out=module.forward_train(micro)
        )

    def _dense_term(self, batch: dict[str, Any]) -> Any:
        """The dense term of a micro-batch, or None where the update has no dense teacher."""
        if self._targets is None:
            return None
        return dense_term(
            self._objective.distill,
            self._targets,
            self._targets.slot_B[batch[SHARD_ROW].cpu()],
            (batch[INPUT_IDS], batch[PROMPT_LENGTH], batch[ANSWER_MASK]),
            self.config.rollout_settings.temperature,
        )
