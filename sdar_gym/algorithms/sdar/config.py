"""`SDARConfig`: RLlib's fluent configuration, with sections for the policy, the skills, the rollout and the panel."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Self

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from sdar_gym.algorithms.methods import Method, get_method
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.sdar import search_spaces
from sdar_gym.algorithms.sdar.external_teacher import check_external_teacher
from sdar_gym.algorithms.sdar.resources import check_resources, share_gpus, supply
from sdar_gym.algorithms.sdar.unread import refuse_unread
from sdar_gym.algorithms.teachers import View, Weights
from sdar_gym.configs.reading import build, child_hint
from sdar_gym.configs.settings import (
    EvaluationSettings,
    PolicySettings,
    RolloutSettings,
    SkillSettings,
    TrainingSettings,
)
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.prompting import prompt_template
from sdar_gym.envs.registry import EnvEntry, entry_of
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.load import load_model_config
from sdar_gym.policy.sizing import TrainingSizes, choose_training_sizes, learner_machine, model_shape
from sdar_gym.rollout.build import build_retriever
from sdar_gym.skills import Retriever

if TYPE_CHECKING:
    from sdar_gym.configs.schema import RunConfig

# Sections by attribute: what users call them, and their data class.
_SECTIONS = {
    "policy_settings": ("policy", PolicySettings),
    "skill_settings": ("skills", SkillSettings),
    "rollout_settings": ("rollout", RolloutSettings),
    "panel_settings": ("evaluation", EvaluationSettings),
}


class SDARConfig(AlgorithmConfig):
    """Configuration of SDAR and of every method that is a preset of the same learner.

    Example:
        >>> config = SDARConfig().environment("sdar/ALFWorld-v0").training(method="sdar", group_size=8)
        >>> algorithm = config.build_algo()
        >>> algorithm.train()

    Local by default: no remote runners, no remote learners, one process.
    """

    def __init__(self, algo_class: type | None = None):
        from sdar_gym.algorithms.sdar.algorithm import SDAR
        from sdar_gym.algorithms.sdar.env_runner import EpisodeRunner

        super().__init__(algo_class=algo_class or SDAR)
        self.method = "sdar"
        self.objective_overrides: dict[str, Any] = {}
        self.group_size = 8
        self.tasks_per_iteration = 16
        self.num_minibatches = 1
        self.micro_batch_tokens: int | None = None
        self.lr_warmup_updates = 0
        self.invalid_action_penalty = 0.1
        self.weight_decay = 0.01
        self.adam_betas = (0.9, 0.999)
        self.policy_settings = PolicySettings()
        self.skill_settings = SkillSettings()
        self.rollout_settings = RolloutSettings()
        self.panel_settings = EvaluationSettings()
        self.env_entry: EnvEntry | None = None
        # Filled in by `check`: what was left to the machine.
        self.gpus_left_open = {"num_gpus_per_env_runner", "num_gpus_per_learner"}
        self.sizes: TrainingSizes | None = None
        # What Tune is to choose in the sections, by attribute and setting.
        self.section_spaces: dict[str, dict[str, Any]] = {}

        self.framework_str = "torch"
        self.seed = 0
        self.lr = 1e-6
        self.grad_clip = 1.0
        self.grad_clip_by = "global_norm"
        self.num_epochs = 1
        self.num_env_runners = 0
        self.num_learners = 0
        # Whole episodes as tokens: RLlib's connectors, which build observations and batches, have nothing to do.
        self.env_runner_cls = EpisodeRunner
        self.batch_mode = "complete_episodes"
        self.episodes_to_numpy = False
        self.add_default_connectors_to_env_to_module_pipeline = False
        self.add_default_connectors_to_module_to_env_pipeline = False
        self.add_default_connectors_to_learner_pipeline = False
        self.merge_env_runner_states = False
        self.broadcast_env_runner_states = False
        # A lost runner costs its episodes of one update, not the run.
        self.restart_failed_env_runners = True

    def training(
        self,
        *,
        method: str = NotProvided,
        objective: dict[str, Any] = NotProvided,
        group_size: int = NotProvided,
        tasks_per_iteration: int = NotProvided,
        num_minibatches: int = NotProvided,
        micro_batch_tokens: int | None = NotProvided,
        lr_warmup_updates: int = NotProvided,
        invalid_action_penalty: float = NotProvided,
        weight_decay: float = NotProvided,
        adam_betas: tuple[float, float] = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the method and the update.

        Args:
            method: Name of a preset: `sdar`, `grpo`, …
            objective: Settings of the preset to change, such as `{"distill": {"coeff": 0.03}}`.
            group_size: Episodes of one task, at least 2.
            tasks_per_iteration: Groups an update.
            num_minibatches: Optimizer steps an epoch.
            micro_batch_tokens: Tokens of one forward and backward pass, padding included; bounds the memory. None
                decides by the model's size and the memory there is.
            lr_warmup_updates: Updates over which the learning rate rises linearly to `lr`.
            invalid_action_penalty: What a turn with an invalid answer is fined.
            weight_decay: Of AdamW.
            adam_betas: Of AdamW.
            **kwargs: RLlib's own: `lr`, `grad_clip`, `num_epochs`, …
        """
        super().training(**kwargs)
        for name, value in {
            "method": method,
            "objective_overrides": objective,
            "group_size": group_size,
            "tasks_per_iteration": tasks_per_iteration,
            "num_minibatches": num_minibatches,
            "micro_batch_tokens": micro_batch_tokens,
            "lr_warmup_updates": lr_warmup_updates,
            "invalid_action_penalty": invalid_action_penalty,
            "weight_decay": weight_decay,
            "adam_betas": adam_betas,
        }.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    def env_runners(self, **settings: Any) -> Self:
        """Sets the remote runners; see RLlib. GPUs that are not set are shared out, see `share_gpus`."""
        self.gpus_left_open = self.gpus_left_open - set(settings)
        return super().env_runners(**settings)

    def learners(self, **settings: Any) -> Self:
        """Sets the remote learners; see RLlib. GPUs that are not set are shared out, see `share_gpus`."""
        self.gpus_left_open = self.gpus_left_open - set(settings)
        return super().learners(**settings)

    def policy(self, **settings: Any) -> Self:
        """Sets the language model; see `PolicySettings`."""
        return self._set_section("policy_settings", settings)

    def skills(self, **settings: Any) -> Self:
        """Sets the teacher's skills; see `SkillSettings`."""
        return self._set_section("skill_settings", settings)

    def rollout(self, **settings: Any) -> Self:
        """Sets how episodes are played; see `RolloutSettings`."""
        return self._set_section("rollout_settings", settings)

    def panel(self, **settings: Any) -> Self:
        """Sets the evaluation panel; see `EvaluationSettings`."""
        return self._set_section("panel_settings", settings)

    def to_dict(self) -> dict[str, Any]:
        """All settings as dictionaries within a dictionary: where Tune looks for search spaces."""
        content = super().to_dict()
        spaces = content.pop("section_spaces")
        for attribute in _SECTIONS:
            content[attribute] = search_spaces.as_dict(content[attribute], spaces.get(attribute, {}))
        return content

    def update_from_dict(self, config_dict: Mapping[str, Any]) -> Self:
        """Take settings from a dictionary such as `to_dict` gives; a section may have some of its settings only."""
        sections = {name: value for name, value in config_dict.items() if name in _SECTIONS}
        super().update_from_dict({name: value for name, value in config_dict.items() if name not in sections})
        for attribute, value in sections.items():
            if isinstance(value, Mapping):
                self._set_section(attribute, value, plain=True)
            else:
                setattr(self, attribute, value)
        return self

    def _set_section(self, attribute: str, changes: Mapping[str, Any], *, plain: bool = False) -> Self:
        """Change settings of a section, or take them from dictionaries; spaces wait beside it until Tune has chosen."""
        section, kind = _SECTIONS[attribute]
        for name in changes:
            child_hint(kind, name, section, {})
        values, spaces = search_spaces.split(changes)
        before = getattr(self, attribute)
        after = build(kind, asdict(before) | values, section) if plain else replace(before, **values)
        setattr(self, attribute, after)
        kept = {name: space for name, space in self.section_spaces.get(attribute, {}).items() if name not in values}
        self.section_spaces = {**self.section_spaces, attribute: kept | spaces}
        return self

    @classmethod
    def from_run(cls, run: RunConfig) -> SDARConfig:
        """The configuration of a run that was read from YAML."""
        training, resources = run.training, run.resources
        for name in training.objective_by_algorithm:
            get_method(name)  # Refuses a name that no algorithm has, which would change nothing.
        config = cls().environment(run.env, env_config=dict(run.env_config))
        config.training(
            method=run.algorithm,
            objective=training.objective_of(run.algorithm),
            group_size=training.group_size,
            tasks_per_iteration=training.tasks_per_iteration,
            num_minibatches=training.num_minibatches,
            micro_batch_tokens=training.micro_batch_tokens,
            lr_warmup_updates=training.lr_warmup_updates,
            invalid_action_penalty=training.invalid_action_penalty,
            weight_decay=training.weight_decay,
            adam_betas=training.adam_betas,
            lr=training.lr,
            grad_clip=training.grad_clip,
            num_epochs=training.num_epochs,
        )
        config.env_runners(num_env_runners=resources.num_env_runners)
        config.learners(num_learners=resources.num_learners)
        if resources.num_gpus_per_env_runner is not None:
            config.env_runners(num_gpus_per_env_runner=resources.num_gpus_per_env_runner)
        if resources.num_gpus_per_learner is not None:
            config.learners(num_gpus_per_learner=resources.num_gpus_per_learner)
        # What RLlib would print about itself is noise here; a run has its own reports.
        config.debugging(seed=run.seed, log_level="ERROR")
        config.policy_settings, config.skill_settings = run.policy, run.skills
        config.rollout_settings, config.panel_settings = run.rollout, run.evaluation
        return config

    def get_method(self) -> Method:
        """The preset with the changes asked for."""
        return get_method(self.method).with_overrides(**self.objective_overrides)

    def get_objective(self) -> Objective:
        """The loss."""
        return self.get_method().objective

    def get_retriever(self) -> Retriever:
        """The retriever of the teacher's skills.

        Raises:
            ValueError: Unknown strategy or library, or an environment without skills.
        """
        return build_retriever(str(self.env), self.skill_settings)

    def get_default_learner_class(self) -> type:
        """The SDAR learner."""
        from sdar_gym.algorithms.sdar.learner import SDARLearner

        return SDARLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """A module that holds the language model."""
        from sdar_gym.algorithms.sdar.module import PolicyModule

        return RLModuleSpec(module_class=PolicyModule, model_config={})

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        settings = self.policy_settings
        return {
            "model": settings.model,
            "dtype": settings.dtype,
            "gradient_checkpointing": self.get_sizes().gradient_checkpointing,
            "lora": settings.lora,
            "temperature": self.rollout_settings.temperature,
            "entropy_gradient": self.get_objective().entropy_coeff > 0,
        }

    def validate(self) -> None:
        """Refuses senseless settings.

        Raises:
            ValueError: With the setting, its value and what to do.
        """
        super().validate()
        self.check()

    def check(self) -> None:
        """The part of `validate` that is the gym's own; needs no Ray.

        Raises:
            ValueError: With the setting, its value and what to do.
        """
        refuse_unread(self)
        waiting = [f"{_SECTIONS[at][0]}.{name}" for at, spaces in self.section_spaces.items() for name in spaces]
        if waiting:
            raise ValueError(
                f"{', '.join(waiting)}: search spaces are for Tune to choose from. Give the configuration to "
                "ray.tune.Tuner(..., param_space=config), or set values."
            )
        if self.env is None:
            raise ValueError("No environment: call .environment('sdar/ALFWorld-v0') or another registered id.")
        self.env_entry = self.env_entry or entry_of(str(self.env))
        prompt_template(str(self.env), self.rollout_settings.prompt)
        # One place says what makes sense: the data class.
        TrainingSettings(
            group_size=self.group_size,
            tasks_per_iteration=self.tasks_per_iteration,
            num_minibatches=self.num_minibatches,
            micro_batch_tokens=self.micro_batch_tokens,
            lr_warmup_updates=self.lr_warmup_updates,
            invalid_action_penalty=self.invalid_action_penalty,
            num_epochs=self.num_epochs,
            weight_decay=self.weight_decay,
            adam_betas=self.adam_betas,
            lr=self.lr,
            grad_clip=self.grad_clip,
            objective=self.objective_overrides,
        )
        self._check_teacher(self.get_method())
        if self.num_env_runners > 0:
            # A second full model on the driver would serve nothing.
            self.create_local_env_runner = False
        model = load_model_config(self.policy_settings.model)
        self.rollout_settings = self.rollout_settings.within(context_length(model))
        self._share_resources()
        self.sizes = None  # Chosen anew: a setting or the machine may have changed.
        self.get_sizes()

    def _share_resources(self) -> None:
        device, there = self.policy_settings.device, supply()
        open_ = self.gpus_left_open
        shares = share_gpus(
            device,
            there.gpus,
            num_env_runners=self.num_env_runners,
            num_learners=self.num_learners,
            per_env_runner=None if "num_gpus_per_env_runner" in open_ else self.num_gpus_per_env_runner,
            per_learner=None if "num_gpus_per_learner" in open_ else self.num_gpus_per_learner,
        )
        check_resources(
            shares,
            there,
            device=device,
            num_env_runners=self.num_env_runners,
            num_learners=self.num_learners,
            cpus_per_env_runner=self.num_cpus_per_env_runner,
            cpus_per_learner=self.num_cpus_per_learner,
        )
        self.num_gpus_per_env_runner, self.num_gpus_per_learner = shares.env_runner, shares.learner
        self.local_gpu_idx = int(device.partition(":")[2] or 0)

    def get_sizes(self) -> TrainingSizes:
        """Micro-batch and recomputation: what was set, else what fits the model and the learner's memory."""
        if self.sizes is None:
            policy, teacher = self.policy_settings, self.get_objective().teacher
            learns_on_gpu = self.num_gpus_per_learner > 0
            local_runner = self.num_env_runners == 0 and self.num_learners == 0
            kept = self.get_objective().kl_coeff > 0 or (teacher is not None and teacher.weights is not Weights.LIVE)
            # A model that waits in main memory takes none of a GPU's.
            kept = kept and (not learns_on_gpu or policy.teacher_residence == "device")
            self.sizes = choose_training_sizes(
                model_shape(policy.model),
                learner_machine(learns_on_gpu, self.local_gpu_idx),
                half=policy.dtype == "bfloat16",
                lora=policy.lora is not None,
                models_beside=int(local_runner) + int(kept),
                micro_batch_tokens=self.micro_batch_tokens,
                gradient_checkpointing=policy.gradient_checkpointing,
            )
        return self.sizes

    def _check_teacher(self, method: Method) -> None:
        retriever = self.get_retriever()
        teacher = method.objective.teacher
        reads_skills = method.acts_with_skills or (teacher is not None and teacher.view is View.SKILLS)
        if reads_skills and retriever.name == "none":
            who = (
                "trains a policy that reads skills" if method.acts_with_skills else "distils from a teacher with skills"
            )
            raise ValueError(
                f"algorithm={self.method} {who}, but skills.strategy is 'none': the teacher would be the student. "
                "Choose skills.strategy=oracle_type or bm25, or algorithm=grpo."
            )
        if teacher is None:
            return
        if teacher.model is not None:
            check_external_teacher(teacher.model, self.policy_settings.model, method.objective.distill)
        if teacher.after_rollout and method.acts_with_skills:
            raise ValueError(
                f"teacher.view={str(teacher.view)!r} writes over the student's own prompt, which has skills in it here."
            )
        if teacher.view is View.SOLUTION and expert_of(str(self.env)) is None:
            raise ValueError(
                f"algorithm={self.method} shows its teacher a solution, but {self.env} registers no expert that could "
                "give one. Register it with expert='module:Class', or set objective.teacher.view, to 'sibling' say."
            )

    @property
    def seed_or_zero(self) -> int:
        """The run's seed."""
        return int(self.seed or 0)
