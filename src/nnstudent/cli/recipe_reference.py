"""Makes the reference page of presets from the docstrings of the classes they are read as.

python -m nnstudent.cli.recipe_reference > docs/reference/recipe.md
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from nnstudent.cli.reference import cell
from nnstudent.pipeline.preset import Preset
from nnstudent.pipeline.presets import preset_names
from nnstudent.pipeline.resources import Need, Resources
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.training.recipe import AUGMENTATIONS, Data, Network, Training

_HEAD = """\
# Presets and recipes

This page is made from the code's docstrings by
`python -m nnstudent.cli.recipe_reference > docs/reference/recipe.md`; a test keeps the two equal.

A preset is a TOML file that says how `run`, `teach` and `study` learn: `--preset NAME` for one that
comes with the package ({names}), `--preset FILE.toml` for your own. An unknown key or a wrong value
is refused by its name.

A file may begin with `like = "NAME"`, the name of a preset or of a file beside it, and then holds
only what differs. In the same way, a recipe in it may be `like` another one of the file:

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
        "`teachers`, `student`, `tumor` and `second` are recipes: each has the tables "
        "`network`, `data` and `training`.",
    ),
    ("[select]", SelectSettings, "What `select` keeps, unless its own options say otherwise."),
    ("[student.network]", Network, ""),
    ("[student.data]", Data, ""),
    ("[student.training]", Training, ""),
    ("[cluster]", Resources, "What the jobs of `run --executor` ask for, by kind of job."),
    ("[cluster.train]", Need, "Also `[cluster.label]`, `[cluster.segment]` and `[cluster.light]`."),
)

_AUGMENT = """
## [student.training.augment]

Either a list of names, `augment = ["rotation", "noise"]`, or a table,
`rotation = {p = 0.4, low = -15, high = 15}`. What is left out is as in nnU-Net. There is no
mirroring, because left and right are different organs. Two are not in nnU-Net. `organ_intensity`
makes each labeled organ of a window lighter or darker by its own amount, in standard deviations of
the normalized image, as another contrast phase would. `repaint` also takes away a part of each
organ's texture, and makes what has no label lighter or darker, by intensity (SynthSeg's idea, for
CT). With both a lesion changes with the organ that it lies in.

| name | p | low | high |
|---|---|---|---|
"""


def page() -> str:
    """Return the page, in Markdown."""
    parts = [_HEAD.format(names=", ".join(f"`{name}`" for name in preset_names()))]
    for title, kind, text in TABLES:
        parts += [
            f"\n## {title}\n\n",
            text + "\n\n" if text else "",
            "| key | default | meaning |\n|---|---|---|\n",
        ]
        meanings = attributes(kind)
        parts += [
            f"| `{field.name}` | {_default(field)} | {meanings[field.name]} |\n"
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
    """Return what the docstring says of each attribute."""
    section = (
        inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    )
    rows = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, flags=re.M)
    return {name: _markdown(text) for name, text in rows}


def _markdown(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", cell(text)).replace("``", "`")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else "as below"
    value: Any = field.default
    if value is None:
        return "none"
    if dataclasses.is_dataclass(value):
        pairs = ", ".join(f"{key} = {item}" for key, item in vars(value).items())
        return f"`{{{pairs}}}`"
    if isinstance(value, tuple):
        value = [list(item) if isinstance(item, tuple) else item for item in value]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    print(page(), end="")
