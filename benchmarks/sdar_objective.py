"""Measures the gradient of SDAR's distillation term on on-policy samples, next to that of related terms.

    python benchmarks/sdar_objective.py [--updates 12] [--training-seeds 3] [--jobs 2]
    python benchmarks/sdar_objective.py --page

Episodes are those of the quick start (the tiny policy, generated small rooms, teacher prompts with one skill). At every
state in which a token was sampled, the whole distributions of student (p) and teacher (q) are computed, so that
expectations over the student's next token are sums and not samples. With Δ = log q - log p and any weight ψ of a token,
the loss -ψ log p of the sampled token moves the logits, on average, along p·(ψ - E_p ψ):

    sdar        ψ = σ(5Δ)      constant  ψ = 1/2      rkl  ψ = Δ, minus the gradient of KL(p‖q)
    forward_ce  q - p, minus the gradient of the cross-entropy to q; needs no sample

Writes benchmarks/results/sdar_objective.json. Intervals are 95 % bootstrap intervals over tasks (the eight episodes of
a task stay together). `--page` only writes the tables of that file into docs/what-sdar-optimizes.md. To try it:
`--updates 1 --training-seeds 1 --training-updates 1 --out FILE`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

from sdar_gym.algorithms.methods.sdar import SigmoidGate
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.configs import RunConfig, load_config
from sdar_gym.policy.chunked_head import head_of, response_tokens
from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.rollout.build import build_collector, build_retriever
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import SamplingParams
from sdar_gym.rollout.engines.transformers_engine import engine_of
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.sampler import TaskSampler
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.training.diagnostics import TOLERANCE
from sdar_gym.training.token_classes import token_classes
from sdar_gym.training.turn_batch import turn_batch

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "sdar_objective.json"
PAGE = ROOT / "docs" / "what-sdar-optimizes.md"
BETA = SigmoidGate().beta
TERMS = ("sdar", "constant", "rkl", "forward_ce")
SAMPLED = ("sdar", "sdar_centred", "constant", "rkl")
# Bins of the student's probability of the teacher's most likely token.
EDGES = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 1.0)
BOOTSTRAP = 2000
ROWS = 96  # Rows of one forward pass.

# Arms of the training comparison; what they change in the quick start.
ARMS = {
    "grpo": ("grpo", None),
    "sdar 0.03": ("sdar", 0.03),
    "grpo_opsd_sdar_repo 0.03": ("grpo_opsd_sdar_repo", 0.03),
    "grpo_opsd 0.03": ("grpo_opsd", 0.03),
    "frozen_ce 0.03": ("frozen_ce", 0.03),
    "frozen_ce 0.4": ("frozen_ce", 0.4),
}

# Group, student prompt, teacher prompt and response: turns with the same key have the same distributions.
Key = tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Prompted:
    """A turn with the token ids before its response; those of the teacher are empty where it has no teacher."""

    turn: TurnRecord
    prompt_ids: tuple[int, ...]
    teacher_prompt_ids: tuple[int, ...]

    def key(self, group: int) -> Key:
        """What tells it from other turns of its group."""
        return group, self.prompt_ids, self.teacher_prompt_ids, tuple(self.turn.response_ids)


def directions(logp_NV: Tensor, logq_NV: Tensor) -> dict[str, Tensor]:
    """Per state: minus the expected gradient with respect to the logits, of each term with coefficient one."""
    p_NV, gap_NV = logp_NV.exp(), logq_NV - logp_NV
    return {
        "sdar": centered(p_NV, torch.sigmoid(BETA * gap_NV)),
        "constant": centered(p_NV, torch.full_like(p_NV, 0.5)),
        "rkl": centered(p_NV, gap_NV),
        "forward_ce": logq_NV.exp() - p_NV,
    }


def centered(p_NV: Tensor, psi_NV: Tensor) -> Tensor:
    """p·(ψ - E_p ψ)."""
    return p_NV * (psi_NV - (p_NV * psi_NV).sum(1, keepdim=True))


def second_moment(p_NV: Tensor, psi_NV: Tensor) -> Tensor:
    """E|g|² of the one-sample estimate g = ψ(y)·(e_y - p) with y drawn from p, per state."""
    return (p_NV * psi_NV**2 * (1.0 - 2.0 * p_NV + (p_NV**2).sum(1, keepdim=True))).sum(1)


def weights_of_samples(logp_NV: Tensor, logq_NV: Tensor) -> dict[str, Tensor]:
    """ψ of each token of the vocabulary; `sdar_centred` is the gate less its mean, which has the same expectation."""
    p_NV, gap_NV = logp_NV.exp(), logq_NV - logp_NV
    gate_NV = torch.sigmoid(BETA * gap_NV)
    return {
        "sdar": gate_NV,
        "sdar_centred": gate_NV - (p_NV * gate_NV).sum(1, keepdim=True),
        "constant": torch.full_like(p_NV, 0.5),
        "rkl": gap_NV,
    }


def collect(run: RunConfig, model: Any, tokenizer: Any, updates: int) -> list[list[Episode]]:
    """The episodes that the first updates of a run would play if its weights did not change."""
    env = make_env(run.env, run.env_config)
    sampler = TaskSampler(env.task_ids(), run.seed)
    env.close()
    collector = build_collector(
        engine_of(model, tokenizer),
        tokenizer,
        run.env,
        run.env_config,
        run.rollout,
        build_retriever(run.env, run.skills),
        teacher_prompts=True,
        skills_in_prompt=False,
    )
    params = SamplingParams(run.rollout.max_response_tokens, run.rollout.temperature)
    batches = []
    for step in range(updates):
        tasks = sampler.take(step, run.training.tasks_per_iteration)
        requests = [
            EpisodeRequest(task, step * len(tasks) + group, member, run.seed * 1_000_003 + step)
            for group, task in enumerate(tasks)
            for member in range(run.training.group_size)
        ]
        batches.append(collector.collect(requests, params))
    collector.close()
    return batches


def prompted(episode: Episode) -> Iterator[Prompted]:
    """The turns of an episode with their prompts."""
    for number, turn in enumerate(episode.turns):
        sequence = episode.sequence_of(number)
        (start,) = (span.start for span in sequence.spans if span.turn == number)
        teacher_ids: list[int] = []
        if sequence.teacher_ids is not None:
            teacher_ids = sequence.teacher_ids[: start + len(sequence.teacher_ids) - len(sequence.ids)]
        yield Prompted(turn, tuple(sequence.ids[:start]), tuple(teacher_ids))


def distinct(episodes: Sequence[Episode]) -> dict[Key, tuple[Prompted, int]]:
    """Turns of one group with the same prompts and response, counted."""
    found: dict[Key, tuple[Prompted, int]] = {}
    for episode in episodes:
        for turn in prompted(episode):
            key = turn.key(episode.group_id)
            found[key] = (turn, found[key][1] + 1 if key in found else 1)
    return found


def logits(model: Any, turns: Sequence[Prompted], *, teacher: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Logits at each response token, [N, V] in double precision, the tokens, and the row of each."""
    prompts = [each.teacher_prompt_ids if teacher else each.prompt_ids for each in turns]
    rows = [[*prompt, *each.turn.response_ids] for prompt, each in zip(prompts, turns, strict=True)]
    ids_BS = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    mask_BT = torch.zeros(len(rows), max(len(each.turn.response_ids) for each in turns), dtype=torch.bool)
    for number, (row, each) in enumerate(zip(rows, turns, strict=True)):
        ids_BS[number, : len(row)] = torch.tensor(row)
        mask_BT[number, : len(each.turn.response_ids)] = True
    position_BT = torch.tensor([len(prompt) for prompt in prompts])[:, None] + torch.arange(mask_BT.shape[1])
    tokens = response_tokens(model, ids_BS, position_BT, mask_BT)
    return head_of(model)(tokens.hidden_NH).double(), tokens.target_N, tokens.rows_N


