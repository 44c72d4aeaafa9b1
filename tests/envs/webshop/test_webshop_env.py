"""Pages, clicks and episodes of `sdar/WebShop-v0`."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
from collections.abc import Callable

import gymnasium
import pytest

import sdar_gym
from sdar_gym.envs import TaskNotFoundError
from sdar_gym.envs.policies import RandomPolicy, expert_of
from sdar_gym.envs.prompting import EpisodeView, PastTurn, prompt_template
from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.env import SEARCH_ACTION, WebShopEnv
from sdar_gym.envs.webshop.generator import generate_products
from sdar_gym.envs.webshop.prompt import page_alone
from sdar_gym.envs.webshop.session import Session, ShopError, split_action
from sdar_gym.testing import CheckSettings, check_text_env

PRODUCT = generate_products(1)[0]
TASK = f"{PRODUCT.asin}/0"


@pytest.fixture
def env() -> WebShopEnv:
    return WebShopEnv("generated")


def open_product(env: WebShopEnv) -> None:
    env.reset(options={"task_id": TASK})
    env.step(f"search[{PRODUCT.title}]")
    _, _, _, _, info = env.step(f"click[{PRODUCT.asin}]")
    assert info["action_valid"]


def test_a_whole_episode(env: WebShopEnv) -> None:
    observation, info = env.reset(options={"task_id": TASK})
    goal = info["goal"]
    assert observation == f"WebShop [SEP] Instruction: [SEP] {goal} [SEP] Search"
    assert info["admissible_actions"] == (SEARCH_ACTION,)
    assert (info["task_id"], info["task_type"]) == (TASK, "beauty")

    observation, reward, terminated, _, info = env.step(f"search[{PRODUCT.title}]")
    parts = observation.split(" [SEP] ")
    assert parts[:5] == ["Instruction:", goal, "Back to Search", "Page 1 (Total results: 50)", "Next >"]
    assert parts[5:8] == [PRODUCT.asin, PRODUCT.title, PRODUCT.price_tag]
    assert len(parts) == 5 + 10 * 3
    assert info["admissible_actions"][:3] == (
        "click[back to search]",
        "click[next >]",
        f"click[{PRODUCT.asin.lower()}]",
    )
    assert (reward, terminated, info["action_valid"]) == (0.0, False, True)

    observation, _, _, _, info = env.step(f"click[{PRODUCT.asin}]")
    assert observation.startswith(f"Instruction: [SEP] {goal} [SEP] Back to Search [SEP] < Prev [SEP] ")
    assert observation.endswith("[SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now")
    for name, value in env.goal.options:
        observation, _, _, _, info = env.step(f"click[{value.upper()}]")
        assert info["action_valid"], name

    observation, reward, terminated, truncated, info = env.step("click[Buy Now]")
    assert observation.startswith("Thank you for shopping with us! [SEP] Your code: [SEP] None [SEP] ")
    assert (reward, terminated, truncated, info["won"], info["score"]) == (10.0, True, False, True, 1.0)
    assert info["bought_asin"] == PRODUCT.asin
    assert info["bought_options"] == dict(env.goal.options)
    assert info["score_options"] == info["score_attributes"] == info["score_type"] == 1.0
    assert info["admissible_actions"] == ()


def test_a_half_right_purchase_pays_by_the_reward_asked_for() -> None:
    for reward, paid in (("success", 0.0), ("score", None)):
        env = WebShopEnv("generated", reward=reward)
        open_product(env)
        _, got, terminated, _, info = env.step("click[buy now]")
        wanted = len(env.goal.attributes) + len(env.goal.options) + 1
        assert info["score"] == pytest.approx((wanted - len(env.goal.options)) / wanted)
        assert (got, terminated, info["won"]) == (info["score"] if paid is None else paid, True, False)


def test_pages_and_the_way_back(env: WebShopEnv) -> None:
    env.reset(options={"task_id": TASK})
    first, *_ = env.step("search[shampoo]")
    second, _, _, _, info = env.step("click[next >]")
    assert "Page 2" in second
    assert "click[< prev]" in info["admissible_actions"]
    assert env.step("click[< prev]")[0] == first
    for page in range(2, 6):
        last, _, _, _, info = env.step("click[next >]")
        assert f"Page {page} " in last
        if "click[next >]" not in info["admissible_actions"]:
            break
    assert env.step("click[next >]")[4]["action_valid"] is False
    env.step("click[back to search]")
    assert env.step("search[zzzzz]")[0].endswith("Back to Search [SEP] Page 1 (Total results: 0)")


def test_sub_pages_keep_the_options_and_the_results_forget_them() -> None:
    env = WebShopEnv("generated", observation="readable", show_attributes=True)
    open_product(env)
    name, value = env.goal.options[0]
    assert f"Option {name} [{value}]:" in env.step(f"click[{value}]")[0]
    for button, text in (
        ("description", PRODUCT.description),
        ("features", PRODUCT.bullets[0]),
        ("reviews", "(nothing)"),
        ("attributes", PRODUCT.attributes[0]),
    ):
        assert text in env.step(f"click[{button}]")[0]
        assert f"Option {name} [{value}]:" in env.step("click[< prev]")[0]
    env.step("click[< prev]")
    assert f"Option {name} [nothing chosen]:" in env.step(f"click[{PRODUCT.asin}]")[0]


@pytest.mark.parametrize(
    "action",
    [
        "",
        "buy",
        "search",
        "search[]",
        "Search[a]",
        "click[]",
        "click[search]",
        "click[nothing like it]",
        "search[a\nb]",
    ],
)
def test_nonsense_is_a_turn_that_changes_nothing(env: WebShopEnv, action: str) -> None:
    open_product(env)
    before = env.render, env._last_text
    observation, reward, terminated, _, info = env.step(action)
    assert (observation, reward, terminated, info["action_valid"], info["turn"]) == (before[1], 0.0, False, False, 3)


def test_a_search_is_possible_everywhere(env: WebShopEnv) -> None:
    open_product(env)
    observation, _, _, _, info = env.step("search[beef JERKY]")
    assert "Beef Jerky" in observation
    assert info["action_valid"]


def test_the_turn_limit_truncates() -> None:
    env = WebShopEnv("generated", max_steps=2)
    env.reset(seed=0)
    assert env.step("a")[2:4] == (False, False)
    assert env.step("b")[2:4] == (False, True)


def test_bugs_of_the_reference_are_fixed_and_can_be_restored() -> None:
    mended, compat = (WebShopEnv("generated", reference_compat=flag) for flag in (False, True))
    info = {env: env.reset(options={"task_id": TASK})[1] for env in (mended, compat)}
    assert "click[search]" not in info[mended]["admissible_actions"]
    assert "click[search]" in info[compat]["admissible_actions"]
    assert compat.step("click[search]")[4]["action_valid"]
    for query in ("<a> x", "<c>"):
        # The reference crashes here.
        assert compat.step(f"search[{query}]")[4]["action_valid"] is False
        assert mended.step(f"search[{query}]")[4]["action_valid"] is True
    # As a command, a department finds all its products; as a word, the products that contain it.
    assert "(Total results: 200)" in compat.step("search[<c> grocery]")[0]
    assert "(Total results: 200)" not in mended.step("search[<c> grocery]")[0]
    # In the reference a query with the name of a page changes the page type, and so the effect of "< Prev".
    for env, page in ((compat, "Page 0 "), (mended, "Page 1 ")):
        env.reset(options={"task_id": TASK})
        env.step(f"search[search_results {PRODUCT.title}]")
        env.step(f"click[{PRODUCT.asin}]")
        assert page in env.step("click[< prev]")[0]
    assert "click[next >]" in compat.step("search[zzzzz]")[4]["admissible_actions"]
    assert "click[next >]" not in mended.step("search[zzzzz]")[4]["admissible_actions"]


def test_a_session_after_a_failed_search_has_lost_its_product(small_shop: Catalog) -> None:
    session = Session("Buy.", small_shop.shelf(), compat=True)
    session.act("search[sneakers]")
    session.act("click[b00000000a]")
    for action, kind in (("search[<a>]", "TypeError"), ("click[buy now]", "KeyError"), ("click[features]", "KeyError")):
        with pytest.raises(ShopError) as caught:
            session.act(action)
        assert caught.value.kind == kind
    assert "buy now" in session.clickables


def test_values_that_two_options_share(make_product: Callable[..., object]) -> None:
    shop = Catalog([make_product(options={"band": ("black", "red"), "case": ("black", "red")})])  # pyright: ignore[reportArgumentType]
    session = Session("Buy.", shop.shelf())
    for action in ("search[sneakers]", "click[b000000001]", "click[black]", "click[red]"):
        assert session.act(action) == "done"
    assert session.options == {"band": "black", "case": "red"}
    compat = Session("Buy.", shop.shelf(), compat=True)
    for action in ("search[sneakers]", "click[b000000001]", "click[black]", "click[red]"):
        compat.act(action)
    assert compat.options == {"case": "red"}


def test_split_action_is_greedy_and_quick() -> None:
    assert split_action("search[a[b]c] d") == ("search[a", "b]c")
    assert split_action("[a]") == ("[a]", None)
    assert split_action("search[a]\n]") == ("search", "a")
    assert split_action("[" * 1_000_000) == ("[" * 1_000_000, None)


def test_pickled_episodes_go_on_and_are_small(env: WebShopEnv) -> None:
    open_product(env)
    name, value = env.goal.options[0]
    env.step(f"click[{value}]")
    data = pickle.dumps(env)
    assert len(data) < 20_000
    for other in (pickle.loads(data), copy.deepcopy(env)):
        assert other._catalog is env._catalog
        assert other.step("click[buy now]")[4]["bought_options"] == {name: value}
    assert not env.step("click[description]")[2]


def test_wrong_arguments_name_the_right_ones() -> None:
    for arguments, message in (
        ({"goals": "robot"}, "Unknown goals 'robot'; choose from synthetic, human"),
        ({"observation": "html"}, "Unknown observation 'html'; choose from text, readable"),
        ({"reward": "dense"}, "Unknown reward 'dense'; choose from success, score"),
        ({"search_backend": "grep"}, "Unknown search backend 'grep'"),
    ):
        with pytest.raises(ValueError, match=message):
            WebShopEnv("generated", **arguments)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TaskNotFoundError, match="Unknown split 'dev'"):
        WebShopEnv("generated", split="dev")
    with pytest.raises(TaskNotFoundError, match="with human goals"):
        WebShopEnv("generated", goals="human")
    with pytest.raises(TaskNotFoundError, match="no product 'B0'"):
        WebShopEnv("generated").reset(options={"task_id": "B0/0"})


def test_an_open_episode_costs_little() -> None:
    first = WebShopEnv("generated")
    open_product(first)
    gc.collect()
    tracemalloc.start()
    envs = [WebShopEnv("generated") for _ in range(256)]
    for env in envs:
        open_product(env)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 25_000_000  # 256 environments


def test_the_prompt_shows_the_instruction_once(env: WebShopEnv) -> None:
    for observation in ("text", "readable"):
        shop = WebShopEnv("generated", observation=observation)
        first, info = shop.reset(options={"task_id": TASK})
        second, _, _, _, info = shop.step("search[shampoo]")
        view = EpisodeView(info["goal"], (PastTurn(first, "search[shampoo]"),), second, info["admissible_actions"])
        template = prompt_template("sdar/WebShop-v0", "window")
        (message,) = template.messages(view, window=2, think=True)
        assert message["content"].count(info["goal"]) == 1
        assert "Page 1" in message["content"] or "page 1" in message["content"]
        assert template.parse("<think>a</think><action>click[next >]</action>", think=True).action == "click[next >]"
    assert page_alone("said: Instruction: [SEP] Buy [SEP] x", "Buy") == "said: Instruction: [SEP] Buy [SEP] x"


def test_a_random_policy_gets_somewhere() -> None:
    policy, env = RandomPolicy(0), WebShopEnv("generated", reward="score")
    bought = 0
    for seed in range(30):
        observation, info = env.reset(seed=seed)
        policy.begin(env, observation, info)
        for _ in range(15):
            observation, _, terminated, truncated, info = env.step(policy.act(observation, info))
            bought += terminated
            if terminated or truncated:
                break
    assert bought > 3


def test_the_expert_solves_every_tenth_generated_task(env: WebShopEnv) -> None:
    expert = expert_of("sdar/WebShop-v0")
    assert expert is not None
    tasks = [task_id for split in env.splits for task_id in env.task_ids(split)[::40]]
    won = 0
    for task_id in tasks:
        observation, info = env.reset(options={"task_id": task_id})
        expert.begin(env, observation, info)
        done = False
        while not done:
            observation, _, terminated, truncated, info = env.step(expert.act(observation, info))
            done = terminated or truncated
        won += info["won"]
    assert len(tasks) > 200
    assert won / len(tasks) >= 0.95


def test_the_contract_holds_in_every_mode() -> None:
    check_text_env(
        "sdar/WebShop-v0",
        settings=CheckSettings(tasks=3, turns=12, fuzz_actions=60),
        data="generated",
        observation="readable",
        reference_compat=True,
        show_attributes=True,
        num_products=200,
    )


def test_made_the_gymnasium_way() -> None:
    assert sdar_gym.__name__ in str(gymnasium.spec("sdar/WebShop-v0").entry_point)
    env = gymnasium.make("sdar/WebShop-v0", data="generated", num_products=50)
    assert env.reset(seed=3) == env.reset(seed=3)
    assert env.unwrapped.task_group("X/1") == "X"  # pyright: ignore[reportAttributeAccessIssue]
