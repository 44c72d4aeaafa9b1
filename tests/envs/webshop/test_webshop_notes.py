"""Notes on a shopping episode and the compact prompt made of them."""

from __future__ import annotations

import gymnasium
import pytest

from sdar_gym.envs.prompting import EpisodeView, PastTurn, prompt_template
from sdar_gym.envs.webshop.demonstrator import Demonstrator
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.notes import goal_of, notes_of, words_in

GOAL = (
    "Find me long lasting floor lamps for living room with color: walnut, and style: deluxe, and price lower than "
    "210.00 dollars"
)
HEAD = f"Instruction: {GOAL}\n"
RESULTS = (
    f"{HEAD}Search results, page 1, 12 in all:\n"
    "- B0AAAAAAAA: Hollis Arc Floor Lamp Plus, with Dimmer ($99.0)\n"
    "- B0BBBBBBBB: Hollis Arc Floor Lamp Duo, Long Lasting, with Dimmer ($120.0 to $160.0)\n"
    "- B0CCCCCCCC: Hollis Arc Floor Lamp Lite, Long Lasting, with Dimmer ($250.0)\n"
    "Buttons: Back to Search | Next >"
)
ITEM = (
    f"{HEAD}Product B0BBBBBBBB: Hollis Arc Floor Lamp Duo, Long Lasting, with Dimmer\n"
    "Price: $120.0 to $160.0. Rating: N.A..\n"
    "Option color [walnut]: espresso, walnut\nOption style [nothing chosen]: basic, deluxe\n"
    "Buttons: Back to Search | < Prev | Description | Features | Reviews | Buy Now"
)
FEATURES = f"{HEAD}Features of B0BBBBBBBB:\n- What you get: living room.\nButtons: Back to Search | < Prev"


def view_of(*turns: tuple[str, str], last: str) -> EpisodeView:
    return EpisodeView(GOAL, tuple(PastTurn(page, action) for page, action in turns), last, ())


START = f"{HEAD}Search page. There is a search box."
SEARCHED = (START, "search[floor lamps walnut deluxe]")


def prompt(view: EpisodeView) -> list[str]:
    (message,) = prompt_template("sdar/WebShop-v0", "compact").messages(view, window=2, think=False)
    return message["content"].split("\n")


def test_a_goal_is_taken_apart() -> None:
    goal = goal_of(GOAL)
    assert goal.words == ("long", "lasting", "floor", "lamps", "living", "room")
    assert goal.limit == 210.0
    assert goal.names("color", "walnut") and not goal.names("color", "wal") and not goal.names("style", "walnut")
    assert goal_of("find me shoes").limit == float("inf")
    assert words_in("Lamp for the room", goal.words) == ("lamps", "room")


def test_results_name_the_best_product_within_the_limit() -> None:
    lines = prompt(view_of(SEARCHED, last=RESULTS))
    assert lines[0] == f"task: {GOAL}"
    assert lines[1:] == [
        "turn: 2",
        "searched: floor lamps walnut deluxe",
        "page: results",
        "new: b0bbbbbbbb long lasting floor lamps",
    ]


def test_a_product_shows_what_it_lacks_offers_and_has_chosen() -> None:
    opened = (RESULTS, "click[b0bbbbbbbb]")
    lines = prompt(view_of(SEARCHED, opened, last=ITEM))
    assert lines[-5:] == [
        "page: item", "lacks: living room", "features: unread", "offers: style deluxe", "chosen: color walnut",
    ]  # fmt: skip
    read = view_of(SEARCHED, opened, (ITEM, "click[features]"), (FEATURES, "click[< prev]"), last=ITEM)
    assert prompt(read)[-4:-2] == ["lacks: nothing", "features: read"]
    back = view_of(SEARCHED, opened, (ITEM, "click[< prev]"), last=RESULTS)
    # What was opened is not new.
    assert prompt(back)[-1] == "new: b0aaaaaaaa floor lamps"
    other = (ITEM.replace("B0BBBBBBBB", "B0AAAAAAAA"), "click[< prev]")
    both = view_of(SEARCHED, opened, (ITEM, "click[< prev]"), (RESULTS, "click[b0aaaaaaaa]"), other, last=RESULTS)
    assert prompt(both)[-1] == "more: next"


def test_a_page_in_another_form_is_shown_as_it_is() -> None:
    lines = prompt(EpisodeView(GOAL, (), f"WebShop [SEP] Instruction: [SEP] {GOAL} [SEP] Search", ()))
    assert lines[-2:] == ["page: other", "Search"]


@pytest.mark.parametrize(("procedure", "wins"), [(("color", "size"), True), (("color",), False), (("scent",), False)])
def test_the_right_procedure_buys_the_product_and_others_do_not(procedure: tuple[str, ...], wins: bool) -> None:
    env = gymnasium.make(
        "sdar/WebShop-v0", disable_env_checker=True, data="generated", num_products=400, observation="readable",
        task_types="options",
    ).unwrapped  # fmt: skip
    assert isinstance(env, WebShopEnv)
    tasks = [task_id for task_id in env.task_ids("valid") if env.task_type(task_id) == "color_size"][::16]
    won = []
    for task_id in tasks:
        page, info = env.reset(options={"task_id": task_id})
        words = [word for attribute in env.goal.attributes for word in attribute.split()]
        demonstrator = Demonstrator(env.goal.query, words, env.goal.options, procedure)
        past: list[PastTurn] = []
        ended, last = False, info
        while not ended:
            action = demonstrator.act(notes_of(EpisodeView(info["goal"], tuple(past), page, ())), len(past) + 1)
            past.append(PastTurn(page, action))
            page, _, terminated, truncated, last = env.step(action)
            ended = terminated or truncated
        won.append(last["won"])
    assert len(won) == 10
    assert sum(won) >= 7 if wins else not any(won)
