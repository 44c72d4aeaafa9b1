"""Writes docs/equations.md: every equation beside the file, the line and the code that computes it.

    python scripts/equation_page.py [--check]

An equation names a function and a piece of the line in it. The script finds the line, so that the page moves with the
code; a piece that is gone is an error. A test compares the committed page.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from generated_pages import write_pages

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "equations.md"
LOSSES, METHODS = "sdar_gym/algorithms/losses", "sdar_gym/algorithms/methods"
HEAD = """<!-- Made by scripts/equation_page.py; change the equations there, the lines follow the code. -->

# Equations, and the lines that compute them

Every equation of SDAR and of the main parts, with the line of code. Symbols: π is the policy, p its probability of the
sampled token, *old* the policy that sampled it, *ref* the initial policy, A an advantage, sg a stopped gradient. Tensor names
end with the letters of their dimensions (B turns, T tokens, G groups, E episodes, N entries, V vocabulary). Where the sources
differ from each other and from this: [differences](differences.md); the methods: [methods](methods.md).
"""


@dataclass(frozen=True)
class Equation:
    """An equation and the line that computes it.

    Args:
        formula: As the field writes it.
        meaning: What it is, and its source.
        file: From the root of the repository.
        function: `name`, or `Class.name` of a method.
        piece: A part of the line.
    """

    formula: str
    meaning: str
    file: str
    function: str
    piece: str


E = Equation
# Title, text below it, equations.
CHAPTERS: tuple[tuple[str, str, tuple[Equation, ...]], ...] = (
    (
        "SDAR",
        """The objective of the paper ([arXiv 2605.15155](https://arxiv.org/abs/2605.15155)) and of its released code:

    L = -mean( min(ρ·A, clip(ρ)·A) )  +  λ · mean( g · (log p_teacher - log p_student) )
        +  β_KL · k3  -  η · H

    Δ = log p_teacher - log p_student  (detached),   g = σ(β·Δ)

All means run over the sampled tokens of an update. The preset's values are λ = 0.01, β = 5, β_KL = 0.01 and η = 0.001; the
clip is ±0.2, with a dual clip at 3. The quick start's small policy uses λ = 1. The preset is one file,
[methods/sdar.py](../sdar_gym/algorithms/methods/sdar.py); `sdar-gym methods show sdar` prints it. What the term does to a
policy: [what SDAR optimizes](what-sdar-optimizes.md).""",
        (
            E("log p(y)", "log-probability of a sampled token, at the sampling temperature", "sdar_gym/policy/logprobs.py", "score_responses", '"logp": logits.gather'),
            E("log p_teacher", "the weights at the start of the update, with skills in the prompt; no gradient", "sdar_gym/training/scoring.py", "Scorer.logp", "score_responses(model"),
            E("Δ = sg[log p_teacher − log p_student]", "gap", f"{LOSSES}/sampled_divergences.py", "teacher_gap", "gap_BT = teacher_logp_BT"),
            E("g = σ(β·Δ)", "gate, β = 5", f"{METHODS}/sdar.py", "SigmoidGate.weights", ".sigmoid()"),
            E("sg[log p_teacher] − log p_student", "log-ratio, with gradient to the student", f"{LOSSES}/sampled_divergences.py", "log_ratio", "return teacher_logp_BT"),
            E("g · (log p_teacher − log p_student)", "distillation loss of a token", f"{LOSSES}/total.py", "_distillation", "gate_BT * divergence_BT"),
            E("L ← policy loss", "first term: the clipped policy gradient", f"{LOSSES}/total.py", "compute_loss", "loss = weighted_sum(policy_loss_BT"),
            E("L ← L + λ · mean(g · …)", "second term; λ may be a schedule", f"{LOSSES}/total.py", "compute_loss", "loss + coeff * distill_loss"),
            E("L ← L + β_KL · mean(k3)", "third term: KL to the initial policy", f"{LOSSES}/total.py", "compute_loss", "loss + objective.kl_coeff"),
            E("L ← L − η · mean(H)", "fourth term: entropy bonus", f"{LOSSES}/total.py", "compute_loss", "loss - objective.entropy_coeff"),
            E("H = −Σ p log p", "the student's entropy over the vocabulary", "sdar_gym/policy/logprobs.py", "_entropy", "return total_N"),
            E("mean = Σ w·x, w = 1 / tokens of the update", "the only reduction; `aggregation: sequence_mean` has the other weights", f"{LOSSES}/aggregation.py", "token_mean_weights", "return response_mask_BT"),
            E("σ(β·h); σ(β·[1 − (1 − h)(1 − Δ)])", "entropy and soft-OR gate of the paper's ablation, h entropy", f"{METHODS}/sdar.py", "SoftOrGate.weights", "(1.0 - entropy_BT)"),
        ),
    ),
    (
        "Advantages and policy gradient",
        "",
        (
            E("R_k = R − penalty_k", "reward of a turn: the episode's return less the penalty of an invalid action", "sdar_gym/training/turn_batch.py", "turn_batch", "reward_B=return_B - penalty_B"),
            E("A = (R − mean_G) / (std_G + ε)", "GRPO: group-relative, over turn rows as released or over episodes as written ([2402.03300](https://arxiv.org/abs/2402.03300))", f"{LOSSES}/group_statistics.py", "_Moments.normalize", "adv_N = adv_N / "),
            E("A = R − mean_G", "Dr. GRPO: without the deviation ([2503.20783](https://arxiv.org/abs/2503.20783))", f"{LOSSES}/group_statistics.py", "_Moments.normalize", "adv_N = value_N.double()"),
            E("A_i = R_i − mean of the others", "RLOO ([2402.14740](https://arxiv.org/abs/2402.14740))", f"{LOSSES}/advantages.py", "leave_one_out", "return excess_B"),
            E("A = A_episode + ω · A_step", "GiGPO: turns of a group in the same state are compared too ([2505.10978](https://arxiv.org/abs/2505.10978))", f"{LOSSES}/advantages.py", "base_advantages", "return advantage_B + estimator.step_weight"),
            E("G_k = Σ_{j ≥ k} γ^(j−k) r_j", "discounted return from a turn on, of GiGPO's step advantage", f"{LOSSES}/turn_reductions.py", "discounted_to_go", "running = value_B[row]"),
            E("ρ = p / p_old", "importance ratio, the logarithm limited to ±20", f"{LOSSES}/policy_gradient.py", "clipped_policy_loss", "ratio_BT = (logp_BT"),
            E("−min(ρA, clip(ρ, 1−ε, 1+ε)A)", "clipped policy loss ([1707.06347](https://arxiv.org/abs/1707.06347))", f"{LOSSES}/policy_gradient.py", "clipped_policy_loss", "loss_BT = torch.where(clipped_BT"),
            E("≤ −c·A where A < 0", "dual clip, c = 3 ([1912.09729](https://arxiv.org/abs/1912.09729))", f"{LOSSES}/policy_gradient.py", "clipped_policy_loss", "loss_BT = torch.where(dual_clipped_BT"),
            E("k3 = e^d − 1 − d, d = log p_ref − log p", "KL to the reference policy, capped at 10 (Schulman 2020)", f"{LOSSES}/sampled_divergences.py", "k3_kl", "return (torch.expm1(d_BT)"),
        ),
    ),
    (
        "Importance correction: sampler and learner",
        "",
        (
            E("ρ = p_learner / p_sampler", "mismatch of a token at equal weights", f"{LOSSES}/importance_correction.py", "_log_ratio", "difference_BT = logp_BT"),
            E("ρ of a response = Π ρ_t", "sequence modes", f"{LOSSES}/importance_correction.py", "importance_weights", "log_ratio_BT.sum(dim=1"),
            E("w = min(ρ, C)", "truncation; the mask modes leave out ρ > C and ρ < 1/C", f"{LOSSES}/importance_correction.py", "importance_weights", "weight_BT = log_ratio_BT"),
            E("KL(sampler ‖ learner) ≈ mean(ρ − 1 − ln ρ)", "`mismatch_kl`", f"{LOSSES}/importance_correction.py", "mismatch_metrics", "kl_BT = k3_kl"),
        ),
    ),
    (
        "Divergences to the teacher",
        "On the sampled tokens, or over the vocabulary (`distill.support`).",
        (
            E("−sg[Δ] · log p", "score-function estimate of the reverse KL's gradient, `reverse_kl_pg`", f"{LOSSES}/sampled_divergences.py", "reverse_kl_pg", "return -(teacher_logp_BT"),
            E("ρ · (e^(−l) − 1 + l), l = log p − log p_T", "importance-weighted k3, `reverse_kl_k3` (Skill-SD, [2604.10674](https://arxiv.org/abs/2604.10674))", f"{LOSSES}/sampled_divergences.py", "reverse_kl_k3", "* k3_BT"),
            E("−Σ p_T log p_S", "forward cross-entropy (DistIL, [2606.05152](https://arxiv.org/abs/2606.05152))", f"{LOSSES}/full_divergences.py", "forward_ce", "return -_expect"),
            E("KL(T ‖ S)", "forward KL", f"{LOSSES}/full_divergences.py", "forward_kl", "return _expect"),
            E("KL(S ‖ T)", "reverse KL", f"{LOSSES}/full_divergences.py", "reverse_kl", "return _expect"),
            E("(1−α)·KL(S ‖ m) + α·KL(T ‖ m), m = (1−α)p_S + αp_T", "generalized Jensen-Shannon ([2306.13649](https://arxiv.org/abs/2306.13649))", f"{LOSSES}/full_divergences.py", "jensen_shannon", "return (1.0 - alpha) * reverse_kl"),
            E("top k and a bucket for the rest", "SDPO's support ([2601.20802](https://arxiv.org/abs/2601.20802))", f"{LOSSES}/full_divergences.py", "with_tail_bucket", "return torch.cat"),
            E("θ_T ← θ_T + r·(θ − θ_T)", "averaged teacher, `teacher.weights: ema`", "sdar_gym/policy/teacher_weights.py", "TeacherWeights.after_update", ".lerp_("),
        ),
    ),
    (
        "The teacher in the advantage",
        "λ is the shaper's coefficient, u its signal; a multiplier never changes the sign of A.",
        (
            E("Â = κ·A·(1 + λu)", "multiplier", "sdar_gym/algorithms/objectives/advantage_shaping.py", "AdvantageShaper.shape", "return advantage_BT * "),
            E("Â = κ·A + λu", "bonus", "sdar_gym/algorithms/objectives/advantage_shaping.py", "AdvantageShaper.shape", "return advantage_BT + coeff"),
            E("u = clip(e^(sign(A)·Δ) − 1, ±l)", "RLSD ([2604.03128](https://arxiv.org/abs/2604.03128))", f"{METHODS}/rlsd.py", "RLSDShaper.signal", ".expm1()"),
            E("belief = σ(logit(prior) + c_k), c_k = decay·c_(k−1) + Σ Δ", "AgentOPSD's belief walk ([2608.05987](https://arxiv.org/abs/2608.05987))", f"{METHODS}/agent_opsd.py", "belief_changes", "carried = decay * carried"),
            E("u = e / mean_G |e|, e = e^(sign(A)·mean Δ) − 1", "GRSD ([2607.28076](https://arxiv.org/abs/2607.28076))", f"{METHODS}/grsd.py", "GRSDShaper.signal", "return (x_BT"),
            E("u = Δ", "OPID's bonus ([2606.26790](https://arxiv.org/abs/2606.26790))", f"{METHODS}/opid.py", "GapBonus.signal", "return teacher_gap"),
            E("u = s · z(log p_T) · σ(2·value)", "ADRS ([2608.03223](https://arxiv.org/abs/2608.03223))", f"{METHODS}/adrs.py", "AlignmentBonus.signal", "teacher_value(turns)"),
            E("G_t = Σ_{i > t} γ^(i−t−1) · cost_i", "DistIL's credit for later tokens", f"{METHODS}/distil.py", "future_costs", "running = cost + settings.gamma"),
        ),
    ),
    (
        "Evaluation",
        "",
        (
            E("pass@k = 1 − C(n−c, k) / C(n, k)", "at least one of k attempts succeeds ([2107.03374](https://arxiv.org/abs/2107.03374))", "sdar_gym/evaluation/repeated.py", "pass_at_k", "return 1.0 - comb"),
            E("pass^k = C(c, k) / C(n, k)", "all of k attempts succeed ([2406.12045](https://arxiv.org/abs/2406.12045))", "sdar_gym/evaluation/repeated.py", "pass_hat_k", "return comb"),
            E("(p + z²/2n ± z√(p(1−p)/n + z²/4n²)) / (1 + z²/n)", "Wilson's 95 % interval of success", "sdar_gym/evaluation/summary.py", "wilson_interval", "half = _Z95"),
            E("bootstrap over tasks", "interval where a task is played several times", "sdar_gym/evaluation/repeated.py", "clustered_interval", "means = [array[draws.integers"),
            E("r(A, mean Δ)", "correlation of gap and advantage by task type, a running mean", "sdar_gym/training/gap_correlation.py", "_correlation", "x_E @ y_E"),
        ),
    ),
    (
        "Skills and scores of environments",
        "",
        (
            E("idf · tf / (tf + k1·(1 − b + b·len/avg))", "BM25 as Lucene computes it", "sdar_gym/skills/index/bm25s_index.py", "_scored", "scores = weights - weights"),
            E("idf = ln(1 + (N − n + 0.5) / (n + 0.5))", "inverse document frequency", "sdar_gym/skills/index/postings.py", "frequency_weights", "return np.log"),
            E("mean + c·√(ln N / n)", "UCB over the skills of a task type (SDAR, Table 2)", "sdar_gym/skills/strategies/ucb.py", "UcbRetriever._bound", "sqrt(log("),
            E("type · (attributes + options + price) / (wanted + 1)", "WebShop's score", "sdar_gym/envs/webshop/reward.py", "score_purchase", "total=factor *"),
            E("2·shared / (a + b)", "token F1 of an answer (SQuAD)", "sdar_gym/envs/searchqa/reward.py", "_f1", "return 2 * shared"),
            E("satisfied conditions / all", "ALFRED's goal-condition rate", "sdar_gym/envs/alfworld/reward.py", "goal_conditions", "return met, total"),
        ),
    ),
)  # fmt: skip


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, text, equations in CHAPTERS:
        parts.append(f"## {title}\n")
        if text:
            parts.append(f"{text}\n")
        rows = ["| equation | meaning | line |", "|---|---|---|", *map(_row, equations)]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def find(equation: Equation) -> tuple[int, str]:
    """Number and text of an equation's line.

    Raises:
        ValueError: The function or the piece is not in the file, or the piece is in several lines of the function.
    """
    text = (ROOT / equation.file).read_text(encoding="utf-8")
    first, last = _extent(ast.parse(text), equation)
    lines = text.splitlines()
    found = [number for number in range(first, last + 1) if equation.piece in lines[number - 1]]
    if len(found) != 1:
        raise ValueError(
            f"{equation.file}, {equation.function}: {equation.piece!r} is in {len(found)} of its lines, not in one. "
            f"Name the line that computes {equation.formula!r} in scripts/equation_page.py."
        )
    return found[0], lines[found[0] - 1].strip()


def _extent(tree: ast.AST, equation: Equation) -> tuple[int, int]:
    """First and last line of the function, without its docstring."""
    node = tree
    for name in equation.function.split("."):
        inner = (
            each
            for each in ast.iter_child_nodes(node)
            if isinstance(each, ast.FunctionDef | ast.ClassDef) and each.name == name
        )
        node = next(inner, None) or _missing(equation)
    assert isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return body[0].lineno, node.end_lineno


def _missing(equation: Equation) -> ast.AST:
    raise ValueError(f"{equation.file} has no {equation.function}: correct scripts/equation_page.py.")


def _row(equation: Equation) -> str:
    number, line = find(equation)
    place = f"{Path(equation.file).name}:{number}"
    cells = (equation.formula, equation.meaning, f"[{place}](../{equation.file}#L{number})<br>`{line}`")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    return write_pages(__doc__, {PAGE: page()}, arguments)


if __name__ == "__main__":
    sys.exit(main())