def measure(model: Any, tokenizer: Any, batches: Sequence[Sequence[Episode]]) -> dict[str, Tensor]:
    """Per distinct token: task, count, and the numbers that all results are weighted sums of."""
    columns: dict[str, list[Tensor]] = {}
    kinds: list[str] = []
    rows = [
        (group, turn, count)
        for batch in batches
        for (group, *_), (turn, count) in distinct(batch).items()
        if turn.teacher_prompt_ids
    ]
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        turns = [turn for _, turn, _ in part]
        with torch.no_grad():
            student_NV, target_N, row_N = logits(model, turns, teacher=False)
            teacher_NV, _, _ = logits(model, turns, teacher=True)
        kinds += [kind for each in turns for kind in token_classes(tokenizer, each.turn.response_ids, each.turn.action)]
        values = token_values(student_NV.log_softmax(1), teacher_NV.log_softmax(1), target_N)
        values["group"] = torch.tensor([group for group, _, _ in part])[row_N]
        values["count"] = torch.tensor([float(count) for _, _, count in part], dtype=torch.float64)[row_N]
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    table = {name: torch.cat(parts) for name, parts in columns.items()}
    for kind in dict.fromkeys(kinds):
        table[f"is_{kind}"] = torch.tensor([float(each == kind) for each in kinds], dtype=torch.float64)
    return table


