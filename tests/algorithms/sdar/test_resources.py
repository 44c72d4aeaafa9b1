"""CPUs and GPUs that are asked for and not there are one message before Ray starts."""

from __future__ import annotations

import pytest
import ray
import torch

from sdar_gym.algorithms.sdar import SDARConfig
from sdar_gym.algorithms.sdar.resources import (
    GpuShares,
    ResourceError,
    Supply,
    check_resources,
    gpus_of_engine,
    share_gpus,
)
from sdar_gym.configs import load_config
from sdar_gym.policy.device import DeviceError
from sdar_gym.runs.check import check_run


@pytest.mark.parametrize(
    ("gpus", "runners", "learners", "learner", "runner"),
    [
        (0, 0, 0, 0, 0),
        (0, 2, 1, 0, 0),
        (1, 0, 0, 1, 0),
        (
            1,
            2,
            0,
            1,
            0.25,
        ),  # The learner in the driver takes its GPU without asking Ray, which shares the same one out.
        (1, 1, 1, 0.5, 0.5),
        (2, 1, 1, 1, 1),
        (2, 4, 1, 1, 0.25),
        (8, 4, 4, 1, 1),
        (4, 2, 4, 1, 0),
        (1, 0, 2, 0, 0),  # Too few for all learners: none.
    ],
)
def test_gpus_are_shared_out(gpus: int, runners: int, learners: int, learner: float, runner: float) -> None:
    shares = share_gpus(
        "auto", gpus, num_env_runners=runners, num_learners=learners, per_env_runner=None, per_learner=None
    )
    assert shares == GpuShares(learner, runner)
    check_resources(
        shares,
        Supply(64, gpus, "this machine"),
        device="auto",
        num_env_runners=runners,
        num_learners=learners,
        cpus_per_env_runner=1,
        cpus_per_learner="auto",
    )


def test_what_was_set_is_kept_and_the_cpu_needs_no_gpu() -> None:
    counts = {"num_env_runners": 2, "num_learners": 1}
    assert share_gpus("auto", 8, per_env_runner=0.5, per_learner=2, **counts) == GpuShares(2, 0.5)
    assert share_gpus("cpu", 8, per_env_runner=None, per_learner=None, **counts) == GpuShares(0, 0)


@pytest.mark.parametrize(
    ("shares", "runners", "learners", "message"),
    [
        (GpuShares(0, 0), 3, 0, r"3 env runner\(s\) and 0 learner\(s\) need 3 CPUs, this machine has 2"),
        (GpuShares(0, 0), 1, 2, r"need 3 CPUs"),
        (GpuShares(1, 0), 0, 0, r"need 1 GPUs, this machine has 0. Lower resources.num_gpus_per_env_runner"),
        (GpuShares(0, 0.5), 1, 0, r"1 env runner\(s\) with 0.5 GPU\(s\) each"),
    ],
)
def test_more_than_available_is_refused(shares: GpuShares, runners: int, learners: int, message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        check_resources(
            shares,
            Supply(2, 0, "this machine"),
            device="auto",
            num_env_runners=runners,
            num_learners=learners,
            cpus_per_env_runner=1,
            cpus_per_learner="auto",
        )


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("resources.num_gpus_per_learner=1", ResourceError),
        ("resources.num_env_runners=100000", ResourceError),
        ("policy.device=cuda", DeviceError),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_check_before_a_run_finds_it_without_ray(change: str, kind: type[Exception]) -> None:
    running = ray.is_initialized()  # Other tests of this process may have started one.
    with pytest.raises(kind):
        check_run(load_config("quickstart", [change]))
    assert ray.is_initialized() == running


@pytest.mark.parametrize(
    ("wanted", "parallel", "runners", "gpus", "result"),
    [
        (None, 1, 2, 4, None),
        (0.5, 1, 2, 4, 0.5),
        (None, 2, 0, 2, None),  # The driver takes its GPUs without Ray.
        (None, 2, 1, 4, 2.0),
        (2.0, 2, 1, 4, 2.0),
        (None, 2, 1, 0, None),  # On the CPU it is processes.
    ],
)
def test_an_engine_over_several_gpus_is_given_them(
    wanted: float | None, parallel: int, runners: int, gpus: int, result: float | None
) -> None:
    assert gpus_of_engine(wanted, parallel, num_env_runners=runners, available=Supply(8, gpus, "here")) == result


@pytest.mark.parametrize(
    ("wanted", "runners", "gpus", "message"),
    [
        (None, 0, 1, r"tensor_parallel_size=2 needs as many GPUs for each engine, and here has 1\."),
        (1.0, 1, 4, r"tensor_parallel_size=2 needs as many .* and resources.num_gpus_per_env_runner has 1\."),
        (None, 2, 4, r"takes 4 GPUs for 2 env runner\(s\) and leaves none for the learner: here has 4\."),
    ],
)
def test_too_few_gpus_for_an_engine_over_several_are_refused(
    wanted: float | None, runners: int, gpus: int, message: str
) -> None:
    with pytest.raises(ResourceError, match=message):
        gpus_of_engine(wanted, 2, num_env_runners=runners, available=Supply(8, gpus, "here"))


def test_runners_of_the_evaluation_count_as_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_gym.algorithms.sdar.config.supply", lambda: Supply(64, 3, "this machine"))

    def shares(runners: int, evaluation: int) -> tuple[float, float]:
        config = SDARConfig().env_runners(num_env_runners=runners).learners(num_learners=1)
        config.evaluation(evaluation_num_env_runners=evaluation)
        config._share_resources()
        return config.num_gpus_per_learner, config.num_gpus_per_env_runner

    assert shares(2, 0) == shares(1, 1) == (1, 1)
    assert shares(2, 2) == (1, 0.5)
    run = load_config("quickstart", ["resources.num_env_runners=1", "resources.num_evaluation_runners=2"])
    config = SDARConfig.from_run(run)
    assert (config.num_env_runners, config.evaluation_num_env_runners) == (1, 2)
    monkeypatch.undo()
    with pytest.raises(ResourceError, match=r"10001 env runner\(s\) and 0 learner\(s\) need 10001 CPUs"):
        SDARConfig.from_run(
            load_config("quickstart", ["resources.num_env_runners=1", "resources.num_evaluation_runners=10000"])
        )._share_resources()
