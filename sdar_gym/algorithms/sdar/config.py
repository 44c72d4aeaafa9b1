"""`SDARConfig`: an ordinary RLlib `AlgorithmConfig`, for every method."""

# RLlib declares most of what its classes get at run time as optional or not at all.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false, reportPrivateImportUsage=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false, reportIncompatibleVariableOverride=false
# pyright: reportReturnType=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, Self

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override
from ray.tune.error import TuneError
from ray.tune.registry import get_trainable_cls, register_trainable

from sdar_gym.algorithms.methods import Method, get_method
from sdar_gym.algorithms.objectives.teacher import Weights
from sdar_gym.algorithms.sdar import search_spaces
from sdar_gym.algorithms.sdar.config_checks import check_precision, check_staleness, check_teacher
from sdar_gym.algorithms.sdar.env_runner import EpisodeRunner
from sdar_gym.algorithms.sdar.learner import SDARLearner
from sdar_gym.algorithms.sdar.learner_group import SDARLearnerGroup
from sdar_gym.algorithms.sdar.module import PolicyModule
from sdar_gym.algorithms.sdar.resources import check_resources, gpus_of_engine, share_gpus, supply
from sdar_gym.algorithms.sdar.unread import refuse_unread
from sdar_gym.configs.reading import child_hint
from sdar_gym.configs.sections import (
    EvaluationSettings,
    PolicySettings,
    RolloutSettings,
    SkillSettings,
    TrainingSettings,
)
from sdar_gym.envs.prompting import prompt_template
from sdar_gym.envs.registry import EnvEntry, entry_of, load_modules
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.device import choose_device
from sdar_gym.policy.load import load_model_config
from sdar_gym.policy.sizing import TrainingSizes, choose_training_sizes, learner_machine, model_shape
from sdar_gym.rollout.build import build_control_texts, build_retriever
from sdar_gym.rollout.engines.registry import check_engine, engine_factory
from sdar_gym.settings import Settings
from sdar_gym.skills import Retriever
from sdar_gym.text import closest

if TYPE_CHECKING:
    from sdar_gym.configs.schema import RunConfig

# Sections by attribute: the fluent method's name, and the data class in which settings are declared.
_SECTIONS: dict[str, tuple[str, type[Settings]]] = {
    "policy_settings": ("policy", PolicySettings),
    "skill_settings": ("skills", SkillSettings),
    "rollout_settings": ("rollout", RolloutSettings),
    "training_settings": ("training", TrainingSettings),
    "evaluation_settings": ("evaluation", EvaluationSettings),
}
# Settings that RLlib has as attributes of its own: there they are read, and searched by Tune.
_RLLIB_NAMES: dict[str, dict[str, str]] = {
    "training_settings": {"lr": "lr", "grad_clip": "grad_clip", "num_epochs": "num_epochs"},
    "evaluation_settings": {"interval": "evaluation_interval"},
}


def _known_to_tune(algorithm: type) -> None:
    """Registers the name again where another Ray instance of this process is over: it took its names with it."""
    try:
        get_trainable_cls("SDAR")
    except TuneError:
        register_trainable("SDAR", algorithm)


