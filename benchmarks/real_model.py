"""A real small chat model before training: success and form with and without skills, and the gaps of its teacher.

    python benchmarks/real_model.py --out benchmarks/results/real_model.json

SmolLM2-135M-Instruct (`python scripts/smollm2.py` makes it) plays a fixed set of tasks of each environment, four times:
with and without two worked turns, with and without skills in its prompt. Then it samples episodes at temperature 1, as
training does, and the same weights score their tokens with skills in the prompt, as SDAR's teacher does. Prints tables
for the page. One thread; the result file is written anew after each part.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from machine import machine

from sdar_gym.cli.training import quiet
from sdar_gym.configs import load_config
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.compiled_cache import cache_folder
from sdar_gym.envs.prompting import skill_context
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.report.tokens import turn_tokens, write_tokens
from sdar_gym.rollout.build import build_context, build_retriever
from sdar_gym.rollout.context import PromptContext
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills.lookup import query_for, skill_env_name
from sdar_gym.training.token_classes import TOKEN_CLASSES

FEW_SHOT = 2
# Few turns, so that the whole takes minutes on one core; `experts` in the result says what can be solved in them.
ENVS: dict[str, list[str]] = {
    "alfworld": [
        "env=sdar/ALFWorld-v0",
        "env_config.games=generated",
        "env_config.scene=small",
        "env_config.max_steps=6",
        "rollout.show_actions=first",
        "evaluation.split=valid_seen",
    ],
    "webshop": [
        "env=sdar/WebShop-v0",
        "env_config.data=generated",
        "env_config.max_steps=5",
        "rollout.show_actions=never",
        "evaluation.split=valid",
    ],
    "searchqa": [
        "env=sdar/SearchQA-v0",
        "env_config.questions=embedded",
        "env_config.max_steps=3",
        "rollout.show_actions=never",
        "evaluation.split=dev",
    ],
}
COMMON = [
    "policy.torch_threads=1",
    "rollout.context=conversation",
    "rollout.think=false",
    "rollout.max_response_tokens=24",
    "rollout.max_prompt_tokens=3000",
    "rollout.max_observation_tokens=400",
    "evaluation.temperature=0.4",
]
ONE_SKILL = ["skills.k=1", "skills.include_general=false"]
KEPT = (
    "success",
    "success_low",
    "success_high",
    "score",
    "valid_form",
    "action_errors",
    "cut_off",
    "episode_turns",
    "prompt_tokens_mean",
    "prompt_tokens_max",
    "response_tokens_mean",
    "tasks",
    "panel",
    "panel_hash",
    "temperature",
    "seed",
)


def configuration(env: str, model: Path, *changes: str) -> RunConfig:
    return load_config("published", [f"policy.model={model}", *COMMON, *ENVS[env], *changes])


def play(env: str, model: Path, few_shot: int, skills: bool, options: argparse.Namespace) -> dict[str, Any]:
    """One arm: the panel of an environment."""
    run = configuration(
        env,
        model,
        *ONE_SKILL,
        f"policy.dtype={options.dtype}",
        f"rollout.few_shot={few_shot}",
        f"evaluation.with_skills={str(skills).lower()}",
        f"evaluation.tasks={options.tasks}",
    )
    started = time.process_time()
    summary, episodes = play_panel(run, str(model))
    seconds = time.process_time() - started
    first = episodes[0]
    return {
        "env": env,
        "few_shot": few_shot,
        "skills": skills,
        **{name: summary[name] for name in KEPT},
        "cpu_s": round(seconds, 1),
        # What it writes: the responses of the first episode.
        "example": {"task_id": first.task_id, "goal": first.goal, "responses": [t.response for t in first.turns]},
    }


def gaps(env: str, model: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Gaps log p_teacher - log p_student of sampled tokens, for a teacher with one skill and with the default ones."""
    run = configuration(
        env,
        model,
        "policy.dtype=float32",
        f"rollout.few_shot={FEW_SHOT}",
        "evaluation.temperature=1.0",
        f"evaluation.tasks={options.gap_tasks}",
    )
    _, episodes = play_panel(run, str(model))
    tokenizer, weights = load_tokenizer(str(model)), load_model(str(model))
    context = build_context(tokenizer, run.env, run.env_config, run.rollout)
    found: dict[str, Any] = {"env": env, "episodes": len(episodes), "turns": sum(len(e.turns) for e in episodes)}
    dump = []
    for name, changes in (("one_skill", ONE_SKILL), ("default_skills", [])):
        teacher = configuration(env, model, *changes)
        rows, added = [], []
        for episode in episodes:
            scored, longer = scores(run, teacher, context, episode, tokenizer, weights)
            rows += scored
            added.append(longer)
        found[name] = {"skill_tokens_mean": sum(added) / len(added), "by_class": by_class(rows)}
        dump = rows if name == "default_skills" else dump
    return found, dump


