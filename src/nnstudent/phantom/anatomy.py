"""The whole anatomy of a patient as an ordered list of layers, later ones drawn over earlier ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnstudent.phantom.bowel import bowel, bowel_layers, pelvic_layers
from nnstudent.phantom.build import Builder, Layer
from nnstudent.phantom.lesions import benign, lesions
from nnstudent.phantom.organs import Organs, organs
from nnstudent.phantom.patient import Patient
from nnstudent.phantom.shapes import Field, Space
from nnstudent.phantom.skeleton import skeleton
from nnstudent.phantom.torso import torso
from nnstudent.phantom.vessels import Vessels, vessels
from nnstudent.taxonomy import flare23

_EDGE_MM = 4.0  # of how far outside a shape its distance is needed to draw its edge


def anatomy(space: Space, patient: Patient) -> list[Layer]:
    """All layers of a patient on a working grid, in the order in which they are drawn."""
    b = Builder(space, patient)
    v = vessels(b)
    o = organs(b, v)
    parts = bowel(b, [*o.fields.values(), v.portal])
    hosts = o.fields | {"colon": parts.colon}
    layers = [
        *torso(b),
        *skeleton(b),
        *pelvic_layers(b),
        Layer("mesenteric vessels", v.mesenteric.inside(b.inside), "portal", 0),
        *bowel_layers(b, parts),
        Layer("veins", v.veins, "vein", 0),
        Layer("arteries", v.arteries, "aorta", 0),
        Layer("portal vein", v.portal, "portal", 0),
        *_organ_layers(b, o, v),
        *benign(b, hosts),
        *lesions(b, hosts),
    ]
    trimmed = (replace(layer, field=layer.field.trimmed(_EDGE_MM)) for layer in layers)
    return [layer for layer in trimmed if layer.field.sdf.size]


def _organ_layers(b: Builder, o: Organs, v: Vessels) -> list[Layer]:
    s, rng, oral, ids = b.space, b.rng, b.patient.oral, {item.name: item.id for item in flare23()}

    def organ(name: str, tissue: str) -> Layer:
        return Layer(name, o[name], tissue, ids[name])

    esophagus, duodenum, stomach = o["esophagus"], o["duodenum"], o["stomach"]
    lumen = Field(
        esophagus.box, np.minimum(esophagus.sdf - 4.8, 2 * s.rough[2][esophagus.box] - 0.5)
    )
    out = [
        organ("inferior_vena_cava", "cava"),
        organ("aorta", "aorta"),
        organ("esophagus", "esophagus"),
        Layer("esophagus lumen", lumen, "gas" if rng.random() < 0.6 else "fluid"),
        organ("liver", "liver"),
        Layer("portal branches", v.hepatic_portal.inside(o["liver"], 1), "portal"),
        Layer("hepatic veins", v.hepatic_veins.inside(o["liver"], 1), "vein"),
        organ("spleen", "spleen"),
    ]
    for name, sinus in o.sinuses.items():
        kidney = o[name]
        pyramids = np.minimum(kidney.sdf - 3.5, kidney.sdf - 6.5 + 4.5 * s.rough[0][kidney.box])
        pelvis = Field(sinus.box, sinus.sdf - 5.5 + 2 * s.rough[0][sinus.box])
        out += [
            Layer(f"{name} sinus", sinus, "fat"),
            Layer(f"{name} pelvis", pelvis, "urine"),
            organ(name, "kidney"),
            Layer(f"{name} medulla", Field(kidney.box, pyramids.astype(np.float32)), "medulla"),
        ]
    inside = Field(
        duodenum.box,
        np.minimum(
            duodenum.sdf - 3.0, 2.2 * s.rough[0][duodenum.box] + 2 * s.rough[2][duodenum.box] + 0.5
        ),
    )
    bubble = Field(duodenum.box, np.minimum(inside.sdf, 3 * s.rough[1][duodenum.box] - 4.5))
    out += [
        organ("pancreas", "pancreas"),
        organ("duodenum", "duodenum"),
        Layer("duodenum content", inside, "contrast" if oral else "fluid"),
        Layer("duodenum gas", bubble, "gas"),
        organ("stomach", "stomach"),
    ]
    content = Field(
        stomach.box,
        stomach.sdf
        - np.maximum(4.0 + 1.4 * s.rough[1][stomach.box] + 1.2 * s.rough[0][stomach.box], 1.5),
    )
    surface = s.world[1] + np.float32(
        0
    )  # the fluid's level is level in the room, not in the anatomy
    level = float(rng.uniform(30, 80)) * b.patient.scale[1]
    air = np.minimum(content.sdf, np.broadcast_to(surface, s.x.shape)[stomach.box] - level)
    out += [
        Layer(
            "stomach content",
            content,
            "contrast" if oral else str(rng.choice(["fluid", "food", "food"])),
        ),
        Layer("stomach gas", Field(stomach.box, air.astype(np.float32)), "gas"),
        organ("right_adrenal_gland", "adrenal"),
        organ("left_adrenal_gland", "adrenal"),
    ]
    if b.patient.gallbladder:
        out += [
            organ("gallbladder", "gallbladder"),
            Layer("bile", o["gallbladder"].shrunk(1.6), "bile"),
        ]
    return out
