"""Manifest of the data sets: files, official addresses, sizes, hashes and licenses.

An unknown size or hash is None. The hash of the first download is then recorded in `CHECKSUMS.json` beside the files,
and later downloads must match it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sdar_gym.downloads.files import UNKNOWN_LIMIT
from sdar_gym.text import closest

_ALFWORLD = "https://github.com/alfworld/alfworld/releases/download"
# This address returns the file itself; for large files `drive.google.com/uc` returns a confirmation page.
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_HUB = "https://huggingface.co/datasets"
_SEARCH_R1 = f"{_HUB}/PeterJinGo/nq_hotpotqa_train/resolve/b7d80abfee334a7a91cb377544f09180d58b34f6"
_WIKI = f"{_HUB}/PeterJinGo/wiki-18-corpus/resolve/69c1c00ffe7c5554c68d8548355cb22e46aabc51"
_FLASHRAG = f"{_HUB}/RUC-NLPIR/FlashRAG_datasets/resolve/main"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a data set.

    Attributes:
        name: Its path relative to the data set's folder, on disk and under a mirror.
        url: The official address.
        size: Size in bytes, if known.
        sha256: SHA-256 hash, if known.
        extra: Downloaded with `--full` only.
        unpack: `archive`: unpack its members beside it. `single`: unpack the only file in it to `unpack_to`.
        unpack_to: See `unpack`.
        note: A description for users.
        limit: Largest accepted size in bytes if the size is unknown.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    extra: bool = False
    unpack: Literal["", "archive", "single"] = ""
    unpack_to: str = ""
    note: str = ""
    limit: int = UNKNOWN_LIMIT


@dataclass(frozen=True, slots=True)
class DataSet:
    """The data of one benchmark.

    Attributes:
        name: Its name on the command line.
        folder: Its folder in the output folder; environments search `$SDAR_GYM_DATA/` for it.
        title: A title for users.
        license: Printed before the download.
        files: The files, in the order of download.
        usage: How to use the data in an environment; `{folder}` stands for its folder.
    """

    name: str
    folder: str
    title: str
    license: str
    files: tuple[DataFile, ...]
    usage: str

    def wanted(self, full: bool) -> tuple[DataFile, ...]:
        """The files to download: the necessary ones, or all."""
        return tuple(file for file in self.files if full or not file.extra)


ALFWORLD = DataSet(
    name="alfworld",
    folder="alfworld",
    title="ALFWorld games (3,553 train, 140 seen, 134 unseen), Shridhar et al. 2021",
    license="MIT (ALFWorld); built from ALFRED, MIT. https://github.com/alfworld/alfworld/blob/master/LICENSE",
    files=(
        DataFile(
            "json_2.1.3_tw-pddl.zip",
            f"{_ALFWORLD}/0.4.2/json_2.1.3_tw-pddl.zip",
            36_507_267,
            "5df77ea759f2211a4106082839ddbbb790f1ba4e7d097ed732cf453f72aa36cf",
            unpack="archive",
            note="the games; unpacks to json_2.1.1/",
        ),
        DataFile(
            "json_2.1.1_json.zip",
            f"{_ALFWORLD}/0.2.2/json_2.1.1_json.zip",
            72_018_818,
            "25171f16e20ad7b048c47275c45b0babf3aa1cbab29cec97387922350a9844bc",
            extra=True,
            unpack="archive",
            note="ALFRED's trajectories and people's task sentences",
        ),
        DataFile(
            "json_2.1.1_pddl.zip",
            f"{_ALFWORLD}/0.2.2/json_2.1.1_pddl.zip",
            34_881_784,
            "913942ebed06659ea0da2f8122512d98bc6add30d84961ca803132d8fbcad585",
            extra=True,
            unpack="archive",
            note="initial states, to compile games anew",
        ),
    ),
    usage='gymnasium.make("sdar/ALFWorld-v0", games="{folder}")',
)

WEBSHOP = DataSet(
    name="webshop",
    folder="webshop",
    title="WebShop products and instructions, Yao et al. 2022",
    license=(
        "MIT, as the WebShop repository states; product texts were collected from amazon.com. "
        "https://github.com/princeton-nlp/WebShop/blob/master/LICENSE.md"
    ),
    files=(
        DataFile("items_shuffle_1000.json", f"{_DRIVE}1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib", note="1,000 products"),
        DataFile("items_ins_v2_1000.json", f"{_DRIVE}1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu", note="their attributes"),
        DataFile("items_human_ins.json", f"{_DRIVE}14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O", note="people's instructions"),
        DataFile(
            "items_shuffle.json",
            f"{_DRIVE}1A2whVgOO0euk5O13n2iYDM0bQRkkRduB",
            extra=True,
            note="1.18 million products",
            limit=20_000_000_000,
        ),
        DataFile(
            "items_ins_v2.json",
            f"{_DRIVE}1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi",
            extra=True,
            note="their attributes",
            limit=20_000_000_000,
        ),
    ),
    usage='gymnasium.make("sdar/WebShop-v0", data="{folder}"); all products: data="{folder}/items_shuffle.json"',
)

SEARCH_QA = DataSet(
    name="searchqa",
    folder="searchqa",
    title="Questions of Search-R1 (train: NQ, HotpotQA; test: seven sets), Wikipedia 2018 in passages",
    license=(
        "The carriers state none for the Search-R1 files; Natural Questions is CC BY-SA 3.0, HotpotQA CC BY-SA 4.0, "
        "Wikipedia's text CC BY-SA. FlashRAG's data sets: CC BY-SA 4.0."
    ),
    files=(
        DataFile(
            "train.parquet",
            f"{_SEARCH_R1}/train.parquet",
            355_663_891,
            "c3cc21e862a8469105de666101578cbff23cdc77e91a803cef102622c89cc4f6",
            note="169,615 questions",
        ),
        DataFile(
            "test.parquet",
            f"{_SEARCH_R1}/test.parquet",
            70_370_337,
            "30aa887b6d47e06e8c0f6f5307c88fe4e13461ac25a20ec0a5433ad7a4fe25dc",
            note="51,713 questions",
        ),
        DataFile(
            "wiki-18.jsonl.gz",
            f"{_WIKI}/wiki-18.jsonl.gz",
            5_123_307_260,
            "7abd929223399cd63c52b499f289bf4f9039be1e9f8c43e1cb3938305b2317db",
            extra=True,
            unpack="single",
            unpack_to="wiki-18.jsonl",
            note="21,015,324 passages; about 14 GB unpacked",
        ),
        *(
            DataFile(f"flashrag/{name}", f"{_FLASHRAG}/{name}", extra=True, note="one evaluation set")
            for name in (
                "nq/test.jsonl",
                "triviaqa/test.jsonl",
                "popqa/test.jsonl",
                "hotpotqa/dev.jsonl",
                "2wikimultihopqa/dev.jsonl",
                "musique/dev.jsonl",
                "bamboogle/test.jsonl",
            )
        ),
    ),
    usage=(
        "sdar-gym index {folder}/wiki-18.jsonl --output {folder}/wiki-18-index (a file of --full), then "
        'gymnasium.make("sdar/SearchQA-v0", questions="{folder}", corpus="{folder}/wiki-18-index")'
    ),
)

DATA_SETS = {entry.name: entry for entry in (ALFWORLD, WEBSHOP, SEARCH_QA)}


def data_set(name: str) -> DataSet:
    """Look up a data set by name.

    Raises:
        ValueError: There is no such data set.
    """
    if name not in DATA_SETS:
        near = closest(name, DATA_SETS)
        hint = f" Did you mean {near!r}?" if near else ""
        raise ValueError(f"No data set {name!r}; there are {', '.join(DATA_SETS)}.{hint}")
    return DATA_SETS[name]
