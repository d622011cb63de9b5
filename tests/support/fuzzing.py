"""What all fuzzing has in common: damage, and what became of it."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable

from afa_bench.errors import UserError

WORDS = (
    "null", "~", "true", "-1", "0", "1e999", ".nan", ".inf", "[]", "{}", "''", '"\\ud800"', '"\\0"', "9" * 400, "x" * 5000,
    "!!python/object:os.system x", "&a [*a]", "*b", "<<: *b", "? [a, b] : c", "2020-01-01", "!!binary aGk=", "!!set {a}",
    "- - - -", "|", ">", "%YAML 9", "---", "...", "../..", "/dev/null", "mini", "mini-1", "afa", "base", "weighted", "clip-t",
    "fid", "name", "{name: mini}", "{name: file, path: x}", "{name: weighted, weights: [1]}", "{name: afa, label: 3}", "\t",
    "\ufeff", "\u2028", "狗",
)  # fmt: skip
Finding = tuple[str, str]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Some bytes, words or lines changed."""
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        place = chance.randrange(len(made) + 1)
        kind = chance.randrange(6)
        if kind == 0 and place < len(made):
            made[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del made[place : place + chance.randrange(1, 40)]
        elif kind == 2:
            made[place:place] = chance.choice(WORDS).encode("utf-8", "surrogatepass")
        elif kind == 3:
            made[place:place] = chance.randbytes(chance.randrange(1, 9))
        elif kind == 4:
            start = chance.randrange(len(made) + 1)
            made[place:place] = made[start : start + chance.randrange(1, 60)]
        else:
            made[place : place + chance.randrange(1, 9)] = bytes(chance.randrange(1, 9))
    return bytes(made)


def tried(work: Callable[[], object], what: str) -> Finding:
    """What became of it: a value, an error, or the traceback and what led to it."""
    try:
        work()
    except UserError as error:
        return ("several lines", what) if "\n" in str(error) else ("error", "")
    except Exception:
        return "traceback", f"{what}\n{traceback.format_exc()}"
    return "value", ""
