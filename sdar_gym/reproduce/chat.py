"""The chat study: what a skill-privileged teacher is worth to a real chat model that was taught to read skills.

ALFWorld as a conversation, from a warm start by `warmstart.play=skill_reader`. A run of a chat model takes a hundred
times as long as one of a tiny policy, so there is one part, and nothing is tuned: all arms share a learning rate.
"""

from __future__ import annotations

from sdar_gym.reproduce.study import Arm, Part, Setting

# Those of the warm start: the model knows these prompts.
PROMPTS = (
    "rollout.prompt=window",
    "rollout.context=conversation",
    "rollout.show_actions=never",
    "rollout.max_response_tokens=24",
    "rollout.max_prompt_tokens=1024",
)
_LAMBDA = "training.objective.distill.coeff"


def _sdar(name: str, strength: str, *changes: str) -> Arm:
    return Arm(name, ("method=sdar", f"{_LAMBDA}={strength}", *changes))


_WRONG = "skills.library=wrong"
CHAT = Part(
    "alfworld-chat",
    "A chat model on ALFWorld, as a conversation",
    Setting(
        "quickstart",
        (
            *PROMPTS,
            "policy.dtype=bfloat16",
            "policy.torch_threads=1",
            "training.iterations=8",
            "training.lr=5e-5",
            "training.objective.advantage.statistics=turn",
            "evaluation.teacher_tasks=0",
            "evaluation.token_turns=0",
        ),
        validation=(),
        test=("evaluation.split=valid_seen", "evaluation.tasks=64", "evaluation.interval=0"),
    ),
    (
        Arm("grpo", ("method=grpo",)),
        _sdar("sdar, share .4", "{share: 0.4}"),
        _sdar("sdar, published λ", "0.01"),
        _sdar("sdar, share .4, wrong skills", "{share: 0.4}", _WRONG),
        Arm("frozen_ce, λ = 1", ("method=frozen_ce", f"{_LAMBDA}=1.0")),
        _sdar("sdar, published λ, wrong skills", "0.01", _WRONG),
    ),
)
