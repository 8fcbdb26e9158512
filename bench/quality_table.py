"""Tables of bench.quality."""

from pathlib import Path
from typing import Any


def write_table(rows: list[dict[str, Any]], path: Path | None) -> None:
    print(len(rows))
