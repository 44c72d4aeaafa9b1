"""`sdar/WebShop-v0`: a text shop with real products or generated ones."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from gymnasium.envs.registration import EnvSpec

from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.envs.webshop.catalogue import SPLITS, split_of, split_task_id
from sdar_gym.envs.webshop.goals import GOAL_KINDS, Goal
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.reward import score_purchase
from sdar_gym.envs.webshop.session import Session, ShopError, listed_action
from sdar_gym.envs.webshop.sources import located, open_catalogue
from sdar_gym.envs.webshop.text import OBSERVATIONS, Page, receipt_page
from sdar_gym.envs.webshop.title_nouns import NOUN_SOURCES, noun_source
from sdar_gym.skills.index import BACKENDS
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, flag, whole_number

REWARDS = ("success", "score")
# What the reference's prompt shows for the search box. Taken at its word it searches for "<your query>".
SEARCH_ACTION = "search[<your query>]"
# The seed of the reference environment whose prices and price limits `reference_compat` takes.
_REFERENCE_SEED = 0


class WebShopEnv(TextEnv):
    """WebShop: find and buy the product that an instruction describes.

    Task:
        An instruction names a type of product, attributes, options and mostly a price limit. Search, open products,
        choose options, buy. The task types are the shop's departments: `beauty`, `electronics`, `fashion`, `garden`,
        `grocery`.

    Observation:
        The page. `text` is WebShop's own form, the visible texts joined by ` [SEP] `; which options are chosen it does
        not say. `readable` has the same in lines, with the chosen options.

    Action:
        `search[words]`, on every page, or `click[x]` with one of the page's buttons, product ids or option values, in
        any case of letters. Anything else changes nothing and counts as a turn. A search returns at most 50 products,
        10 a page, by BM25. An option value that reads like a button is clicked with its option's name before it:
        `click[style: buy now]`.

    Reward:
        At the purchase: `success` gives `success_reward` (10) if the score is 1, else 0; `score` gives the score. The
        score is WebShop's: type factor x (attributes + options + price met) / (attributes + options wanted + 1).

    Episode end:
        Terminated by `click[buy now]`; truncated after `max_steps` turns (15).

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`. The admissible actions
        are all clicks, and `search[<your query>]` where there is a search box: a place for the words, which, sent as it
        is, searches for them. After a purchase also `bought_asin`, `bought_options` and the terms of the score:
        `score_type`, `score_attributes`, `score_options` (None if the goal names no option), `score_price`,
        `query_match`, `category_match`, `title_score`.

    Splits:
        `train` (80 %), `valid` and `test` (10 % each) of the products, by a hash of the product's id, so no product is
        in two of them and every process agrees. Task ids are `<asin>/<n>`, n counting the product's goals: the
        combinations of its option values, or the instructions that people wrote for it.

    Arguments:
        data: `"generated"`, a folder with WebShop's files (`items_shuffle*.json`, `items_ins_v2*.json`,
            `items_human_ins.json`, or `documents*.jsonl`), or one of the product files; by default `$WEBSHOP_DATA` if
            it is set, else the generated shop of 1,000 products. In a folder with several sizes the 1,000 products come
            first, as in the reference; name the file of another size to play that. A relative path means what it means
            when the environment is made.
        split: The split that `reset()` draws from.
        goals: `synthetic`, or `human` where the data have them.
        observation: `text` or `readable`.
        reward: `success` or `score`.
        success_reward: Reward of a full score.
        max_steps: Turn limit.
        num_products: Only the first so many products. A shop of 2,000 and more is compiled once, with its index, and
            kept under `$XDG_CACHE_HOME/sdar_gym/webshop` (`~/.cache`; about 1.5 kB a product), from where it opens in
            a fraction of a second.
        search_backend: `auto`, `bm25s` or `lucene`. The index is built once per process and data.
        title_nouns: How titles are compared for the type factor: `spacy` as the reference does, `words` as a stand-in
            (all words but function words), or `auto`, spaCy where it and its small English model are installed.
        show_attributes: Give product pages an Attributes button.
        reference_compat: Bring back what the reference does differently.

    Differences from the reference:
        Mended, and brought back by `reference_compat=True`: Goal options are compared as values, colours on both sides
        (the reference cuts only the bought colour down to its colour word, so that some goals cannot reach a score of
        1), under their own option's name, sizes only when equal ("large" is in "x-large") and colour words only as
        words ("dash" is no "ash"). `click[search]`, which does nothing, is not listed. `<r>`, `<a>`, `<c>` and `<q>`
        at the beginning of a query are words like others, not commands; in the reference some of them raise, which here
        is a turn with `action_valid=False` even in `reference_compat`. A page's kind is known, not guessed from an
        address that holds the query. `Next >` is there only if a page follows. Prices within a range and price limits
        depend on the product alone; in the reference on the seed of each worker (`reference_compat` takes those of
        seed 0). Whatever is listed is understood and whatever is asked for can be chosen: option values with brackets,
        line breaks or capitals, values that read like a button, ids in small letters. Blank values are not offered. A
        query may hold brackets; one that is a product's id finds it. A product of more than a million dollars is within
        no limit.
        Never brought back: splits by position in a list that each worker shuffles with its own seed, which leak test
        goals into training; the reset in the middle of the last step, after which the listed actions belong to another
        episode. `sdar_gym.envs.webshop.reference` has both for comparisons.
        The data have no reviews and ratings, here as there.

    Version history:
        v0: first release.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        split: str = "train",
        goals: str = "synthetic",
        observation: str = "text",
        reward: str = "success",
        success_reward: float = 10.0,
        max_steps: int = 15,
        num_products: int | None = None,
        search_backend: str = "auto",
        title_nouns: str = "auto",
        show_attributes: bool = False,
        reference_compat: bool = False,
        render_mode: str | None = None,
    ):
        super().__init__(max_steps, render_mode)
        for name, value, known in (
            ("goals", goals, GOAL_KINDS),
            ("observation", observation, OBSERVATIONS),
            ("reward", reward, REWARDS),
            ("search_backend", search_backend, BACKENDS),
            ("title_nouns", title_nouns, NOUN_SOURCES),
        ):
            # Unknown names of the last two are refused where they are looked up, with what would work instead.
            if not isinstance(value, str) or (value not in known and known not in (BACKENDS, NOUN_SOURCES)):
                raise ValueError(f"Unknown {name} {shortened(value)}; choose from {', '.join(known)}.")
        if not isinstance(split, str) or split not in SPLITS:
            raise TaskNotFoundError(f"Unknown split {shortened(split)}; WebShop has {', '.join(SPLITS)}.")
        self._success_reward = finite_number("success_reward", success_reward)
        self._show_attributes = flag("show_attributes", show_attributes)
        self._compat = flag("reference_compat", reference_compat)
        self._num_products = None if num_products is None else whole_number("num_products", num_products)
        # Absolute, and without the environment variable: it means the same elsewhere and later.
        self._data = located(data)
        self._backend = search_backend
        self._noun_source = title_nouns
        self._open()
        self._kind = goals
        self._split = split
        self._observation = observation
        self._reward = reward
        self._spec: EnvSpec | None = None
        self._session: Session | None = None
        self._goal: Goal | None = None
        self._score = 0.0
        # A split without goals is refused here rather than at the first reset.
        self._catalogue.task_count(goals, split)

    @property
    def goal(self) -> Goal:
        """What the running episode asks for, hidden parts included.

        Raises:
            ValueError: There is none.
        """
        if self._goal is None:
            raise ValueError("No episode is running: call reset() first.")
        return self._goal

    @property
    def product(self) -> Product:
        """The product that the goal of the running episode was made from.

        Raises:
            ValueError: There is none.
        """
        return self._catalogue.products[self.goal.asin]

    @property
    def page(self) -> Page:
        """What is shown, and what each click on it leads to.

        Raises:
            ValueError: No episode is running.
        """
        if self._session is None:
            raise ValueError("No episode is running: call reset() first.")
        return self._session.page

    @property
    def spec(self) -> EnvSpec | None:
        """What `gymnasium.make` was called with; the data as this environment found them."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._spec = None if spec is None else replace(spec, kwargs={**spec.kwargs, "data": self._data})

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that have goals of the kind this environment plays."""
        return self._catalogue.splits(self._kind)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """The ids of all tasks of a split (default: the environment's), in the order of the data.

        Raises:
            TaskNotFoundError: There is no such split, or it has no tasks.
        """
        return self._catalogue.task_ids(self._kind, self._split if split is None else split)

    def task_type(self, task_id: str) -> str:
        """The department of the task's product.

        Raises:
            TaskNotFoundError: There is no such product.
        """
        return self._catalogue.product_of(task_id).category

    def task_group(self, task_id: str) -> str:
        """The product, which no two splits share."""
        return split_task_id(task_id)[0]

    def _random_task_id(self, split: str | None) -> str:
        # By number: a million products have more goals than are worth listing for one draw.
        split = self._split if split is None else split
        count = self._catalogue.task_count(self._kind, split)
        return self._catalogue.task_id_at(self._kind, split, int(self.np_random.integers(count)))

    def _load_task(self, task_id: str) -> Task:
        goal = self._make_goal(task_id)
        return Task(task_id, self.task_type(task_id), split_of(goal.asin), goal.instruction)

    def _make_goal(self, task_id: str) -> Goal:
        return self._catalogue.goal(self._kind, task_id, reference_seed=_REFERENCE_SEED if self._compat else None)

    def _begin(self, task: Task) -> Turn:
        self._goal = self._make_goal(task.task_id)
        self._score = 0.0
        self._session = Session(task.goal, self._catalogue.shelf(self._backend), self._compat, self._show_attributes)
        return self._turn_after(action_valid=True)

    def _act(self, action: str) -> Turn:
        assert self._session is not None  # step() has made sure of a running episode
        try:
            outcome = self._session.act(action)
        except ShopError:
            # Only in `reference_compat`, where the reference would end the program here.
            return self._turn_after(action_valid=False)
        if outcome == "bought" and self._session.asin is not None:
            return self._buy(self._session.asin, dict(self._session.options))
        return self._turn_after(action_valid=outcome == "done")

    def _turn_after(self, *, action_valid: bool) -> Turn:
        session = self._session
        assert session is not None
        actions = tuple(map(listed_action, session.clickables))
        if session.page.has_search:
            actions = (SEARCH_ACTION, *actions)
        return Turn(session.page.text(self._observation), 0.0, False, action_valid, actions, self._score, False)

    def _buy(self, asin: str, options: dict[str, str]) -> Turn:
        product = self._catalogue.products[asin]
        price = self._catalogue.price(asin, kind=self._kind, reference_seed=_REFERENCE_SEED if self._compat else None)
        score = score_purchase(product, self.goal, price, options, self._nouns, compat=self._compat)
        self._score = score.total
        won = score.total == 1.0
        return Turn(
            observation=receipt_page(asin, options, score.total).text(self._observation),
            reward=score.total if self._reward == "score" else self._success_reward * won,
            terminated=True,
            action_valid=True,
            admissible_actions=(),
            score=score.total,
            won=won,
            extra={"bought_asin": asin, "bought_options": options, **score.terms()},
        )

    def _open(self) -> None:
        self._catalogue = open_catalogue(self._data, self._num_products, published=self._compat)
        self._catalogue.shelf(self._backend)
        self._nouns = noun_source(self._noun_source)

    def __getstate__(self) -> dict[str, Any]:
        # Catalogue and index belong to the process; the receiving one has or opens its own.
        return {name: value for name, value in self.__dict__.items() if name not in ("_catalogue", "_nouns")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
        if self._session is not None:
            self._session.shelf = self._catalogue.shelf(self._backend)

    def close(self) -> None:
        """Drop the running episode; closing twice is fine."""
        self._session = None
        self._goal = None
        self._ended = True