class SDARConfig(AlgorithmConfig):
    """Configuration of SDAR and of every method that is a preset of the same learner.

    Example:
        >>> config = SDARConfig().environment("sdar/ALFWorld-v0").training(method="sdar", group_size=8)
        >>> algorithm = config.build_algo()
        >>> algorithm.train()

    Local by default: no remote runners, no remote learners, one process.
    """

    policy_settings: PolicySettings
    skill_settings: SkillSettings
    rollout_settings: RolloutSettings
    training_settings: TrainingSettings
    evaluation_settings: EvaluationSettings

    def __init__(self, algo_class: type | None = None):
        from sdar_gym.algorithms.sdar.algorithm import SDAR

        super().__init__(algo_class=algo_class or SDAR)
        _known_to_tune(SDAR)
        self.method = "sdar"
        for attribute, (_, kind) in _SECTIONS.items():
            setattr(self, attribute, kind())
        self.imported_modules: tuple[str, ...] = ()
        self.env_entry: EnvEntry | None = None
        # Filled in by `check`: what was left to the machine.
        self.gpus_left_open = {"num_gpus_per_env_runner", "num_gpus_per_learner"}
        self.sizes: TrainingSizes | None = None
        # Search spaces of Tune in the sections, by attribute and setting.
        self.section_spaces: dict[str, dict[str, Any]] = {}

        self.framework_str = "torch"
        self.seed = 0
        self.grad_clip_by = "global_norm"
        for attribute in _RLLIB_NAMES:
            self._copy_to_rllib(attribute)
        self.num_env_runners = 0
        self.num_learners = 0
        self.shard_optimizer: bool | None = None
        # Gradients are then in DDP's buckets only, and not beside them.
        self.torch_ddp_kwargs = {"gradient_as_bucket_view": True}
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
        # A runner that has no place yet is asked at every update; RLlib would wait half a minute each time.
        self.env_runner_health_probe_timeout_s = 1.0

    @override(AlgorithmConfig)
    def training(self, **settings: Any) -> Self:
        """Sets the method and the update.

        Args:
            **settings: `method`, the name of a preset; the settings of `TrainingSettings`; and RLlib's own.
        """
        self.method = settings.pop("method", self.method)
        own = {name: settings.pop(name) for name in list(settings) if name in _names("training_settings")}
        _refuse_unknown("training", settings, {"method", *_names("training_settings")})
        if settings:
            super().training(**settings)
        return self._set_section("training_settings", own)

    @override(AlgorithmConfig)
    def evaluation(self, **settings: Any) -> Self:
        """Sets the evaluation on a fixed set of tasks.

        Args:
            **settings: The settings of `EvaluationSettings`, and RLlib's `evaluation_interval`.
        """
        own = {name: settings.pop(name) for name in list(settings) if name in _names("evaluation_settings")}
        _refuse_unknown("evaluation", settings, _names("evaluation_settings"))
        if settings:
            super().evaluation(**settings)
        return self._set_section("evaluation_settings", own)

    @override(AlgorithmConfig)
    def env_runners(self, **settings: Any) -> Self:
        """Sets the remote runners; see RLlib. GPUs that are not set are distributed by `share_gpus`."""
        self.gpus_left_open = self.gpus_left_open - set(settings)
        return super().env_runners(**settings)

    @override(AlgorithmConfig)
    def learners(self, **settings: Any) -> Self:
        """Sets the remote learners; see RLlib. GPUs that are not set are distributed by `share_gpus`.

        Args:
            **settings: RLlib's, and `shard_optimizer` of `ResourceSettings`.
        """
        self.shard_optimizer = settings.pop("shard_optimizer", self.shard_optimizer)
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

    def imports(self, *modules: str) -> Self:
        """Names the modules that register gates, shapers, metrics, engines or environments of your own.

        They are imported in every process of a run: driver, runners and learners.

        Args:
            *modules: Dotted names, such as `my_package.gates`.

        Raises:
            ValueError: There is no such module, or its import failed.
        """
        load_modules(modules)
        self.imported_modules = modules
        return self

    @override(AlgorithmConfig)
    def to_dict(self) -> dict[str, Any]:
        """All settings as dictionaries within a dictionary, where Tune finds search spaces."""
        content = super().to_dict()
        spaces = content.pop("section_spaces")
        for attribute in _SECTIONS:
            section = search_spaces.as_dict(content[attribute], spaces.get(attribute, {}))
            for name in _RLLIB_NAMES.get(attribute, {}):
                section.pop(name)  # RLlib's attribute has it.
            content[attribute] = section
        return content

    @override(AlgorithmConfig)
    def update_from_dict(self, config_dict: Mapping[str, Any]) -> Self:
        """Takes settings from a dictionary such as `to_dict` gives; a section may have some of its settings only."""
        sections = {name: value for name, value in config_dict.items() if name in _SECTIONS}
        flat = {name: value for name, value in config_dict.items() if name not in sections}
        # Flat names, as RLlib users write them: `{"group_size": 4}`.
        own = {
            name: flat.pop(name)
            for name in list(flat)
            if name in _names("training_settings") and name not in vars(self)
        }
        super().update_from_dict(flat)
        for attribute, value in [*sections.items(), ("training_settings", own)]:
            if isinstance(value, Mapping):
                self._set_section(attribute, value, plain=True)
            else:
                setattr(self, attribute, value)
        return self

    def _set_section(self, attribute: str, changes: Mapping[str, Any], *, plain: bool = False) -> Self:
        """Changes settings of a section; search spaces are kept aside until Tune has chosen."""
        name, kind = _SECTIONS[attribute]
        for key in changes:
            child_hint(kind, key, name, {})
        rllib = _RLLIB_NAMES.get(attribute, {})
        for key in rllib.keys() & changes.keys():
            setattr(self, rllib[key], changes[key])
        values, spaces = search_spaces.split(changes)
        before = getattr(self, attribute)
        after = kind.build(name, asdict(before) | values) if plain else replace(before, **values)
        setattr(self, attribute, after)
        waiting = {key: space for key, space in spaces.items() if key not in rllib}
        kept = {key: space for key, space in self.section_spaces.get(attribute, {}).items() if key not in values}
        self.section_spaces = {**self.section_spaces, attribute: kept | waiting}
        return self

    def _copy_to_rllib(self, attribute: str) -> None:
        for name, rllib_name in _RLLIB_NAMES[attribute].items():
            setattr(self, rllib_name, getattr(getattr(self, attribute), name))

    @classmethod
    def from_run(cls, run: RunConfig) -> SDARConfig:
        """The configuration of a run that was read from YAML."""
        for name in run.training.objective_by_method:
            get_method(name)  # Refuses a name that no method has, which would change nothing.
        config = cls().imports(*run.imports).environment(run.env, env_config=dict(run.env_config))
        config.method = run.method
        config.policy_settings, config.skill_settings, config.rollout_settings = run.policy, run.skills, run.rollout
        config.training_settings = replace(
            run.training, objective=run.training.objective_of(run.method), objective_by_method={}
        )
        config.evaluation_settings = run.evaluation
        config.evaluation_num_env_runners = run.resources.num_evaluation_runners
        for attribute in _RLLIB_NAMES:
            config._copy_to_rllib(attribute)
        given = {name: value for name, value in asdict(run.resources).items() if value is not None}
        config.env_runners(**{name: value for name, value in given.items() if "env_runner" in name})
        config.learners(**{name: value for name, value in given.items() if name.endswith(("learner", "learners"))})
        config.shard_optimizer = run.resources.shard_optimizer
        # What RLlib would print about itself is noise here; a run has its own reports.
        return config.debugging(seed=run.seed, log_level="ERROR")

    def get_method(self) -> Method:
        """The preset with the changes of `training(objective=...)`."""
        load_modules(self.imported_modules)
        return get_method(self.method).with_overrides(self.training_settings.objective)

    def get_retriever(self) -> Retriever:
        """The retriever of the teacher's skills.

        Raises:
            ValueError: Unknown strategy or library, or an environment without skills.
        """
        return build_retriever(str(self.env), self.skill_settings)

    def get_control_texts(self) -> dict[str, str] | None:
        """The texts that the teacher's skills are compared with, by skill; None without `distill.contrast`.

        Raises:
            ValueError: The library has no such control.
        """
        distill = self.get_method().objective.distill
        if distill is None or not distill.contrasts:
            return None
        return build_control_texts(str(self.env), self.skill_settings, str(distill.contrast))

    @property
    def shards_optimizer(self) -> bool:
        """Whether learners share out the optimizer's state: as set, else where several train the whole model."""
        if self.shard_optimizer is not None:
            return self.shard_optimizer
        return self.num_learners > 1 and self.policy_settings.lora is None

    @override(AlgorithmConfig)
    def build_learner_group(self, *, rl_module_spec: Any = None, placement_group: Any = None, **spaces: Any) -> Any:
        """RLlib's group of learners, with the state of an optimizer that they share."""
        spec = rl_module_spec or self.get_multi_rl_module_spec(**spaces)
        return SDARLearnerGroup(config=self.copy(), module_spec=spec, placement_group=placement_group)

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type:
        """The SDAR learner."""
        return SDARLearner

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """A module that holds the language model."""
        return RLModuleSpec(module_class=PolicyModule, model_config={})

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        settings = self.policy_settings
        return {
            "model": settings.model,
            "dtype": settings.dtype,
            "half_weights": settings.half_weights,
            "gradient_checkpointing": self.get_sizes().gradient_checkpointing,
            "lora": settings.lora,
            "temperature": self.rollout_settings.temperature,
            "entropy_gradient": self.get_method().objective.entropy_coeff > 0,
        }

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Refuses senseless settings.

        Raises:
            ValueError: With the setting, its value and what to do.
        """
        super().validate()
        if self.in_evaluation:  # RLlib's copy of a checked configuration, for the evaluation's own runners.
            self.create_local_env_runner = False
        else:
            self.check()

    def check(self) -> None:
        """The gym's own part of `validate`; needs no Ray.

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
        load_modules(self.imported_modules)
        if self.env is None:
            raise ValueError("No environment: call .environment('sdar/ALFWorld-v0') or another registered id.")
        self.env_entry = self.env_entry or entry_of(str(self.env))
        self._copy_from_rllib()
        prompt_template(str(self.env), self.rollout_settings.prompt)
        engine_factory(self.rollout_settings.engine)
        check_teacher(self.get_method(), self.get_retriever(), str(self.env), self.policy_settings.model)
        self.get_control_texts()
        check_staleness(self.training_settings.max_staleness, self.num_env_runners)
        check_precision(self.get_method(), self.policy_settings.half_weights)
        if self.num_env_runners > 0:
            # A second full model on the driver would have no use.
            self.create_local_env_runner = False
        model = load_model_config(self.policy_settings.model)
        self.rollout_settings.refuse_longer_than(context_length(model))
        self.rollout_settings = self.rollout_settings.within(context_length(model))
        self._share_resources()
        if self.num_env_runners > 0:
            plays_on_gpu = self.num_gpus_per_env_runner > 0
        else:
            plays_on_gpu = choose_device(self.policy_settings.device).type == "cuda"
        check_engine(self.policy_settings, self.rollout_settings, on_gpu=plays_on_gpu)
        self.sizes = None  # Chosen again: a setting or the machine may have changed.
        self.get_sizes()

    def _copy_from_rllib(self) -> None:
        """Checks what was set on RLlib's attributes by the rules of the sections."""
        for attribute, names in _RLLIB_NAMES.items():
            values = {name: getattr(self, rllib_name) for name, rllib_name in names.items()}
            # None switches RLlib's evaluation off; the interval still says when diagnostics are collected.
            values = {name: value for name, value in values.items() if name != "interval" or value is not None}
            setattr(self, attribute, replace(getattr(self, attribute), **values))

    def _share_resources(self) -> None:
        device, available = self.policy_settings.device, supply()
        open_, vllm = self.gpus_left_open, self.rollout_settings.vllm
        runners = self.num_env_runners + self.evaluation_num_env_runners
        per_env_runner = gpus_of_engine(
            None if "num_gpus_per_env_runner" in open_ else self.num_gpus_per_env_runner,
            1 if vllm is None or device == "cpu" else vllm.tensor_parallel_size,
            num_env_runners=runners,
            available=available,
        )
        shares = share_gpus(
            device,
            available.gpus,
            num_env_runners=runners,
            num_learners=self.num_learners,
            per_env_runner=per_env_runner,
            per_learner=None if "num_gpus_per_learner" in open_ else self.num_gpus_per_learner,
        )
        check_resources(
            shares,
            available,
            device=device,
            num_env_runners=runners,
            num_learners=self.num_learners,
            cpus_per_env_runner=self.num_cpus_per_env_runner,
            cpus_per_learner=self.num_cpus_per_learner,
        )
        self.num_gpus_per_env_runner, self.num_gpus_per_learner = shares.env_runner, shares.learner
        self.local_gpu_idx = int(device.partition(":")[2] or 0)

    def get_sizes(self) -> TrainingSizes:
        """Micro-batch and gradient checkpointing: as set, else what fits the model and the learner's memory."""
        if self.sizes is None:
            policy, objective = self.policy_settings, self.get_method().objective
            learns_on_gpu = self.num_gpus_per_learner > 0
            local_runner = self.num_env_runners == 0 and self.num_learners == 0
            teacher = objective.teacher
            stored = objective.kl_coeff > 0 or (teacher is not None and teacher.weights is not Weights.LIVE)
            # An offloaded model uses no GPU memory.
            stored = stored and not (learns_on_gpu and policy.offload_teacher)
            self.sizes = choose_training_sizes(
                model_shape(policy.model),
                learner_machine(learns_on_gpu, self.local_gpu_idx),
                half=policy.dtype == "bfloat16",
                lora=policy.lora is not None,
                models_beside=int(local_runner) + int(stored),
                micro_batch_tokens=self.training_settings.micro_batch_tokens,
                gradient_checkpointing=policy.gradient_checkpointing,
                half_weights=policy.half_weights,
                # Those of one machine without GPUs share its memory.
                learners=max(1, self.num_learners) if learns_on_gpu else 1,
                sharded=self.shards_optimizer,
            )
        return self.sizes

    @property
    def seed_or_zero(self) -> int:
        """The run's seed."""
        return int(self.seed or 0)


def _refuse_unknown(section: str, settings: Mapping[str, Any], own: set[str]) -> None:
    """Refuses names that neither the gym nor RLlib has in a section."""
    known = own | set(signature(getattr(AlgorithmConfig, section)).parameters) - {"self", "kwargs"}
    for name in settings:
        if name not in known:
            near = closest(name, known)
            hint = f" Did you mean {section}.{near}?" if near else f" Known here: {', '.join(sorted(own))}."
            raise ValueError(f"Unknown setting {section}.{name}.{hint}")


def _names(attribute: str) -> set[str]:
    """The settings of a section."""
    return {each.name for each in fields(_SECTIONS[attribute][1])}
