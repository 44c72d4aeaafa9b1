"""The learner: scores teacher and reference once per update, then takes gradient steps on the total loss."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import tree
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.annotations import override
from transformers import PreTrainedModel

from sdar_gym.algorithms.losses.total import LossOutput, TokenBatch, compute_loss, split_spans
from sdar_gym.algorithms.methods.distil import Cost, FutureCredit
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.teacher import Weights
from sdar_gym.algorithms.sdar.gradient_share import GradientShare
from sdar_gym.algorithms.sdar.loss_metrics import LossMetrics
from sdar_gym.algorithms.sdar.micro_batches import REFERENCE_LOGP, Piece, cut, idle_micro_batch, micro_batches
from sdar_gym.algorithms.sdar.module import LOGITS_TERM
from sdar_gym.freed_memory import return_freed_memory
from sdar_gym.policy.load import load_model
from sdar_gym.policy.non_finite import NonFiniteError, largest_magnitude
from sdar_gym.policy.sizing import set_threads
from sdar_gym.policy.teacher_weights import TeacherWeights
from sdar_gym.training.collate import (
    ADVANTAGE,
    CONTROL_INPUT_IDS,
    CONTROL_LOGP,
    CONTROL_POSITION,
    DISTILL,
    IMPORTANCE,
    INPUT_IDS,
    OLD_LOGP,
    RESPONSE_MASK,
    RESPONSE_POSITION,
    SPAN,
    TEACHER_INPUT_IDS,
    TEACHER_LOGP,
    TEACHER_POSITION,
    TRUST,
    WEIGHT,
)
from sdar_gym.training.distillation_targets import AGREEMENT, DIVERGENCE, FULL_TEACHER_LOGP, DistillationTargets
from sdar_gym.training.scoring import Scorer, distillation_term
from sdar_gym.training.sharded_adamw import (
    BY_NAME,
    ShardedAdamW,
    global_norm,
    load_unsharded,
    state_by_name,
)

# A column that this learner adds to its shard.
SHARD_ROW = "shard_row"
TEACHER_STATE, GRADIENT_RATIOS = "teacher_weights", "gradient_ratios"


class SDARLearner(TorchLearner):
    """The learner of all methods, which are presets of the objective.

    Teacher and student log-probabilities are computed with the same numerics, this learner's. The reference of the KL
    term and a frozen teacher are the same weights, stored once.
    """

    @override(TorchLearner)
    def build(self) -> None:
        """Builds module and optimizer, and copies the initial weights for teacher and reference."""
        super().build()
        self._objective: Objective = self.config.get_method().objective
        self._share = GradientShare(self._objective)
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
        self._targets: DistillationTargets | None = None
        self._losses = LossMetrics(self.device, several_learners=max(1, self.config.num_learners) > 1)
        teacher = self._objective.teacher
        needs_frozen = self._objective.kl_coeff > 0 or (teacher is not None and teacher.weights is Weights.FROZEN)
        self._frozen = self._weights(Weights.FROZEN) if needs_frozen else None
        self._teacher: TeacherWeights | None = None
        if teacher is not None:
            self._teacher = self._frozen if teacher.weights is Weights.FROZEN else self._weights(teacher.weights)

    def _weights(self, kind: Weights) -> TeacherWeights:
        settings, teacher = self.config.policy_settings, self._objective.teacher
        return TeacherWeights(
            kind,
            self._model,
            rate=teacher.rate if kind is Weights.EMA else None,
            every=teacher.every if kind is Weights.STALE else None,
            external=load_model(teacher.model, settings.dtype) if kind is Weights.EXTERNAL else None,
            offload=settings.offload_teacher,
            adapters=getattr(self.module[DEFAULT_MODULE_ID].unwrapped(), "adapters", None),
        )

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW over the trained parameters, shared out over the learners or whole in each."""
        settings = self.config.training_settings
        self._trained = {name: p for name, p in self._module[module_id].named_parameters() if p.requires_grad}
        parameters = list(self._trained.values())
        shared: dict[str, Any] = {"betas": tuple(settings.adam_betas), "weight_decay": settings.weight_decay}
        optimizer: torch.optim.Optimizer
        if self.config.shards_optimizer and max(1, self.config.num_learners) > 1:
            rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
            optimizer = ShardedAdamW(self._trained, rank=rank, count=count, **shared)
        elif self.config.shards_optimizer or self.config.policy_settings.half_weights:
            optimizer = ShardedAdamW(self._trained, **shared)
        else:
            # Tensor by tensor: in one go, temporary arrays would take as much memory as the weights.
            optimizer = torch.optim.AdamW(parameters, foreach=False, **shared)
        self._optimizer = optimizer
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    def score(self, *, columns: Mapping[str, Any], names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Scores rows before the gradient steps, for advantages and diagnostics.

        Args:
            columns: Made by `scoring_columns`.
            names: Of `student`, `teacher`, `control` (log-probabilities of the responses) and `cost` (divergence to the
                teacher).

        Returns:
            The scores by name, each [rows, response tokens]; with `student` also `entropy`.
        """
        result: dict[str, torch.Tensor] = {}
        with self._evaluating() as model:
            if "student" in names:
                result["student"], result["entropy"] = self._scorer.student(model, columns)
            if "cost" in names:
                shaping = self._objective.shaping
                cost = shaping.cost if isinstance(shaping, FutureCredit) else Cost.CE
                result["cost"] = self._scorer.costs(self._objective.distill, cost, model, self._teacher, columns)
        if "teacher" in names or "control" in names:
            with self._teacher.swapped_in() as teacher:
                if "teacher" in names:
                    result["teacher"] = self._scorer.logp(teacher, columns, TEACHER_INPUT_IDS, TEACHER_POSITION)
                if "control" in names:
                    result["control"] = self._scorer.logp(teacher, columns, CONTROL_INPUT_IDS, CONTROL_POSITION)
        return result

    def score_shard(self, columns: Mapping[str, Any], names: Sequence[str]) -> tuple[int, dict[str, torch.Tensor]]:
        """Scores this learner's shard: with n learners, rank r scores every n-th row from row r on.

        Returns:
            The rank and the scores.
        """
        rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
        shard = {name: column[rank::count] for name, column in columns.items()}
        return rank, self.score(columns=shard, names=names)

    @override(Learner)
    def update(
        self, *, training_data: TrainingData, timesteps: dict[str, Any], update_number: int, **kwargs: Any
    ) -> Any:
        """One update on this learner's shard of a batch.

        Args:
            training_data: Columns made by `training_columns`.
            timesteps: RLlib's.
            update_number: Number of completed updates, for the schedules.
            **kwargs: RLlib's: epochs and minibatch size.

        Raises:
            NonFiniteError: A loss or a gradient is not finite, so that no step was taken; or the weights are not finite
                after a step.
        """
        self._step = update_number
        self._set_hyperparameters()
        training_data.solve_refs()
        columns = training_data.batch.policy_batches[DEFAULT_MODULE_ID]
        columns[SHARD_ROW] = np.arange(len(columns[RESPONSE_MASK]))
        self._several_spans = bool((columns[SPAN] > 0).any())
        self._targets = None
        if self._objective.needs_distributions_at(self._step) and TEACHER_INPUT_IDS in columns:
            with self._evaluating() as model:
                self._targets = self._scorer.targets(
                    self._objective.distill,
                    model,
                    self._teacher,
                    columns,
                    torch.as_tensor(columns[DISTILL]).any(dim=1),
                )
        if self._objective.kl_coeff > 0:
            with self._frozen.swapped_in() as model:
                columns[REFERENCE_LOGP] = self._scorer.logp(model, columns).numpy()
        self._optimizer_steps = 0
        if self._share.is_due(self._step):
            self._measure_gradients(columns)
        results = super().update(training_data=training_data, timesteps=timesteps, **kwargs)
        self._targets = None
        self._clear_gradients()
        self._check_weights()
        if self._teacher is not None:
            self._teacher.after_update(self._step + 1)
        return_freed_memory()
        return results

    def _set_hyperparameters(self) -> None:
        """Gives the optimizer those of the configuration: a restored one has its checkpoint's, which Tune may change.

        The rate is a function of the update's number alone, so that a resumed run continues at the same one.
        """
        settings = self.config.training_settings
        values = {
            "lr": self.config.lr * min(1.0, (self._step + 1) / (settings.lr_warmup_updates + 1)),
            "weight_decay": settings.weight_decay,
            "betas": tuple(settings.adam_betas),
        }
        for _, optimizer in self.get_optimizers_for_module(DEFAULT_MODULE_ID):
            for group in optimizer.param_groups:
                group |= values

    @property
    def teacher_in_use(self) -> bool:
        """Whether a teacher's weights are swapped in."""
        return any(each is not None and each.in_use for each in (self._teacher, self._frozen))

    @property
    def weights_version(self) -> int:
        """Number of the updates that made the weights."""
        return self._weights_seq_no

    def teacher_policy(self) -> dict[str, Any]:
        """The policy's state with the weights of a teacher that follows the student."""
        with self._teacher.swapped_in():
            return self.module[DEFAULT_MODULE_ID].unwrapped().get_state(inference_only=True)

    @override(Learner)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, and the weights of a teacher that follows the student."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._teacher is not None and self._check_component(TEACHER_STATE, components, not_components):
            state[TEACHER_STATE] = self._teacher.get_state()
        if self._share.ratios and self._check_component(GRADIENT_RATIOS, components, not_components):
            state[GRADIENT_RATIOS] = [*self._share.ratios]
        return state

    @override(Learner)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state."""
        super().set_state(state)
        if self._teacher is not None and TEACHER_STATE in state:
            self._teacher.set_state(state[TEACHER_STATE])
        self._share.restore(state.get(GRADIENT_RATIOS, ()))

    @override(Learner)
    def _get_optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state: RLlib's form, or this learner's share by the names of tensors."""
        return self.optimizer_part() if isinstance(self._optimizer, ShardedAdamW) else super()._get_optimizer_state()

    def optimizer_part(self) -> dict[str, Any]:
        """This learner's share of a sharded optimizer's state."""
        return self._optimizer.named_state()

    @override(Learner)
    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        """Restores the optimizer's state, of the same number of learners or another, as copies.

        Arrays that Ray delivers are in memory that all learners of a machine share. RLlib would use that memory
        directly, and each learner's step would change the moments of the others.
        """
        if BY_NAME in state:
            if isinstance(self._optimizer, ShardedAdamW):
                self._optimizer.load_named_state(state)
            else:
                load_unsharded(self._optimizer, self._trained, state)
            return
        if isinstance(self._optimizer, ShardedAdamW):
            for entry in state.values():
                self._optimizer.load_named_state(state_by_name([*self._trained], entry["state"]["state"]))
            return
        super()._set_optimizer_state(
            tree.map_structure(lambda value: value.copy() if isinstance(value, np.ndarray) else value, state)
        )

    @property
    def _model(self) -> PreTrainedModel:
        return self.module[DEFAULT_MODULE_ID].unwrapped().model

    @contextlib.contextmanager
    def _evaluating(self) -> Any:
        """A context with the student in evaluation mode, without gradients."""
        model = self._model
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                yield model
        finally:
            model.train(was_training)

    @override(TorchLearner)
    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """One optimizer step on one minibatch; gradients of its micro-batches are summed."""
        columns = batch[DEFAULT_MODULE_ID]
        self._clear_gradients()
        # Weights divide by the token count of the whole update, of which a minibatch has its share, and RLlib averages
        # gradients over learners. The scale undoes both.
        scale = float(self.config.training_settings.num_minibatches * max(1, self.config.num_learners))
        module = self.module[DEFAULT_MODULE_ID]
        total = torch.zeros((), device=self.device)
        pieces = micro_batches(columns, self._micro_batch_tokens)
        for number, piece in enumerate(pieces):
            with contextlib.ExitStack() as stack:
                if hasattr(module, "no_sync") and number + 1 < len(pieces):
                    stack.enter_context(module.no_sync())
                micro = self._micro_batch(columns, piece)
                loss = self.compute_loss_for_module(
                    module_id=DEFAULT_MODULE_ID, config=self.config, batch=micro, fwd_out=module.forward_train(micro)
                )
                (scale * loss).backward()
            total = total + loss.detach()
        alone = max(1, self.config.num_learners) == 1
        if not pieces and not alone:
            # The passes of DDP before any other exchange, as in the learners that have rows: they wait for one another.
            # The gradients are zero.
            (0.0 * module.forward_train(idle_micro_batch(columns, self.device))["logp"].sum()).backward()
        self._log_losses()
        if pieces or not alone:
            gradients = {
                self.get_param_ref(parameter): parameter.grad
                for parameter in self.get_parameters(self.module[DEFAULT_MODULE_ID])
                if parameter.requires_grad
            }
            self._check_step(total * scale, gradients)
            self.apply_gradients(self.postprocess_gradients(gradients))
        return {}, {DEFAULT_MODULE_ID: total * scale}, {}

    def _clear_gradients(self) -> None:
        """Frees the gradients. DDP keeps the memory for good: zeroed in place, micro-batches add to it there."""
        self._optimizer.zero_grad(set_to_none=max(1, self.config.num_learners) == 1)

    @override(Learner)
    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any = None, module_gradients_dict: dict[Any, Any]
    ) -> dict[Any, Any]:
        """Clips by the global norm; gradients in half precision are scaled where they become single precision."""
        optimizer = self._optimizer
        whole = not isinstance(optimizer, ShardedAdamW) or not optimizer.has_masters
        if whole or config.grad_clip_by != "global_norm":
            return super().postprocess_gradients_for_module(
                module_id=module_id, config=config, module_gradients_dict=module_gradients_dict
            )
        norm = global_norm([gradient for gradient in module_gradients_dict.values() if gradient is not None])
        optimizer.gradient_scale = config.grad_clip / torch.clamp(norm + 1e-6, min=config.grad_clip)
        self.metrics.log_value((module_id, "gradients_default_optimizer_global_norm"), norm, window=1)
        return module_gradients_dict

    def _measure_gradients(self, columns: Mapping[str, Any]) -> None:
        """Measures the norms of the policy's and the distillation's gradient on the whole update, and logs them."""
        # Without DDP, whose forward pass waits for the other learners: they may have more micro-batches, or none.
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        parameters = [p for p in self.get_parameters(self.module[DEFAULT_MODULE_ID]) if p.requires_grad]
        columns = {name: torch.as_tensor(column, device=self.device) for name, column in columns.items()}
        norms: list[float] = []
        for part in ("policy_loss", "distill_loss"):
            for piece in micro_batches(columns, self._micro_batch_tokens):
                micro = self._micro_batch(columns, piece)
                micro.pop(TRUST, None)  # λ must not make up for what trust takes away.
                loss = getattr(self._loss_output(micro, module.forward_train(micro)), part)
                if loss is not None:
                    loss.backward()
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            if max(1, self.config.num_learners) > 1:
                for gradient in gradients:
                    torch.distributed.all_reduce(gradient)
            norms.append(float(global_norm(gradients)))
            self._clear_gradients()
        self._share.add(*norms)
        distill = self._objective.distill
        coeff = self._share.coefficient(self._step)
        coeff = distill.coeff.at(self._step) if coeff is None else coeff
        logged = {"policy_gradient_norm": norms[0], "distill_gradient_norm": norms[1], "distill_coeff": coeff}
        if norms[0] > 0:
            logged["distill_gradient_share"] = coeff * norms[1] / norms[0]
        for name, value in logged.items():
            # All learners know the same numbers.
            self.metrics.log_value((DEFAULT_MODULE_ID, name), value, reduce="max")

    def _check_step(self, loss: torch.Tensor, gradients: dict[Any, torch.Tensor]) -> None:
        """Checks that loss and gradient are finite; if not, every learner raises.

        Raises:
            NonFiniteError: Names the update, the step and the values.
        """
        self._optimizer_steps += 1
        present = [gradient for gradient in gradients.values() if gradient is not None]
        norm = torch.nn.utils.get_total_norm(present) if present else torch.zeros(())
        # A single number, so that a step waits for the device once.
        wrong = (~norm.isfinite()).to(self.device, torch.float32) + (~loss.isfinite()).to(self.device, torch.float32)
        if max(1, self.config.num_learners) > 1:
            # Losses differ between shards: if one learner raised alone, the others would wait for it without end.
            torch.distributed.all_reduce(wrong)
        if float(wrong) > 0:
            raise NonFiniteError(
                f"Update {self._step + 1} broke off before optimizer step {self._optimizer_steps}: the loss is "
                f"{float(loss):g} and the norm of the gradient is {float(norm):g}. Try a smaller training.lr, or "
                "policy.dtype=float32."
            )

    def _check_weights(self) -> None:
        """Checks that the weights are finite, before they are sampled from or saved.

        Raises:
            NonFiniteError: Names the update.
        """
        trained = [parameter.detach() for parameter in self.get_parameters(self.module[DEFAULT_MODULE_ID])]
        if trained and not bool(largest_magnitude(trained).isfinite()):
            raise NonFiniteError(
                f"The optimizer's step of update {self._step + 1} made weights that are not finite. Try a smaller "
                "training.lr or training.weight_decay."
            )

    @override(TorchLearner)
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """The loss of some rows: a summand of the update's loss, not to be averaged. Keeps its metrics for logging."""
        output = self._loss_output(batch, fwd_out)
        self._losses.add(output)
        return output.loss

    def _loss_output(self, batch: dict[str, Any], fwd_out: dict[str, Any]) -> LossOutput:
        logp_BT = fwd_out["logp"]

        def number(name: str, source: dict[str, Any] = batch) -> torch.Tensor | None:
            return source[name].to(logp_BT.dtype) if name in source else None

        teacher_logp_BT = number(TEACHER_LOGP)
        if teacher_logp_BT is None:
            teacher_logp_BT = number(FULL_TEACHER_LOGP, fwd_out)
        tokens = TokenBatch(
            logp_BT=logp_BT,
            old_logp_BT=number(OLD_LOGP),
            advantage_BT=number(ADVANTAGE),
            response_mask_BT=batch[RESPONSE_MASK],
            weight_BT=number(WEIGHT),
            distill_mask_BT=batch[DISTILL].bool() if DISTILL in batch else None,
            teacher_logp_BT=teacher_logp_BT,
            control_logp_BT=number(CONTROL_LOGP),
            divergence_BT=number(DIVERGENCE, fwd_out),
            agreement_BT=fwd_out[AGREEMENT].bool() if AGREEMENT in fwd_out else None,
            ref_logp_BT=number(REFERENCE_LOGP),
            entropy_BT=fwd_out["entropy"],
            importance_BT=number(IMPORTANCE),
            trust_BT=number(TRUST),
        )
        if self._several_spans:
            tokens = split_spans(tokens, batch[SPAN])
        return compute_loss(self._objective, tokens, self._step, distill_coeff=self._share.coefficient(self._step))

    def _log_losses(self) -> None:
        """Logs the metrics of all micro-batches of a step."""
        settings = self.config.training_settings
        # Before the first step the learner has the sampler's weights. With recomputed log-probabilities the driver
        # knows the mismatch of all tokens, and logs it.
        first = settings.old_logp == "sampler" and self._optimizer_steps == 0
        entries = self._losses.taken(self.config.num_epochs, mismatch=first, part=settings.num_minibatches > 1)
        for name, value, reduce in entries:
            self.metrics.log_value((DEFAULT_MODULE_ID, name), value, reduce=reduce)

    def _micro_batch(self, columns: Any, piece: Piece) -> dict[str, Any]:
        """Columns of a micro-batch, with the divergence to the teacher's distributions where the method has one."""
        micro: dict[str, Any] = cut(columns, piece, self.device)
        if self._targets is not None:
            micro[LOGITS_TERM] = self._logits_term(micro, columns[SHARD_ROW][piece.rows.to(self.device)].cpu())
        return micro

    def _logits_term(self, micro: dict[str, Any], shard_rows: torch.Tensor) -> Any:
        """The divergence to the teacher's distributions on a micro-batch."""
        return distillation_term(
            self._objective.distill,
            self._targets,
            self._targets.slot_B[shard_rows],
            (micro[INPUT_IDS], micro[RESPONSE_POSITION], micro[RESPONSE_MASK]),
            self.config.rollout_settings.temperature,
        )
