"""nnStudent: semi-supervised segmentation of abdominal CT that runs on a laptop's CPU.

Everything public is a name of this package; the modules behind it may move. A name is imported when
it is first used, so that ``import nnstudent`` is quick and needs neither torch nor nnU-Net.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The same names for type checkers and for the API reference; a test holds both lists equal.
if TYPE_CHECKING:
    from nnstudent.bundle.bundle import Model, open_model
    from nnstudent.bundle.export import export
    from nnstudent.bundle.onnx import export_onnx
    from nnstudent.bundle.store import add_model, find_model, remove_model, stored_models
    from nnstudent.cohort.cohort import Case, Cohort, read_cohort, write_cohort
    from nnstudent.cohort.index import index
    from nnstudent.errors import (
        Failure,
        GeometryError,
        InputError,
        MissingExtraError,
        NnStudentError,
        OutputError,
    )
    from nnstudent.evaluation.calibrate import TrueScan, calibrate_bundle
    from nnstudent.evaluation.compare import compare_methods as compare
    from nnstudent.evaluation.evaluate import evaluate
    from nnstudent.evaluation.lesions import detect as detect_lesions
    from nnstudent.evaluation.metrics import dsc, nsd
    from nnstudent.evaluation.ranking import RankedCase, rank_folder
    from nnstudent.evaluation.scores import Scores
    from nnstudent.inference.files.options import Options as SegmentOptions
    from nnstudent.inference.files.preview import write_preview
    from nnstudent.inference.files.segment import segment_files
    from nnstudent.inference.files.segment import segment_files as segment
    from nnstudent.inference.segmentation import Segmentation
    from nnstudent.inference.segmenter import Segmenter
    from nnstudent.io.dicom.series import read_series
    from nnstudent.io.nifti import read_image, read_labels, write_image, write_labels
    from nnstudent.labels.class_maps import find_map
    from nnstudent.labels.click import Click, correct_by_click
    from nnstudent.labels.measure import Measures, measure
    from nnstudent.labels.relabel import relabel
    from nnstudent.labels.stats import Statistics, measure_files
    from nnstudent.phantom import make_case as make_phantom
    from nnstudent.phantom import make_cohort as make_phantoms
    from nnstudent.pipeline.distill import distill
    from nnstudent.pipeline.preset import Preset, load_preset
    from nnstudent.pipeline.run import run
    from nnstudent.profiling import profile
    from nnstudent.pseudo.label import label
    from nnstudent.pseudo.select import select
    from nnstudent.pseudo.selection import SelectSettings
    from nnstudent.pseudo.settings import LabelSettings, TeacherOptions
    from nnstudent.quality.model import Quality
    from nnstudent.report import write_report, write_tables
    from nnstudent.taxonomy import Taxonomy, flare23, read_taxonomy
    from nnstudent.training.study import study
    from nnstudent.training.teach import teach
    from nnstudent.volume import Grid, Volume
    from nnstudent.web.app import create_app
    from nnstudent.web.service import Service
    from nnstudent.web.settings import Settings as ServiceSettings

# Where each public name is: its module, and its name there if that is another.
_PUBLIC = {
    "Case": "cohort.cohort",
    "Click": "labels.click",
    "Cohort": "cohort.cohort",
    "Failure": "errors",
    "GeometryError": "errors",
    "Grid": "volume",
    "InputError": "errors",
    "LabelSettings": "pseudo.settings",
    "Measures": "labels.measure",
    "MissingExtraError": "errors",
    "Model": "bundle.bundle",
    "NnStudentError": "errors",
    "OutputError": "errors",
    "Preset": "pipeline.preset",
    "Quality": "quality.model",
    "RankedCase": "evaluation.ranking",
    "Scores": "evaluation.scores",
    "SegmentOptions": "inference.files.options:Options",
    "Segmentation": "inference.segmentation",
    "Segmenter": "inference.segmenter",
    "SelectSettings": "pseudo.selection",
    "Service": "web.service",
    "ServiceSettings": "web.settings:Settings",
    "Statistics": "labels.stats",
    "Taxonomy": "taxonomy",
    "TeacherOptions": "pseudo.settings",
    "TrueScan": "evaluation.calibrate",
    "Volume": "volume",
    "add_model": "bundle.store",
    "calibrate_bundle": "evaluation.calibrate",
    "compare": "evaluation.compare:compare_methods",
    "correct_by_click": "labels.click",
    "create_app": "web.app",
    "detect_lesions": "evaluation.lesions:detect",
    "distill": "pipeline.distill",
    "dsc": "evaluation.metrics",
    "evaluate": "evaluation.evaluate",
    "export": "bundle.export",
    "export_onnx": "bundle.onnx",
    "find_model": "bundle.store",
    "find_map": "labels.class_maps",
    "flare23": "taxonomy",
    "index": "cohort.index",
    "label": "pseudo.label",
    "load_preset": "pipeline.preset",
    "make_phantom": "phantom:make_case",
    "make_phantoms": "phantom:make_cohort",
    "measure": "labels.measure",
    "measure_files": "labels.stats",
    "nsd": "evaluation.metrics",
    "open_model": "bundle.bundle",
    "profile": "profiling",
    "rank_folder": "evaluation.ranking",
    "read_cohort": "cohort.cohort",
    "read_image": "io.nifti",
    "read_labels": "io.nifti",
    "read_series": "io.dicom.series",
    "read_taxonomy": "taxonomy",
    "remove_model": "bundle.store",
    "relabel": "labels.relabel",
    "run": "pipeline.run",
    "segment": "inference.files.segment:segment_files",
    "segment_files": "inference.files.segment",
    "select": "pseudo.select",
    "stored_models": "bundle.store",
    "study": "training.study",
    "teach": "training.teach",
    "write_cohort": "cohort.cohort",
    "write_image": "io.nifti",
    "write_labels": "io.nifti",
    "write_preview": "inference.files.preview",
    "write_report": "report",
    "write_tables": "report",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = getattr(import_module(f"{__name__}.{module}"), attribute or name)
    globals()[name] = value  # this function is not called for it again
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
