"""Ways to damage bytes, text and nested data; each a function of a random generator, so that a seed
decides everything."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

LONG_NUMBER = "9" * 5000  # Python refuses to read integers of over 4,300 digits
SURROGATE = "\ud800"
_WORDS = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"nan ",
    b"1e99",
    b"\0\0\xc0\x7f",
    b"\0\0\x80\x7f",
)


def harm(data: bytes, chance: Random, *, within: int | None = None) -> bytes:
    """Some bytes changed, cut off, put in, taken out, doubled or overwritten.

    Args:
        data: Sound content.
        chance: Decides where and how.
        within: Only in the first so many bytes, such as the header.
    """
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        size = min(len(made), within or len(made))
        if not size:
            break
        at, length = chance.randrange(size), chance.randint(1, 60)
        match chance.randrange(8):
            case 0:
                del made[at:]
            case 1:
                for _ in range(4):
                    made[chance.randrange(size)] = chance.randrange(256)
            case 2:
                made[at] ^= 1 << chance.randrange(8)
            case 3:
                made[at:at] = chance.randbytes(length)
            case 4:
                del made[at : at + length]
            case 5:
                word = chance.choice(_WORDS)
                made[at : at + len(word)] = word
            case 6:
                made[at:at] = made[at : at + 400]
            case 7:
                made[at : at + length] = bytes(len(made[at : at + length]))
    return bytes(made)


def odd_value(chance: Random) -> Any:
    """A value that hardly anybody expects where it stands."""
    return chance.choice(
        (
            None,
            True,
            -1,
            0,
            10**30,
            -(10**400),
            1e308,
            float("nan"),
            float("inf"),
            "",
            "x" * 5000,
            "../../../../etc/passwd",
            "/dev/zero",
            "\0",
            "a\nb",
            SURROGATE,
            "os.system",
            "torch.utils.collect_env.run",
            [],
            [[]],
            {},
            {"": None},
            ["x"] * 50,
            {"__class__": "os.system", "command": "true"},
            nested(chance.choice((20, 5000))),
        )
    )


def nested(depth: int) -> Any:
    """Lists in lists; only :func:`to_json` can write deep ones."""
    made: Any = []
    for _ in range(depth):
        made = [made]
    return made


def harm_tree(data: Any, chance: Random) -> Any:
    """Plain data with a value replaced, taken out, renamed, doubled or put in, at a
    random place."""
    made = copy.deepcopy(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        where, key = chance.choice(list(_places(made)) or [(None, None)])
        if where is None:
            return odd_value(chance)
        match chance.randrange(6):
            case 0 | 1 | 2:
                where[key] = odd_value(chance)
            case 3:
                del where[key]
            case 4 if isinstance(where, dict):
                where[chance.choice(("x", "", SURROGATE, "__init__", str(key).upper()))] = (
                    where.pop(key)
                )
            case 4:
                where.append(copy.copy(where[key]))
            case 5:
                where[key] = _other_type(where[key])
    return made


def _other_type(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool | int | float):
        return str(value)
    return list(value) if isinstance(value, dict) else {"0": value}


def _places(data: Any, depth: int = 0) -> Any:
    if isinstance(data, dict | list) and depth < 30:
        for key in list(data) if isinstance(data, dict) else range(len(data)):
            yield data, key
            yield from _places(data[key], depth + 1)


def to_json(data: Any) -> str:
    """JSON of plain data, however deep."""
    if isinstance(data, list) and len(data) == 1:
        depth = 0
        while isinstance(data, list) and len(data) == 1:
            data, depth = data[0], depth + 1
        return "[" * depth + to_json(data) + "]" * depth
    if isinstance(data, list):
        return "[" + ", ".join(to_json(value) for value in data) + "]"
    if isinstance(data, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key)}: {to_json(value)}" for key, value in data.items())
            + "}"
        )
    return json.dumps(data)


def harm_json(text: str, chance: Random) -> bytes:
    """A JSON file damaged as data, as text or as bytes."""
    match chance.randrange(10):
        case 0:
            return harm(text.encode(), chance)
        case 1:
            return b"[" * 200_000
        case 2:
            return b'{"a":' * 100_000
        case 3:
            return text.replace(chance.choice("0123456789"), LONG_NUMBER, 1).encode()
        case 4:
            return text.encode(chance.choice(("utf-16", "utf-32", "utf-8-sig")))
        case 5:
            end = text.rindex("}") if "}" in text else len(text)
            return (text[:end].rstrip() + ', "schema": 99, "schema": {}}').encode()
        case _:
            return to_json(harm_tree(json.loads(text), chance)).encode()


def harm_text(text: str, chance: Random, *, separators: str = ',;\n"') -> bytes:
    """A list or settings file damaged as text or as bytes."""
    lines = text.splitlines()
    match chance.randrange(9):
        case 0 | 1:
            return harm(text.encode(), chance)
        case 2:
            at = chance.randrange(len(lines))
            lines[at] = "x" * 200_000
        case 3:
            return text.encode(chance.choice(("utf-16", "utf-32", "utf-8-sig")))
        case 4:
            return text.replace(
                chance.choice(separators), chance.choice(separators), chance.randint(1, 3)
            ).encode()
        case 5:
            lines.insert(chance.randrange(len(lines)), chance.choice(lines))
        case 6:
            del lines[chance.randrange(len(lines))]
        case 7:
            at = chance.randrange(len(lines))
            odd = chance.choice(
                (
                    LONG_NUMBER,
                    "\0",
                    "é",
                    "../../x",
                    "$HOME/x",
                    "${NOT_SET}",
                    "nan",
                    "-1",
                    "1e400",
                    "[[[[",
                    "''",
                    "=" * 9,
                )
            )
            cut = chance.randint(0, len(lines[at]))
            lines[at] = lines[at][:cut] + odd + lines[at][cut + chance.randint(0, 9) :]
        case 8:
            at = chance.randrange(len(lines))
            key, _, _ = lines[at].partition("=")
            odd = chance.choice(
                (
                    "[" * 3000,
                    "{a = {a = 1}}",
                    '"x"',
                    "1",
                    "-1",
                    "1979-05-27",
                    "inf",
                    "nan",
                    "true",
                    "[]",
                    '["x"]',
                    "[[1]]",
                )
            )
            lines[at] = f"{key}= {odd}"
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
