"""Ray Tune over SDAR: a search whose trials are judged by the panel's success, with ASHA or PBT, and its restoring.

python examples/ray_tune/search.py --storage ~/searches             # a new search
python examples/ray_tune/search.py --storage ~/searches --restore   # go on with one that was interrupted
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler

from sdar_gym.algorithms.sdar import SDARConfig
from sdar_gym.configs import load_config

# The share of the panel's tasks that succeed, at the last evaluation.
METRIC = "panel/success"


def search_space(changes: list[str], interval: int) -> Any:
    """The quick start with search spaces, in any section; every trial is judged on the same panel.

    Args:
        changes: `key=value`, as on the command line.
        interval: Updates between two evaluations.
    """
    config = SDARConfig.from_run(load_config("quickstart", changes))
    config.training(
        lr=tune.loguniform(1e-4, 3e-3),
        objective={**config.training_settings.objective, "distill": {"coeff": tune.loguniform(0.1, 3.0)}},
    )
    config.skills(strategy=tune.choice(["oracle_type", "bm25"]))
    config.rollout(temperature=tune.uniform(0.8, 1.2))
    return config.evaluation(evaluation_interval=interval)


def scheduler(name: str, updates: int, interval: int) -> TrialScheduler:
    """Stops trials that are behind (`asha`), or lets them go on from better ones with other settings (`pbt`)."""
    if name == "asha":
        return ASHAScheduler(time_attr="training_iteration", grace_period=interval, max_t=updates, reduction_factor=2)
    return PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2 * interval,
        quantile_fraction=0.5,
        hyperparam_mutations={"lr": tune.loguniform(1e-4, 3e-3)},
    )


def search(arguments: argparse.Namespace) -> Any:
    """Runs or restores the search."""
    place = f"{arguments.storage.rstrip('/')}/{arguments.name}"
    space = search_space(arguments.changes, arguments.interval)
    if arguments.restore:
        tuner = tune.Tuner.restore(place, trainable="SDAR", param_space=space, resume_errored=True)
    else:
        tuner = tune.Tuner(
            "SDAR",
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                num_samples=arguments.samples,
                scheduler=scheduler(arguments.scheduler, arguments.updates, arguments.interval),
            ),
            run_config=tune.RunConfig(
                name=arguments.name,
                storage_path=arguments.storage,
                stop={"training_iteration": arguments.updates},
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=arguments.interval,
                    checkpoint_at_end=True,
                    # PBT copies a checkpoint while its trial goes on and would delete it.
                    num_to_keep=None if arguments.scheduler == "pbt" else 2,
                ),
                failure_config=tune.FailureConfig(max_failures=3),
                verbose=1,
            ),
        )
    return tuner.fit()


def main(given: list[str] | None = None) -> Any:
    """Reads the command line, searches, and prints the trials from the best to the worst."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", help="settings of all trials, key=value")
    parser.add_argument("--storage", default=str(Path.home() / "ray_results"), help="folder or address (s3://…)")
    parser.add_argument("--name", default="sdar-search")
    parser.add_argument("--scheduler", choices=["asha", "pbt"], default="asha")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--interval", type=int, default=5, help="updates between two evaluations")
    parser.add_argument("--restore", action="store_true", help="go on with an interrupted search")
    arguments = parser.parse_args(given)
    if "://" not in arguments.storage:
        arguments.storage = str(Path(arguments.storage).expanduser().resolve())
    if not ray.is_initialized():
        # Within `ray job submit` this is the job's cluster; elsewhere a Ray of its own.
        ray.init(log_to_driver=False)
    results = search(arguments)
    for result in sorted(results, key=lambda each: -each.metrics["panel"]["success"]):
        settings = result.config
        print(
            f"success {result.metrics['panel']['success']:.3f} after {result.metrics['training_iteration']} "
            f"updates: lr {settings['lr']:.2g}, strategy {settings['skill_settings']['strategy']}, temperature "
            f"{settings['rollout_settings']['temperature']:.2f}, distill.coeff "
            f"{settings['training_settings']['objective']['distill']['coeff']:.2g}"
        )
    if results.errors:
        raise SystemExit(f"{len(results.errors)} of {len(results)} trials failed: {results.errors[0]}")
    print(f"best policy: {results.get_best_result().checkpoint.path}")
    return results


if __name__ == "__main__":
    main()