def token_values(logp_NV: Tensor, logq_NV: Tensor, target_N: Tensor) -> dict[str, Tensor]:
    """Per state: products of the directions, second moments of the samples, gap, gate, and the teacher's top token."""
    p_NV = logp_NV.exp()
    way = directions(logp_NV, logq_NV)
    values = {
        f"{a}.{b}": (way[a] * way[b]).sum(1) for place, a in enumerate(TERMS) for b in TERMS[place:]
    }  # The Gram matrix, upper half.
    for name, psi_NV in weights_of_samples(logp_NV, logq_NV).items():
        values[f"moment_{name}"] = second_moment(p_NV, psi_NV)
    at = target_N[:, None]
    gap_N = (logq_NV - logp_NV).gather(1, at).squeeze(1)
    best = logq_NV.argmax(1, keepdim=True)
    values |= {
        "gap": gap_N,
        "small_gap": (gap_N.abs() < TOLERANCE).double(),
        "negative_gap": (gap_N < -TOLERANCE).double(),
        "gate": torch.sigmoid(BETA * gap_N),
        "rkl_value": (p_NV * (logp_NV - logq_NV)).sum(1),
        "fkl_value": (logq_NV.exp() * (logq_NV - logp_NV)).sum(1),
        "p_best": p_NV.gather(1, best).squeeze(1),
        "q_best": logq_NV.gather(1, best).squeeze(1).exp(),
    }
    return values | {f"best_{name}": value.gather(1, best).squeeze(1) for name, value in way.items()}


class Intervals:
    """Functions of sums over tokens, with bootstrap intervals over tasks."""

    def __init__(self, table: Mapping[str, Tensor], seed: int = 0):
        self._table = dict(table)
        _, self._group_N = torch.unique(table["group"], return_inverse=True)
        groups = int(self._group_N.max()) + 1
        generator = torch.Generator().manual_seed(seed)
        drawn_RG = torch.randint(groups, (BOOTSTRAP, groups), generator=generator)
        self._times_RG = torch.zeros(BOOTSTRAP, groups, dtype=torch.float64)
        self._times_RG.scatter_add_(1, drawn_RG, torch.ones_like(drawn_RG, dtype=torch.float64))

    def __call__(
        self, names: Sequence[str], make: Callable[..., Tensor], where_N: Tensor | None = None
    ) -> dict[str, float]:
        """A function of the sums of some columns, with its interval over resampled tasks.

        Args:
            names: Columns; "1" is the number of tokens.
            make: The function: one tensor a column to one tensor of the same shape.
            where_N: Which tokens count; None for all.
        """
        weight_N = self._table["count"] if where_N is None else self._table["count"] * where_N
        sums = []
        for name in names:
            value_N = weight_N if name == "1" else weight_N * self._table[name]
            sums.append(torch.zeros(self._times_RG.shape[1], dtype=torch.float64).index_add(0, self._group_N, value_N))
        drawn_R = make(*(self._times_RG @ sum_G for sum_G in sums))
        low, high = drawn_R[drawn_R.isfinite()].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        return {"value": float(make(*(sum_G.sum() for sum_G in sums))), "low": low, "high": high}

    def mean(self, name: str, where_N: Tensor | None = None) -> dict[str, float]:
        """The mean of a column over tokens."""
        return self([name, "1"], torch.div, where_N)

    def share(self, name: str, of: str) -> dict[str, float]:
        """One column's sum over another's."""
        return self([name, of], torch.div)


