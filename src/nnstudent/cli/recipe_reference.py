"""The reference page of presets, made from the docstrings of what they are read as, so that the two cannot differ.

python -m nnstudent.cli.recipe_reference > docs/reference/recipe.md
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from nnstudent.cli.reference import cell
from nnstudent.pipeline.preset import Preset, preset_names
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.training.recipe import AUGMENTATIONS, Data, Network, Training

_HEAD = """\
# Presets and recipes

Made from the code's own words: `python -m nnstudent.cli.recipe_reference > docs/reference/recipe.md`; a test keeps it so.

A preset is a TOML file that says how `run`, `teach` and `study` learn: `--preset NAME` for one that comes with the package
({names}), `--preset FILE.toml` for your own. An unknown key or a wrong value is refused by its name.

A file may begin with `like = "NAME"`, a preset's or that of a file beside it, and then holds only what differs; a recipe in it may be
`like` another one of the file:

```toml
like = "laptop"
folds = 3

[student.training]
epochs = 60
cutmix = 0.5

[tumor]
like = "teachers"
[tumor.training]
lr = 5e-3
```
"""

TABLES: tuple[tuple[str, type, str], ...] = (
    (
        "The file",
        Preset,
        "`teachers`, `student`, `tumor` and `second` are recipes: each has the tables `network`, `data` and `training`.",
    ),
    ("[select]", SelectSettings, "What `select` keeps, where its own flags do not say otherwise."),
    ("[student.network]", Network, ""),
    ("[student.data]", Data, ""),
    ("[student.training]", Training, ""),
)

_AUGMENT = """
## [student.training.augment]

A list of names, `augment = ["rotation", "noise"]`, or a table, `rotation = {p = 0.4, low = -15, high = 15}`. What is left out is
nnU-Net's. There is no mirroring: left and right are different organs. `organ_intensity` is not nnU-Net's: it makes each labeled organ of a
window lighter or darker by an amount of its own, in standard deviations of the normalised image, as another contrast phase would; a lesion
goes with what it lies in.

| name | p | low | high |
|---|---|---|---|
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD.format(names=", ".join(f"`{name}`" for name in preset_names()))]
    for title, kind, text in TABLES:
        parts += [
            f"\n## {title}\n\n",
            text + "\n\n" if text else "",
            "| key | default | meaning |\n|---|---|---|\n",
        ]
        told = attributes(kind)
        parts += [
            f"| `{field.name}` | {_default(field)} | {told[field.name]} |\n"
            for field in dataclasses.fields(kind)
            if field.name != "name"
        ]
    parts += [
        _AUGMENT,
        *(
            f"| `{name}` | {p:g} | {low:g} | {high:g} |\n"
            for name, (p, low, high) in AUGMENTATIONS.items()
        ),
    ]
    return "".join(parts)


def attributes(kind: type) -> dict[str, str]:
    """What the docstring's section on attributes says of each."""
    section = (
        inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    )
    rows = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, flags=re.M)
    return {name: _markdown(text) for name, text in rows}


def _markdown(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", cell(text)).replace("``", "`")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "needed" if field.default_factory is dataclasses.MISSING else "as below"
    value: Any = field.default
    if value is None:
        return "none"
    if isinstance(value, tuple):
        value = [list(item) if isinstance(item, tuple) else item for item in value]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    print(page(), end="")
