"""The anatomy of a patient as an ordered list of layers, later ones drawn over earlier ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnstudent.phantom.bowel import bowel_layers, build_bowel, pelvic_layers
from nnstudent.phantom.build import Builder, Layer
from nnstudent.phantom.lesions import benign_layers, lesion_layers
from nnstudent.phantom.organs import Organs, build_organs
from nnstudent.phantom.patient import Patient
from nnstudent.phantom.shapes import Field, Space
from nnstudent.phantom.skeleton import skeleton_layers
from nnstudent.phantom.torso import torso_layers
from nnstudent.phantom.vessels import Vessels, build_vessels
from nnstudent.taxonomy import flare23

_EDGE_MM = 4.0  # how far outside a shape its distance must be known to draw its edge
_IDS = {item.name: item.id for item in flare23()}


def anatomy_layers(space: Space, patient: Patient) -> list[Layer]:
    """All layers of a patient on a working grid, in the order in which they are drawn."""
    b = Builder(space, patient)
    v = build_vessels(b)
    o = build_organs(b, v)
    parts = build_bowel(b, [*o.fields.values(), v.portal])
    hosts = o.fields | {"colon": parts.colon}
    layers = [
        *torso_layers(b),
        *skeleton_layers(b),
        *pelvic_layers(b),
        Layer("mesenteric vessels", v.mesenteric.inside(b.inside), "portal", 0),
        *_ascites_layers(b),
        *bowel_layers(b, parts),
        Layer("veins", v.veins, "vein", 0),
        Layer("arteries", v.arteries, "aorta", 0),
        Layer("portal vein", v.portal, "portal", 0),
        *_organ_layers(b, o, v),
        *benign_layers(b, hosts),
        *lesion_layers(b, hosts),
    ]
    trimmed = (replace(layer, field=layer.field.trimmed(_EDGE_MM)) for layer in layers)
    return [layer for layer in trimmed if layer.field.sdf.size]


def _organ_layers(b: Builder, o: Organs, v: Vessels) -> list[Layer]:
    layers = [
        _organ(o, "inferior_vena_cava", "cava"),
        _organ(o, "aorta", "aorta"),
        *_esophagus_layers(b, o),
        _organ(o, "liver", "liver"),
        Layer("portal branches", v.hepatic_portal.inside(o["liver"], 1), "portal"),
        Layer("hepatic veins", v.hepatic_veins.inside(o["liver"], 1), "vein"),
        *([_organ(o, "spleen", "spleen")] if "spleen" in o.fields else []),
        *_kidney_layers(b, o),
        _organ(o, "pancreas", "pancreas"),
        *_duodenum_layers(b, o),
        *_stomach_layers(b, o),
        _organ(o, "right_adrenal_gland", "adrenal"),
        _organ(o, "left_adrenal_gland", "adrenal"),
    ]
    if "gallbladder" in o.fields:
        layers += [
            _organ(o, "gallbladder", "gallbladder"),
            Layer("bile", o["gallbladder"].shrunk(1.6), "bile"),
        ]
    return layers


def _ascites_layers(b: Builder) -> list[Layer]:
    """Free fluid in front of the retroperitoneum and in the flanks, with islands of fat."""
    if not b.patient.ascites:
        return []
    s = b.space
    front = s.y - np.float32(8) + np.float32(1.2) * np.maximum(np.abs(s.x) - np.float32(80), 0)
    fluid = np.minimum(front, np.float32(4) + np.float32(4) * s.rough[1])
    return [Layer("ascites", Field(s.whole, np.minimum(b.inside.sdf + 1, fluid)), "fluid")]


def _organ(o: Organs, name: str, tissue: str) -> Layer:
    return Layer(name, o[name], tissue, _IDS[name])


def _esophagus_layers(b: Builder, o: Organs) -> list[Layer]:
    esophagus = o["esophagus"]
    lumen = Field(
        esophagus.box, np.minimum(esophagus.sdf - 4.8, 2 * b.space.rough[2][esophagus.box] - 0.5)
    )
    content = "gas" if b.rng.random() < 0.6 else "fluid"
    return [_organ(o, "esophagus", "esophagus"), Layer("esophagus lumen", lumen, content)]


def _kidney_layers(b: Builder, o: Organs) -> list[Layer]:
    rough = b.space.rough[0]
    layers = []
    for name, sinus in o.sinuses.items():
        kidney = o[name]
        pyramids = np.minimum(kidney.sdf - 3.5, kidney.sdf - 6.5 + 4.5 * rough[kidney.box])
        pelvis = Field(sinus.box, sinus.sdf - 5.5 + 2 * rough[sinus.box])
        layers += [
            Layer(f"{name} sinus", sinus, "fat"),
            Layer(f"{name} pelvis", pelvis, "urine"),
            _organ(o, name, "kidney"),
            Layer(f"{name} medulla", Field(kidney.box, pyramids.astype(np.float32)), "medulla"),
        ]
    return layers


def _duodenum_layers(b: Builder, o: Organs) -> list[Layer]:
    s, duodenum = b.space, o["duodenum"]
    inside = Field(
        duodenum.box,
        np.minimum(
            duodenum.sdf - 3.0, 2.2 * s.rough[0][duodenum.box] + 2 * s.rough[2][duodenum.box] + 0.5
        ),
    )
    bubble = Field(duodenum.box, np.minimum(inside.sdf, 3 * s.rough[1][duodenum.box] - 4.5))
    return [
        _organ(o, "duodenum", "duodenum"),
        Layer("duodenum content", inside, "contrast" if b.patient.oral else "fluid"),
        Layer("duodenum gas", bubble, "gas"),
    ]


def _stomach_layers(b: Builder, o: Organs) -> list[Layer]:
    s, rng, stomach = b.space, b.rng, o["stomach"]
    wall = 4.0 + 1.4 * s.rough[1][stomach.box] + 1.2 * s.rough[0][stomach.box]
    content = Field(stomach.box, stomach.sdf - np.maximum(wall, 1.5))
    # The surface of the fluid is horizontal in the room, not in the anatomy.
    height = s.world[1] + np.float32(0)
    level = float(rng.uniform(30, 80)) * b.patient.scale[1]
    air = np.minimum(content.sdf, np.broadcast_to(height, s.x.shape)[stomach.box] - level)
    usual = "contrast" if b.patient.oral else str(rng.choice(["fluid", "food", "food"]))
    food = b.patient.filling or usual
    return [
        _organ(o, "stomach", "stomach"),
        Layer("stomach content", content, food),
        Layer("stomach gas", Field(stomach.box, air.astype(np.float32)), "gas"),
    ]
