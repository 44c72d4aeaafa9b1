"""Modules that are imported before any program runs, so that a program does not wait for them."""

from __future__ import annotations

import contextlib
import importlib

_USUAL = (
    "abc array ast atexit bisect builtins calendar cmath collections collections.abc contextlib copy ctypes "
    "dataclasses datetime decimal enum fractions functools gc hashlib heapq inspect io itertools json keyword "
    "linecache locale math numbers operator os os.path pathlib pprint queue random re resource select shutil "
    "signal site socket stat statistics string struct sys tempfile textwrap threading time tokenize traceback "
    "types typing unicodedata warnings weakref encodings.ascii encodings.latin_1 encodings.utf_8 "
    "encodings.unicode_escape "
)
# Where the user that programs run as cannot read the interpreter's folder, there is no import later.
_OTHERS = (
    "argparse asyncio base64 binascii bz2 cProfile codecs colorsys concurrent.futures configparser contextvars "
    "copyreg csv difflib dis doctest email encodings.idna encodings.utf_16 encodings.utf_32 errno filecmp fnmatch "
    "getopt getpass glob graphlib gzip hmac html http ipaddress logging lzma marshal mimetypes multiprocessing "
    "multiprocessing.pool multiprocessing.shared_memory multiprocessing.dummy opcode optparse pickle pickletools "
    "platform posixpath profile pstats reprlib runpy sched secrets selectors shelve shlex sqlite3 stringprep "
    "subprocess symtable sysconfig tarfile timeit token tomllib trace tracemalloc unittest urllib.parse uuid wave "
    "xml.etree.ElementTree zipfile zlib zoneinfo "
)


def preload(everything: bool) -> None:
    """Imports the usual modules, or all that programs could ask for; what this Python lacks is left out."""
    for name in (_USUAL + (_OTHERS if everything else "")).split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
