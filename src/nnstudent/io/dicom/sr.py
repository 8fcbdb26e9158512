"""Writes measurements of labeled classes as a DICOM structured report (TID 1500)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnstudent.errors import require
from nnstudent.io.dicom.derived import SERIES_NUMBER, Identity, LabeledSeries, write_by_highdicom
from nnstudent.io.dicom.source_headers import source_headers
from nnstudent.io.dicom.text import UTF_8
from nnstudent.io.terms import category, meaning, type_code
from nnstudent.taxonomy import LabelClass

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_SCHEME = "99NNSTUDENT"  # of what no terminology has a code for


@dataclass(frozen=True)
class Finding:
    """What is reported of a class.

    Attributes:
        volume_ml: Volume in ml.
        mean_hu: Mean of the image over it, in HU; None to leave it out.
        sd_hu: Standard deviation of its voxels, in HU; None to leave it out.
        touches_border: Whether it touches the border of the image, so that it may extend beyond.
        dice: Expected Dice with the truth and the ends of its interval; None if it is unknown.
    """

    volume_ml: float
    mean_hu: float | None = None
    sd_hu: float | None = None
    touches_border: bool = False
    dice: tuple[float, float, float] | None = None


def write_sr(
    path: Path,
    labeled: LabeledSeries,
    findings: Mapping[str, Finding],
    *,
    segmentation: Identity | None = None,
) -> None:
    """Write a Comprehensive SR in the study of a series, with a group of measurements for a class.

    Each group has the class as its finding, with the codes of the DICOM-SEG, and refers to its
    segment if there is one, otherwise to the images.

    Args:
        path: The file to write.
        labeled: The labels and their series.
        findings: What is reported, by class; classes that are not in ``labeled`` are left out.
        segmentation: The DICOM-SEG of the same ``labeled``; None if there is none.

    Raises:
        InputError: highdicom cannot refer to the series.
        MissingExtraError: highdicom is not installed.
        OutputError: ``path`` cannot be written.
    """
    hd: Any = require("highdicom", extra="dicom", why="writing a structured report")
    write_by_highdicom(
        path,
        labeled,
        lambda: _Report(labeled, segmentation, hd).of(findings),
        unable="report on",
        instead="--statistics",
    )


class _Report:
    """Builds the object, with the patient and study still empty."""

    def __init__(self, labeled: LabeledSeries, segmentation: Identity | None, hd: Any) -> None:
        self._labeled, self._segmentation, self._hd = labeled, segmentation, hd
        coded: Any = require("pydicom.sr.codedict", extra="dicom", why="writing DICOM")
        self._codes = coded.codes
        self._headers = source_headers(labeled.series, labeled.origin)

    def of(self, findings: Mapping[str, Finding]) -> Any:
        sr, codes, algorithm = self._hd.sr, self._codes, self._labeled.algorithm
        device = sr.DeviceObserverIdentifyingAttributes(
            uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, algorithm.model).int}",
            name="nnStudent",
            manufacturer_name="nnStudent",
            model_name=algorithm.name,
            serial_number=algorithm.model,
        )
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(
                observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
            ),
            procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
            imaging_measurements=[
                self._group(number, item, findings[item.name])
                for number, item in enumerate(self._labeled.classes, start=1)
                if item.name in findings
            ],
            title=codes.DCM.ImagingMeasurementReport,
            # highdicom describes files of one plane only; the library is optional.
            referenced_images=None if "NumberOfFrames" in self._headers[0] else self._headers,
        )
        identity = Identity.new()
        return sr.ComprehensiveSR(
            evidence=self._evidence(),
            content=content,
            series_instance_uid=identity.series,
            series_number=SERIES_NUMBER + 2 + self._labeled.origin.number,
            sop_instance_uid=identity.instance,
            instance_number=1,
            manufacturer="nnStudent",
            is_complete=True,
            manufacturer_model_name=algorithm.name,
            software_versions=algorithm.version,
            device_serial_number=algorithm.model,
            series_description="nnStudent measurements",
            specific_character_set=UTF_8,  # replaced by the source's afterwards
        )

    def _evidence(self) -> list[Any]:
        """The headers of everything that the report refers to."""
        if self._segmentation is None:
            return self._headers
        seg = type(self._headers[0])()
        for keyword in ("StudyInstanceUID", "PatientID"):
            setattr(seg, keyword, getattr(self._headers[0], keyword))
        seg.SOPClassUID, seg.SOPInstanceUID = _SEGMENTATION, self._segmentation.instance
        seg.SeriesInstanceUID = self._segmentation.series
        return [*self._headers, seg]

    def _group(self, number: int, item: LabelClass, finding: Finding) -> Any:
        sr, codes, algorithm = self._hd.sr, self._codes, self._labeled.algorithm
        shared: dict[str, Any] = {
            "tracking_identifier": sr.TrackingIdentifier(
                uid=Identity.new().instance, identifier=meaning(item)
            ),
            "finding_category": sr.CodedConcept(*category(item)),
            "finding_type": sr.CodedConcept(*type_code(item)),
            "algorithm_id": sr.AlgorithmIdentification(
                name=algorithm.name,
                version=algorithm.version,
                parameters=[f"model {algorithm.model}"],
            ),
            "measurements": self._measurements(finding),
            "qualitative_evaluations": [
                sr.QualitativeEvaluation(
                    sr.CodedConcept("border", _SCHEME, "Touches the border of the image"),
                    codes.SCT.Yes if finding.touches_border else codes.SCT.No,
                )
            ],
        }
        if self._segmentation is None:
            return sr.MeasurementsAndQualitativeEvaluations(
                source_images=[
                    sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)
                    for header in self._headers
                ],
                **shared,
            )
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=sr.ReferencedSegment(
                _SEGMENTATION,
                self._segmentation.instance,
                segment_number=number,
                source_series=sr.SourceSeriesForSegmentation(self._labeled.origin.series),
            ),
            **shared,
        )

    def _measurements(self, finding: Finding) -> list[Any]:
        sr, codes = self._hd.sr, self._codes
        ml = sr.CodedConcept("mL", "UCUM", "milliliter")
        rows = [sr.Measurement(codes.SCT.Volume, round(finding.volume_ml, 3), ml)]
        density = codes.DCM.AttenuationCoefficient
        for value, derivation in (
            (finding.mean_hu, codes.SCT.Mean),
            (finding.sd_hu, codes.SCT.StandardDeviation),
        ):
            if value is not None:
                unit = codes.UCUM.HounsfieldUnit
                rows.append(sr.Measurement(density, round(value, 1), unit, derivation=derivation))
        if finding.dice is not None:
            expected, low, high = finding.dice
            rows.append(
                sr.Measurement(
                    sr.CodedConcept("dice", _SCHEME, "Expected Dice coefficient"),
                    round(expected, 3),
                    codes.UCUM.NoUnits,
                    properties=sr.MeasurementProperties(
                        upper_measurement_uncertainty=round(high - expected, 3),
                        lower_measurement_uncertainty=round(expected - low, 3),
                    ),
                )
            )
        return rows