def scores(
    run: RunConfig, teacher: RunConfig, context: PromptContext, episode: Episode, tokenizer: Any, weights: Any
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a token dump, and the number of tokens that the skills add."""
    env = make_env(run.env, run.env_config)
    observation, info = env.reset(options={"task_id": episode.task_id})
    env.close()
    query = query_for(skill_env_name(run.env), info, observation)
    skills = skill_context(build_retriever(run.env, teacher.skills).retrieve(query).text)
    if skills is None:
        raise SystemExit(f"{episode.task_id} gets no skill.")
    rows, added = [], 0
    for sequence in episode.sequences:
        ids, starts = context.teacher_tokens(episode, sequence, [skills] * len(sequence.spans))
        added = len(ids) - len(sequence.ids)
        lengths = [span.stop - span.start for span in sequence.spans]
        student_T, entropy_T = logp(weights, sequence.ids, sequence.starts, lengths)
        teacher_T, _ = logp(weights, ids, starts, lengths)
        at = 0
        for span, length in zip(sequence.spans, lengths, strict=True):
            part = slice(at, at + length)
            values = {
                "student_logp": student_T[part],
                "teacher_logp": teacher_T[part],
                "gap": teacher_T[part] - student_T[part],
                "entropy": entropy_T[part],
            }
            tag = "action" if "searchqa" not in run.env.lower() else "none"
            rows.append(turn_tokens(episode, span.turn, tokenizer, advantage=0.0, values=values, tag=tag))
            at += length
    return rows, added


@torch.no_grad()
def logp(weights: Any, ids: Sequence[int], starts: Sequence[int], lengths: Sequence[int]) -> tuple[Any, Any]:
    """Log-probabilities and entropies of the responses in a sequence, at temperature 1."""
    places = [start + number for start, length in zip(starts, lengths, strict=True) for number in range(length)]
    position_1T = torch.tensor([places])
    found = score_responses(weights, torch.tensor([list(ids)]), position_1T, torch.ones_like(position_1T).bool(), 1.0)
    return found.logp_BT[0].numpy(), found.entropy_BT[0].numpy()


def by_class(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The distribution of gaps of each token class, and of tokens in the required form and outside of it."""
    pairs = [pair for row in rows for pair in zip(row["class"], row["gap"], strict=True)]
    chosen = {"all": [float(gap) for _, gap in pairs]}
    chosen |= {kind: [float(gap) for other, gap in pairs if other == kind] for kind in TOKEN_CLASSES}
    # A response without tags is one action to the environment, so these two are told apart.
    for name, formed in (("action in the form", True), ("action without tags", False)):
        chosen[name] = [
            float(gap)
            for row in rows
            if ("format" in row["class"]) is formed
            for kind, gap in zip(row["class"], row["gap"], strict=True)
            if kind == "action"
        ]
    return {name: distribution(values) for name, values in chosen.items() if values}


def distribution(values: Sequence[float]) -> dict[str, float]:
    value_N = torch.tensor(values, dtype=torch.float64)
    p10, p50, p90 = value_N.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    found = {
        "tokens": len(values),
        "mean": value_N.mean().item(),
        "p10": p10,
        "median": p50,
        "p90": p90,
        "above_0": (value_N > 0).double().mean().item(),
        "abs_above_0.05": (value_N.abs() > 0.05).double().mean().item(),
        "abs_above_0.5": (value_N.abs() > 0.5).double().mean().item(),
        "abs_above_2": (value_N.abs() > 2).double().mean().item(),
    }
    return {name: round(number, 4) for name, number in found.items()}


def experts(options: argparse.Namespace, model: Path) -> dict[str, float]:
    """How many tasks of each panel the scripted expert solves in the same number of turns."""
    from sdar_gym.envs.policies import expert_of
    from sdar_gym.evaluation.panels import build_panel
    from sdar_gym.evaluation.scripted_policies import play as play_scripted

    found = {}
    for name in options.envs:
        run = configuration(name, model, f"evaluation.tasks={options.tasks}")
        env, expert = make_env(run.env, run.env_config), expert_of(run.env)
        assert expert is not None
        ends = play_scripted(env, expert, build_panel(run.env, env, run.evaluation))
        found[name] = sum(bool(end["won"]) for end in ends) / len(ends)
        env.close()
    return found


def tables(report: dict[str, Any]) -> str:
    lines = [
        "| environment | worked turns | skills | success | score | form kept | refused | cut off | prompt tokens |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["arms"]:
        lines.append(
            f"| {row['env']} | {row['few_shot']} | {'yes' if row['skills'] else 'no'} | {row['success']:.3f} "
            f"[{row['success_low']:.3f}, {row['success_high']:.3f}] | {row['score']:.3f} | {row['valid_form']:.1%} | "
            f"{row['action_errors']:.1%} | {row['cut_off']:.1%} | {row['prompt_tokens_mean']:.0f} |"
        )
    lines += [
        "",
        "| environment | teacher | tokens | n | mean | 10 % | median | 90 % | above 0 | over .05 | over .5 | over 2 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in report["gaps"]:
        for teacher in ("one_skill", "default_skills"):
            label = f"{teacher.replace('_', ' ')} (+{found[teacher]['skill_tokens_mean']:.0f})"
            for kind, row in found[teacher]["by_class"].items():
                lines.append(
                    f"| {found['env']} | {label} | {kind} | {row['tokens']} | {row['mean']:+.2f} | {row['p10']:+.2f} | "
                    f"{row['median']:+.2f} | {row['p90']:+.2f} | {row['above_0']:.0%} | {row['abs_above_0.05']:.0%} | "
                    f"{row['abs_above_0.5']:.0%} | {row['abs_above_2']:.0%} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of the model; default: where scripts/smollm2.py puts it")
    parser.add_argument("--envs", nargs="+", choices=ENVS, default=list(ENVS))
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--gap-tasks", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16", help="precision in which episodes are played")
    parser.add_argument("--tokens", type=Path, help="folder for the token dumps")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_model.json"))
    options = parser.parse_args()
    model = options.model or cache_folder("smollm2-135m-instruct")
    if not (model / "config.json").is_file():
        raise SystemExit(f"no model in {model}; make it with: python scripts/smollm2.py")
    torch.set_num_threads(1)
    quiet()
    source = model / "source.json"
    report: dict[str, Any] = {
        "command": ["python", *sys.argv],
        "machine": machine("torch", "transformers"),
        "model": json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {"folder": model.name},
        "settings": {"common": COMMON, **{name: ENVS[name] for name in options.envs}, "skills": ONE_SKILL},
        "dtype": options.dtype,
        "experts": experts(options, model),
        "arms": [],
        "gaps": [],
    }

    def save() -> None:
        report["cpu_s"] = round(time.process_time(), 1)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    for env in options.envs:
        for few_shot in (0, FEW_SHOT):
            for skills in (False, True):
                row = play(env, model, few_shot, skills, options)
                report["arms"].append(row)
                save()
                print(
                    env,
                    few_shot,
                    skills,
                    f"{row['success']:.3f} form {row['valid_form']:.3f} {row['cpu_s']} s",
                    flush=True,
                )
        found, dump = gaps(env, model, options)
        report["gaps"].append(found)
        if options.tokens is not None:
            write_tokens(options.tokens / f"{env}.jsonl", dump)
        save()
        print(env, "gaps", found["default_skills"]["by_class"]["all"], flush=True)
    print(tables(report))


if __name__ == "__main__":
    main()