def report(table: Mapping[str, Tensor]) -> dict[str, Any]:
    """Directions, norms, signal and token classes, with intervals."""
    of = Intervals(table)
    cosine = {
        f"{a}.{b}": of([f"{a}.{b}", f"{a}.{a}", f"{b}.{b}"], lambda ab, aa, bb: ab / (aa * bb).sqrt())
        for place, a in enumerate(TERMS)
        for b in TERMS[place + 1 :]
        if "constant" not in (a, b)  # The constant gate has direction zero up to rounding.
    }
    norm = {
        name: of([f"{name}.{name}", "rkl.rkl"], lambda own, rkl: (own / rkl).sqrt()) for name in TERMS if name != "rkl"
    }
    signal = {
        name: of.share(f"{name.removesuffix('_centred')}.{name.removesuffix('_centred')}", f"moment_{name}")
        for name in SAMPLED
    }
    classes = [name.removeprefix("is_") for name in table if name.startswith("is_")]
    by_class = {
        kind: {
            "share": of.mean(f"is_{kind}"),
            **{name: of.mean(name, table[f"is_{kind}"]) for name in ("gate", "gap", "small_gap", "negative_gap")},
        }
        for kind in classes
    }
    bins = []
    for low, high in itertools.pairwise(EDGES):
        where_N = ((table["p_best"] >= low) & ((table["p_best"] < high) | (high == 1.0))).double()
        count = float((where_N * table["count"]).sum())
        if count == 0:
            continue
        tasks = len(torch.unique(table["group"][where_N.bool()]))
        bins.append(
            {
                "p_student_from": low,
                "p_student_to": high,
                "tokens": int(count),
                "tasks": tasks,
                "p_student": of.mean("p_best", where_N),
                "q_teacher": of.mean("q_best", where_N),
                "push": {name: of.mean(f"best_{name}", where_N) for name in TERMS},
            }
        )
    return {
        "tokens": int(table["count"].sum()),
        "distinct_tokens": len(table["count"]),
        "tasks": len(torch.unique(table["group"])),
        "kl_student_teacher": of.mean("rkl_value"),
        "kl_teacher_student": of.mean("fkl_value"),
        "gap": of.mean("gap"),
        "gap_below_0.05": of.mean("small_gap"),
        "gap_negative": of.mean("negative_gap"),
        "gate": of.mean("gate"),
        "cosine": cosine,
        "norm_over_rkl": norm,
        "norm_a_token": {name: of([f"{name}.{name}", "1"], lambda own, n: (own / n).sqrt()) for name in TERMS},
        "signal_share": signal,
        "noise_of_constant_over_sdar": of.share("moment_constant", "moment_sdar"),
        "by_class": by_class,
        "favourite_of_teacher": bins,
    }


