"""Which classes a case has annotated: said by somebody, or read off its label map as the paper does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy

INFER = "infer"


def classes_from_words(words: Iterable[str], *, taxonomy: Taxonomy, where: str) -> frozenset[str]:
    """The classes that words name.

    Args:
        words: Class names; ``organs`` for all organs, ``all`` for every class, ``none`` for no class; ``-NAME`` takes one out.
        taxonomy: The label table.
        where: What the words are said of, for the error.

    Raises:
        InputError: A word names no class.
    """
    groups = {
        "all": taxonomy.names,
        "organs": taxonomy.organs,
        "lesions": taxonomy.lesions,
        "none": (),
    }
    found: set[str] = set()
    for word in words:
        name = word.removeprefix("-").strip().lower().replace(" ", "_")
        # A class of the user's own table may be called like a group, and then is meant.
        if name in taxonomy.names:
            meant: Collection[str] = (name,)
        elif name in groups:
            meant = groups[name]
        else:
            raise InputError(
                f"{where}: no class {word!r} in label table {taxonomy.name}; expected all, organs, none, or {', '.join(taxonomy.names)}"
            )
        found = found - set(meant) if word.startswith("-") else found | set(meant)
    return frozenset(found)


def inferred(present: Iterable[str], *, taxonomy: Taxonomy) -> frozenset[str]:
    """The classes that count as annotated where nobody said: those that occur in the label map.

    So a case in which all organs occur is fully annotated, and one in which a tumor occurs has the tumor annotated. An organ
    that surgery has removed, or that lies outside the view, then counts as not annotated: only a declaration can tell.
    """
    return frozenset(taxonomy.sorted(present))


def overriding(id: str, overrides: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
    """What the user says of a case: its own entry, else the last pattern (``*``, ``FLARE22_*``) that fits its id."""
    if id in overrides:
        return overrides[id]
    fitting = [words for pattern, words in overrides.items() if fnmatchcase(id, pattern)]
    return fitting[-1] if fitting else None


def check_overrides(overrides: Mapping[str, Sequence[str]], ids: Collection[str]) -> None:
    """Refuse an override that fits no case.

    Raises:
        InputError: A case or pattern is unknown.
    """
    for pattern in overrides:
        if not any(fnmatchcase(id, pattern) for id in ids):
            some = ", ".join(sorted(ids)[:5])
            raise InputError(
                f"--annotated {pattern}=…: no such case in the source; it has {some or 'none'}{' …' if len(ids) > 5 else ''}"
            )


def in_words(annotated: Collection[str], *, taxonomy: Taxonomy) -> str:
    """Annotated classes in few words: ``all 13 organs + tumor``, ``liver, spleen``, ``none``."""
    organs = [name for name in taxonomy.organs if name in annotated]
    lesions = [name for name in taxonomy.lesions if name in annotated]
    missing = [name for name in taxonomy.organs if name not in annotated]
    if organs and not missing:
        said = f"all {len(organs)} organs" if len(organs) > 1 else organs[0]
    elif organs and len(missing) <= 3 < len(organs):
        said = f"{len(organs)} organs (not {', '.join(missing)})"
    else:
        said = ", ".join(organs)
    return " + ".join(part for part in (said, *lesions) if part) or "none"
