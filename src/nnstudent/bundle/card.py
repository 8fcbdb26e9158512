"""The model card of a bundle, as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import Model, Network
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.io.atomic import write_text
from nnstudent.volume import Spacing


def write_card(path: Path, model: Model, *, title: str) -> None:
    """Write the card: classes, networks, origin, and what the model is not for.

    Args:
        path: The file.
        model: The bundle.
        title: The card's heading.
    """
    lines = [
        f"# {title}",
        "",
        "Segments CT of the abdomen. Not a medical device: not for diagnosis or treatment.",
        "",
        f"- finds: {', '.join(name.replace('_', ' ') for name in model.classes)}",
        f"- label table: {model.taxonomy.name}",
        f"- identity: {model.hash}",
    ]
    for network in model.networks:
        lines += ["", f"## Network {network.name}", "", *_facts(network)]
    lines += ["", "## Expected Dice", ""]
    if model.quality is None:
        lines.append(
            "- none: it was not calibrated, so that `segment` expects no Dice of an organ and `qc` "
            "flags nothing; `nnstudent qc SCANS --calibrate CORRECTED` calibrates it"
        )
    else:
        level = f"{model.quality.level:.0%}"
        lines += [
            f"- interval: holds the true Dice in {level} of scans like those below; of other scans "
            "it is a hint",
            *(
                f"- {key.replace('_', ' ')}: {_text(value)}"
                for key, value in model.quality.rests_on.items()
            ),
        ]
    if model.card:
        lines += [
            "",
            "## Where it comes from",
            "",
            *(f"- {key.replace('_', ' ')}: {_text(value)}" for key, value in model.card.items()),
        ]
    write_text(path, "\n".join(lines) + "\n")


def _facts(network: Network) -> list[str]:
    spec = network.spec
    norm = spec.normalization
    intensity = (
        f"clipped to {norm.lower:.0f} to {norm.upper:.0f} HU, "
        f"mean {norm.mean:.1f}, standard deviation {norm.std:.1f}"
    )
    return [
        f"- spacing (z, y, x): {_in_mm(spec.spacing_mm)}",
        *([] if spec.finer_mm is None else [f"- looks again at {_in_mm(spec.finer_mm)}"]),
        f"- patch (z, y, x): {'×'.join(map(str, spec.patch))} voxels",
        f"- intensities: {intensity if norm.scheme == 'ct' else norm.scheme}",
        f"- axes: {'turned to RAS' if spec.orientation == 'RAS' else 'as stored'}",
        f"- architecture: {spec.architecture.class_name.rpartition('.')[2]}",
        *(
            []
            if spec.context_mm is None
            else [f"- sees: {_seen(spec)}, and {spec.context_mm:g} mm around"]
        ),
        *([f"- logits shifted: {_text(dict(spec.logit_shift))}"] if spec.logit_shift else []),
        *(f"- {key}: {value}" for key, value in spec.source.items() if value != ""),
    ]


def _in_mm(spacing: Spacing) -> str:
    return f"{', '.join(f'{mm:g}' for mm in spacing)} mm"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def _seen(spec: NetworkSpec) -> str:
    if not spec.hosts:
        return "what the networks before it found of its classes"
    rules = (
        f"{name} (from {rule.threshold:g}, at least {rule.least_ml:g} ml)"
        for name, rule in spec.hosts.items()
    )
    return f"lesions only, in and around {', '.join(rules)}"
