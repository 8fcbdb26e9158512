"""Annotated classes of a case, either declared or inferred from its label map as the paper does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy, find_classes
from nnstudent.words import match_class

INFER = "infer"


def parse_classes(words: Iterable[str], *, taxonomy: Taxonomy, where: str) -> frozenset[str]:
    """Turn a list of words into class names.

    Args:
        words: Class names; ``organs`` for all organs, ``lesions`` for all lesions, ``all`` for
            every class, ``none`` for no class; ``-NAME`` removes a class.
        taxonomy: The label table.
        where: Where the words stand, for the error message.

    Raises:
        InputError: A word is not the name of a class or group.
    """
    groups = {
        "all": taxonomy.names,
        "organs": taxonomy.organs,
        "lesions": taxonomy.lesions,
        "none": (),
    }
    classes: set[str] = set()
    for word in words:
        name = word.removeprefix("-").strip()
        # A class of the user's own table may have a group's name; the class takes precedence.
        if match_class(name, taxonomy.names) is None and name.lower() in groups:
            named: Collection[str] = groups[name.lower()]
        else:
            named = find_classes(
                [name],
                taxonomy.names,
                where=f"{where} (label table {taxonomy.name})",
                groups=("all", "organs", "none"),
            )
        classes = classes - set(named) if word.startswith("-") else classes | set(named)
    return frozenset(classes)


def infer_annotated(present: Iterable[str], *, taxonomy: Taxonomy) -> frozenset[str]:
    """The classes that count as annotated if none are declared: those in the label map.

    A case in which all organs occur is therefore fully annotated, and a case in which a tumor
    occurs has the tumor annotated. An organ that was removed by surgery, or that lies outside the
    field of view, counts as not annotated; only a declaration can say otherwise.
    """
    return frozenset(taxonomy.sorted(present))


def find_override(id: str, overrides: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
    """The user's override for a case.

    The case's own entry takes precedence, then the last pattern (``*``, ``FLARE22_*``) that matches
    its id. None if there is neither.
    """
    if id in overrides:
        return overrides[id]
    matching = [words for pattern, words in overrides.items() if fnmatchcase(id, pattern)]
    return matching[-1] if matching else None


def check_overrides(overrides: Mapping[str, Sequence[str]], ids: Collection[str]) -> None:
    """Check that every override matches a case.

    Raises:
        InputError: An override matches no case.
    """
    for pattern in overrides:
        if not any(fnmatchcase(id, pattern) for id in ids):
            some = (", ".join(sorted(ids)[:5]) or "none") + (" …" if len(ids) > 5 else "")
            raise InputError(f"--annotated {pattern}=…: no such case in the source; it has {some}")


def describe_annotated(annotated: Collection[str], *, taxonomy: Taxonomy) -> str:
    """Annotated classes in few words: ``all 13 organs + tumor``, ``liver, spleen``, ``none``."""
    organs = [name for name in taxonomy.organs if name in annotated]
    lesions = [name for name in taxonomy.lesions if name in annotated]
    missing = [name for name in taxonomy.organs if name not in annotated]
    if organs and not missing:
        description = f"all {len(organs)} organs" if len(organs) > 1 else organs[0]
    elif organs and len(missing) <= 3 < len(organs):
        description = f"{len(organs)} organs (not {', '.join(missing)})"
    else:
        description = ", ".join(organs)
    return " + ".join(part for part in (description, *lesions) if part) or "none"
