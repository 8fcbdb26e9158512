"""The presets that come with the package, as text. Imports nothing heavy."""

from __future__ import annotations

from importlib.resources import files


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets, sorted."""
    names = (item.name for item in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def read_preset(name: str) -> str:
    """Return the TOML text of one of :func:`preset_names`."""
    return files(__name__).joinpath(f"{name}.toml").read_text("utf-8")
