"""Study: arms to compare in a setting, what is tuned on which panel, and the runs that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

# Seeds of the runs that choose settings; those of the final runs count from 0.
FIRST_TUNING_SEED = 100


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of a table: settings beside those of the study's setting.

    Attributes:
        name: Its name in tables.
        changes: `key=value`, the method included.
        tuned: The setting that is chosen on the validation panel, or empty.
        values: The values that are tried.
    """

    name: str
    changes: tuple[str, ...]
    tuned: str = ""
    values: tuple[str, ...] = ()

    def settings(self, value: str | None) -> tuple[str, ...]:
        """The changes with a value of the tuned setting.

        Args:
            value: One of `values`; None for an arm without.
        """
        return self.changes if value is None else (*self.changes, f"{self.tuned}={value}")


@dataclass(frozen=True, slots=True)
class Setting:
    """What all arms of a part share.

    Attributes:
        config: A configuration by name.
        changes: `key=value`.
        validation: The panel on which settings are chosen, as changes.
        test: The panel of the results, as changes.
    """

    config: str
    changes: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a study: arms in a setting.

    Attributes:
        name: For `--only`, and in the results.
        title: In a few words.
        setting: What the arms share.
        arms: The arms.
        base: The part whose chosen values hold for arms of the same name here, and whose runs count for an arm that is
            the same there; None to tune.
        baseline: Name of the arm that differences are to.
        in_figure: Whether the study's figure shows it beside other parts.
    """

    name: str
    title: str
    setting: Setting
    arms: tuple[Arm, ...]
    base: Part | None = None
    baseline: str = "grpo"
    in_figure: bool = True

    @property
    def tuned_in(self) -> Part:
        """The part whose tuning runs choose the values of this one."""
        return self.base or self

    def home(self, arm: Arm) -> Part:
        """The part to which an arm's test runs belong: the base where it trains the same, so that it is played once.

        Evaluations in between, which may differ, change nothing in training.
        """
        base, setting = self.base, self.setting
        if base is None or arm not in base.arms:
            return self
        same = (base.setting.config, base.setting.changes) == (setting.config, setting.changes)
        return base if same else self


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study.

    Attributes:
        part: Name of the part.
        arm: Name of the arm.
        value: Value of the arm's tuned setting; None without one.
        seed: Seed of the run.
        stage: `tuning` or `test`.
        config: Configuration by name.
        changes: All its changes.
    """

    part: str
    arm: str
    value: str | None
    seed: int
    stage: str
    config: str
    changes: tuple[str, ...] = field(compare=False)

    @property
    def key(self) -> tuple[str, str, str | None, int, str]:
        """What identifies it in a log."""
        return self.part, self.arm, self.value, self.seed, self.stage


def tuning_jobs(part: Part, seeds: int) -> Iterator[Job]:
    """The runs that choose settings: as many for every arm with something to choose.

    Args:
        part: The part.
        seeds: Number of seeds.
    """
    for seed in range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + seeds):
        for arm in part.arms:
            for value in arm.values:
                yield _job(part, arm, value, seed, "tuning", part.setting.validation)


def final_jobs(part: Part, chosen: Mapping[str, str], seeds: Sequence[int]) -> Iterator[Job]:
    """The runs of the table, seed by seed, so that an interrupted study has whole pairs.

    Args:
        part: The part.
        chosen: Value of the tuned setting of each arm that has one.
        seeds: Seeds; runs of one seed begin with the same weights and play the same tasks.
    """
    for seed in seeds:
        for arm in part.arms:
            value = chosen[arm.name] if arm.values else None
            home = part.home(arm)
            yield _job(home, arm, value, seed, "test", home.setting.test)


def _job(part: Part, arm: Arm, value: str | None, seed: int, stage: str, panel: tuple[str, ...]) -> Job:
    changes = (*part.setting.changes, *panel, *arm.settings(value), f"seed={seed}")
    return Job(part.name, arm.name, value, seed, stage, part.setting.config, changes)


def chosen_values(part: Part, rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """For each arm the value with the best mean success on the validation panel; the first one of equal means.

    Args:
        part: The part.
        rows: Results of its tuning runs.
    """
    result: dict[str, str] = {}
    for arm in part.arms:
        means: dict[str, float] = {}
        for value in arm.values:
            found = [row for row in rows if row["arm"] == arm.name and row["value"] == value]
            if found:
                means[value] = sum(float(str(row["success"])) for row in found) / len(found)
        if means:
            result[arm.name] = max(means, key=lambda value: means[value])
    return result
