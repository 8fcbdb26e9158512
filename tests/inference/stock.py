"""Stock nnU-Net, which segments beside us."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.io.nifti import read_labels
from nnstudent.volume import Volume


def stock_labels(
    folder: Path,
    image: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    folds: tuple[int, ...],
    tta: bool = False,
    checkpoint: str = "checkpoint_final.pth",
) -> Volume:
    """nnU-Net's own label map, read with its own reader and written with its own writer."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(out))
    pytest.importorskip("nnunetv2", reason="compares with stock nnU-Net, which is not installed")
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=tta, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), folds, checkpoint)
    predictor.predict_from_files_sequential(
        [[str(image)]], [str(out / "stock")], save_probabilities=False, overwrite=True
    )
    return read_labels(out / "stock.nii.gz")