def parameter_gradients(run: RunConfig, model: Any, batches: Sequence[Sequence[Episode]]) -> dict[str, Any]:
    """The terms as gradients of the parameters: one gradient of the batch of each update, expected and sampled."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    for batch in batches:
        table = turn_batch(batch, Objective(), invalid_action_penalty=run.training.invalid_action_penalty)
        keys = [turn.key(episode.group_id) for episode in table.episodes for turn in prompted(episode)]
        turn_of = {key: turn for key, (turn, _) in distinct(batch).items()}
        counted: dict[Key, tuple[Prompted, int, float]] = {}
        for key, advantage in zip(keys, table.base_advantage_B.tolist(), strict=True):
            _, count, total = counted.get(key, (None, 0, 0.0))
            counted[key] = (turn_of[key], count + 1, total + advantage)
        sums = {name: [torch.zeros_like(p) for p in parameters] for name in _vectors()}
        items = list(counted.values())
        for start in range(0, len(items), ROWS):
            part = items[start : start + ROWS]
            student_NV, target_N, row_N = logits(model, [turn for turn, _, _ in part], teacher=False)
            with torch.no_grad():
                teacher_NV, _, _ = logits(model, [turn for turn, _, _ in part], teacher=True)
                pushes = _pushes(student_NV, teacher_NV, target_N)
                count_N = torch.tensor([float(count) for _, count, _ in part], dtype=torch.float64)[row_N]
                adv_N = torch.tensor([total for _, _, total in part], dtype=torch.float64)[row_N]
                pushes = {name: push * count_N[:, None] / table.tokens for name, push in pushes.items()}
                up_NV = torch.nn.functional.one_hot(target_N, student_NV.shape[1]) - student_NV.softmax(1)
                pushes["grpo"] = up_NV * adv_N[:, None] / table.tokens
            for name, push_NV in pushes.items():
                for total, gradient in zip(
                    sums[name], torch.autograd.grad(student_NV, parameters, push_NV, retain_graph=True), strict=True
                ):
                    total += gradient
        flat = {name: torch.cat([part.flatten() for part in parts]).double() for name, parts in sums.items()}
        norms = {name: float(vector.norm()) for name, vector in flat.items()}

        def cos(a: str, b: str, flat: dict[str, Tensor] = flat, norms: dict[str, float] = norms) -> float:
            return float(flat[a] @ flat[b]) / (norms[a] * norms[b])

        rows.append(
            {
                "norm": norms,
                **{f"cos {name} with its expectation": cos(f"sampled {name}", name) for name in ("sdar", "rkl")},
                "cos sdar_centred with its expectation": cos("sampled sdar_centred", "sdar"),
                "cos sampled sdar, sampled constant": cos("sampled sdar", "sampled constant"),
                "cos sampled constant, sdar": cos("sampled constant", "sdar"),
                "cos sdar, rkl": cos("sdar", "rkl"),
                "cos sdar, forward_ce": cos("sdar", "forward_ce"),
                "cos rkl, forward_ce": cos("rkl", "forward_ce"),
                "cos grpo, sdar": cos("grpo", "sdar"),
                "sdar over grpo": norms["sdar"] / norms["grpo"],
                "sampled sdar over grpo": norms["sampled sdar"] / norms["grpo"],
                "sampled constant over sampled sdar": norms["sampled constant"] / norms["sampled sdar"],
            }
        )
    names = [name for name in rows[0] if name != "norm"]
    return {
        "updates": len(rows),
        **{name: _spread([row[name] for row in rows]) for name in names},
        "norm": {name: _spread([row["norm"][name] for row in rows]) for name in rows[0]["norm"]},
    }


def _vectors() -> list[str]:
    return [*TERMS, *(f"sampled {name}" for name in SAMPLED), "grpo"]


def _pushes(student_NV: Tensor, teacher_NV: Tensor, target_N: Tensor) -> dict[str, Tensor]:
    """Minus the gradient with respect to the logits: expected, and from the token that was sampled."""
    logp_NV, logq_NV = student_NV.detach().log_softmax(1), teacher_NV.log_softmax(1)
    up_NV = torch.nn.functional.one_hot(target_N, logp_NV.shape[1]) - logp_NV.exp()
    pushes = directions(logp_NV, logq_NV)
    for name, psi_NV in weights_of_samples(logp_NV, logq_NV).items():
        pushes[f"sampled {name}"] = psi_NV.gather(1, target_N[:, None]) * up_NV
    return pushes


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": statistics.mean(values), "low": min(values), "high": max(values)}


def train_arm(job: tuple[str, int, int]) -> dict[str, Any]:
    """One arm and seed: some updates of the quick start, and after each two how far student and teacher are apart."""
    arm, seed, updates = job
    from sdar_gym.cli.training import quiet

    quiet()
    torch.set_num_threads(1)
    from sdar_gym.algorithms.sdar.config import SDARConfig
    from sdar_gym.policy.load import load_weights

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    method, coeff = ARMS[arm]
    distill = "distill=null" if coeff is None else f"distill.coeff={coeff}"
    changes = [f"method={method}", f"training.objective.{distill}", f"seed={seed + 1}"]
    run = load_config("quickstart", [*changes, "evaluation.interval=0"])
    first, now = load_model(run.policy.model), load_model(run.policy.model)
    # The same for all arms: states of another seed's first update, played by the initial weights.
    states = collect(load_config("quickstart", ["seed=1000"]), first, load_tokenizer(run.policy.model), 1)
    turns = [(turn, count) for turn, count in distinct(states[0]).values() if turn.teacher_prompt_ids]
    started = time.process_time()
    algorithm: Any = SDARConfig.from_run(run).build_algo()
    curve = [_apart(first, now, turns)]
    won = []
    try:
        for update in range(1, updates + 1):
            result = algorithm.train()
            won.append(result["env_runners"]["success"])
            if update == updates or update % 5 == 0:
                weights = algorithm.learner_group.get_state(components="learner/rl_module")
                state = weights["learner"]["rl_module"]["default_policy"]
                tensors = {name.removeprefix("model."): torch.as_tensor(value) for name, value in state.items()}
                load_weights(now, {_key(now, name): value for name, value in tensors.items()})
                curve.append({"update": update, **_apart(first, now, turns)})
    finally:
        algorithm.stop()
    curve[0] = {"update": 0, **curve[0]}
    return {
        "arm": arm,
        "seed": seed + 1,
        "curve": curve,
        "training_success": won,
        "cpu_seconds": time.process_time() - started,
    }


def _key(model: Any, name: str) -> str:
    return name if name in model.state_dict() else f"model.{name}"


def _apart(first: Any, now: Any, turns: Sequence[tuple[Prompted, int]]) -> dict[str, float]:
    """Mean KL a token: of the student to the initial teacher and to its own, both ways."""
    sums: defaultdict[str, float] = defaultdict(float)
    tokens = 0.0
    for start in range(0, len(turns), ROWS):
        part = turns[start : start + ROWS]
        rows = [turn for turn, _ in part]
        with torch.no_grad():
            student_NV, _, row_N = logits(now, rows, teacher=False)
            logp_NV = student_NV.log_softmax(1)
            count_N = torch.tensor([float(count) for _, count in part], dtype=torch.float64)[row_N]
            for name, model in (("initial", first), ("own", now)):
                logq_NV = logits(model, rows, teacher=True)[0].log_softmax(1)
                sums[f"kl_{name}_teacher_student"] += float((logq_NV.exp() * (logq_NV - logp_NV)).sum(1) @ count_N)
                sums[f"kl_student_{name}_teacher"] += float((logp_NV.exp() * (logp_NV - logq_NV)).sum(1) @ count_N)
        tokens += float(count_N.sum())
    return {name: value / tokens for name, value in sums.items()}


def training(seeds: int, updates: int, jobs: int) -> dict[str, Any]:
    """Trains every arm with every seed and summarizes how far student and teacher are apart at the end."""
    work = [(arm, seed, updates) for seed in range(seeds) for arm in ARMS]
    runs = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for result in pool.imap(train_arm, work):
            runs.append(result)
            print(result["arm"], result["seed"], {k: round(v, 4) for k, v in result["curve"][-1].items()}, flush=True)
    names = [name for name in runs[0]["curve"][0] if name != "update"]
    summary = {}
    for arm in ARMS:
        own = [run for run in runs if run["arm"] == arm]
        summary[arm] = {
            **{name: _spread([run["curve"][-1][name] for run in own]) for name in names},
            "training_success_last_3": _spread([statistics.mean(run["training_success"][-3:]) for run in own]),
        }
    return {
        "updates": updates,
        "seeds": seeds,
        "before": {name: runs[0]["curve"][0][name] for name in names},
        "after": summary,
        "cpu_seconds": sum(run["cpu_seconds"] for run in runs),
        "runs": runs,
    }


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """The blocks of the page, by name."""
    tokens, parameters = result["tokens"], result["parameters"]

    def interval(entry: Mapping[str, float], form: str = ".2f") -> str:
        return f"{entry['value']:{form}} [{entry['low']:{form}}, {entry['high']:{form}}]"

    def spread(entry: Mapping[str, float], form: str = ".2f") -> str:
        return f"{entry['mean']:{form}} ({entry['low']:{form}} to {entry['high']:{form}})"

    def push(value: float) -> str:
        return "0" if abs(value) < 1e-12 else f"{value:.2g}" if abs(value) >= 1e-3 else f"{value:.0e}"

    blocks = {
        "setting": (
            f"{result['episodes']} on-policy episodes of {tokens['tasks']} tasks (success {result['success']:.2f}), "
            f"{tokens['tokens']:,} sampled tokens, vocabulary {result['vocabulary']}. Mean KL(student‖teacher) "
            f"{interval(tokens['kl_student_teacher'], '.3f')} nats a token, KL(teacher‖student) "
            f"{interval(tokens['kl_teacher_student'], '.3f')}. {machine_text(result)}"
        ),
        "direction": _table(
            ("", "norm, as a share of true reverse KL's", "cosine with SDAR", "with reverse KL", "with forward CE"),
            [
                (
                    label,
                    "1" if name == "rkl" else _norm(tokens["norm_over_rkl"][name], interval),
                    *(_cosine(tokens["cosine"], name, other, interval) for other in ("sdar", "rkl", "forward_ce")),
                )
                for name, label in (
                    ("sdar", "SDAR, ψ = σ(5Δ)"),
                    ("constant", "constant gate, ψ = 1/2"),
                    ("rkl", "reverse KL, ψ = Δ"),
                    ("forward_ce", "forward CE, q − p"),
                )
            ],
        ),
        "signal": _table(
            ("one sample a state", "share of E‖g‖² that is signal", "samples a state until signal = noise"),
            [
                (
                    label,
                    interval(tokens["signal_share"][name], ".3f") if name != "constant" else "0",
                    f"{1 / tokens['signal_share'][name]['value'] - 1:.1f}" if name != "constant" else "never",
                )
                for name, label in (
                    ("sdar", "SDAR"),
                    ("sdar_centred", "SDAR, the state's mean gate taken off"),
                    ("constant", "constant gate"),
                    ("rkl", "reverse KL, ψ = Δ"),
                )
            ],
        ),
        "parameters": _table(
            (f"gradient of one update's batch, {parameters['updates']} batches", "mean (lowest to highest)"),
            [
                ("cosine of sampled SDAR with its expectation", spread(parameters["cos sdar with its expectation"])),
                ("the same, mean gate taken off", spread(parameters["cos sdar_centred with its expectation"])),
                (
                    "cosine of sampled reverse KL with its expectation",
                    spread(parameters["cos rkl with its expectation"]),
                ),
                (
                    "cosine of sampled SDAR with sampled constant gate",
                    spread(parameters["cos sampled sdar, sampled constant"]),
                ),
                (
                    "cosine of sampled constant gate with expected SDAR",
                    spread(parameters["cos sampled constant, sdar"]),
                ),
                (
                    "norm of sampled constant gate over sampled SDAR",
                    spread(parameters["sampled constant over sampled sdar"]),
                ),
                ("cosine of expected SDAR with expected reverse KL", spread(parameters["cos sdar, rkl"])),
                ("cosine of expected SDAR with forward CE", spread(parameters["cos sdar, forward_ce"])),
                ("cosine of expected SDAR with GRPO's gradient", spread(parameters["cos grpo, sdar"])),
                ("norm of sampled SDAR (λ = 1) over GRPO's", spread(parameters["sampled sdar over grpo"])),
            ],
        ),
        "classes": _table(
            ("tokens", "share", "‖Δ‖ < 0.05", "Δ < −0.05", "mean Δ", "mean gate"),
            [
                (
                    kind,
                    f"{entry['share']['value']:.2f}",
                    interval(entry["small_gap"], ".3f"),
                    interval(entry["negative_gap"], ".3f"),
                    interval(entry["gap"], ".3f"),
                    interval(entry["gate"], ".3f"),
                )
                for kind, entry in {
                    **tokens["by_class"],
                    "all": {
                        "share": {"value": 1.0},
                        "small_gap": tokens["gap_below_0.05"],
                        "negative_gap": tokens["gap_negative"],
                        "gap": tokens["gap"],
                        "gate": tokens["gate"],
                    },
                }.items()
            ],
        ).replace("‖Δ‖", "\\|Δ\\|"),
        "favourite": _table(
            ("p_S(v*)", "tokens (tasks)", "mean p_S", "mean p_T", "SDAR", "reverse KL", "forward CE"),
            [
                (
                    f"{entry['p_student_from']:g} to {entry['p_student_to']:g}",
                    f"{entry['tokens']:,} ({entry['tasks']})",
                    push(entry["p_student"]["value"]),
                    f"{entry['q_teacher']['value']:.2f}",
                    *(push(entry["push"][name]["value"]) for name in ("sdar", "rkl", "forward_ce")),
                )
                for entry in tokens["favourite_of_teacher"]
            ],
        ),
    }
    if "training" in result:
        blocks["training"] = _training_table(result)
    return blocks


def _training_table(result: Mapping[str, Any]) -> str:
    """The end of each arm, and its difference from the GRPO run of the same seed, which played the same tasks."""
    found = result["training"]
    columns = {
        "kl_initial_teacher_student": "KL(T₀‖S)",
        "kl_student_initial_teacher": "KL(S‖T₀)",
        "kl_own_teacher_student": "KL(T‖S)",
        "kl_student_own_teacher": "KL(S‖T)",
    }
    end = {(run["arm"], run["seed"]): run["curve"][-1] for run in found["runs"]}
    rows: list[tuple[str, ...]] = [
        ("before", *(f"{found['before'][name]:.4f}" for name in columns), "–", "–", f"{result['success']:.2f}")
    ]
    for arm, entry in found["after"].items():
        differences = [
            ", ".join(
                # Adding 0 makes of -0 a 0.
                f"{round((end[arm, seed][name] - own[name]) * 1000, 1) + 0.0:+.1f}"
                for (other, seed), own in end.items()
                if other == "grpo" and arm != "grpo"
            )
            for name in list(columns)[:2]
        ]
        success = entry["training_success_last_3"]
        rows.append(
            (
                arm,
                *(f"{entry[name]['mean']:.4f}" for name in columns),
                *(text or "–" for text in differences),
                f"{success['mean']:.2f} ({success['low']:.2f} to {success['high']:.2f})",
            )
        )
    less = [f"{name} less GRPO's, × 1000, by seed" for name in list(columns.values())[:2]]
    return _table(("arm", *columns.values(), *less, "success, last 3 updates"), rows)


def machine_text(result: Mapping[str, Any]) -> str:
    """The processor and the command of the measurement."""
    where = result["machine"]
    return f"One thread of {where['cpu']}; `{' '.join(result['command'])}`."


def _norm(entry: Mapping[str, float], interval: Callable[..., str]) -> str:
    return interval(entry) if entry["value"] > 1e-9 else f"{entry['value']:.0e}"


def _cosine(found: Mapping[str, Any], a: str, b: str, interval: Callable[..., str]) -> str:
    if a == b:
        return "1"
    entry = found.get(f"{a}.{b}") or found.get(f"{b}.{a}")
    return "–" if entry is None else interval(entry)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """The page with its measured blocks replaced by those of the result.

    Raises:
        ValueError: The page names a block that the result does not have.
    """

    def block(found: re.Match[str]) -> str:
        if found["name"] not in blocks:
            raise ValueError(f"The result has no table {found['name']!r}; it has {', '.join(blocks)}.")
        return f"<!-- measured: {found['name']} -->\n{blocks[found['name']]}\n<!-- end -->"

    return re.sub(r"<!-- measured: (?P<name>\w+) -->\n.*?<!-- end -->", block, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=12, help="updates' worth of episodes")
    parser.add_argument("--training-seeds", type=int, default=3, help="seeds of the training comparison; 0: without")
    parser.add_argument("--training-updates", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time, one core each")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--page", action="store_true", help="only fill the page's tables from --out")
    options = parser.parse_args()
    if not options.page:
        torch.set_num_threads(1)
        run = load_config("quickstart")
        model, tokenizer = load_model(run.policy.model), load_tokenizer(run.policy.model)
        started = time.process_time()
        batches = collect(run, model, tokenizer, options.updates)
        episodes = [episode for batch in batches for episode in batch]
        table = measure(model, tokenizer, batches)
        result: dict[str, Any] = {
            "command": ["python", "benchmarks/sdar_objective.py", *sys.argv[1:]],
            "machine": machine("torch", "transformers", "ray"),
            "policy": run.policy.model,
            "vocabulary": model.config.vocab_size,
            "temperature": run.rollout.temperature,
            "gate_beta": BETA,
            "intervals": f"95 % bootstrap over tasks, {BOOTSTRAP} draws",
            "episodes": len(episodes),
            "success": statistics.mean(episode.won for episode in episodes),
            "tokens": report(table),
            "parameters": parameter_gradients(run, model, batches),
        }
        result["cpu_seconds"] = time.process_time() - started
        print(f"measured in {result['cpu_seconds']:.0f} CPU-seconds", flush=True)
        if options.training_seeds:
            result["training"] = training(options.training_seeds, options.training_updates, options.jobs)
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    blocks = tables(json.loads(options.out.read_text(encoding="utf-8")))
    # A short run into another file leaves the page as it is.
    if PAGE.is_file() and (options.page or options.out == RESULT):
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), blocks), encoding="utf-8")
    print("\n\n".join(f"{name}\n{text}" for name, text in blocks.items()))


if __name__ == "__main__":
    main()
