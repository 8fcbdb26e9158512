"""The one trainer: nnU-Net's own, driven by the recipe in the plans."""

from __future__ import annotations

import itertools
import math
import os
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.collate_outputs import collate_outputs
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnstudent.errors import InputError, OutputError, quoted
from nnstudent.io.atomic import replacing, write_json
from nnstudent.progress import Progress, silent
from nnstudent.training.annotated import PartialLabels
from nnstudent.training.augment.copy_paste import CopyPaste
from nnstudent.training.augment.cutmix import CutMix
from nnstudent.training.augment.paint import PaintLesions
from nnstudent.training.augment.physiology import LESIONS
from nnstudent.training.augment.replay import Replay
from nnstudent.training.augment.transforms import (
    initial_patch,
    training_transforms,
    validation_transforms,
)
from nnstudent.training.averaging import WeightAverage
from nnstudent.training.cpu import bfloat16, fast_layers
from nnstudent.training.cpu.threads import Tuner
from nnstudent.training.data.loading import CachedDataset, Prefetch, WindowLoader
from nnstudent.training.losses.dice_ce import MarginalLoss
from nnstudent.training.losses.distillation import DistillingLoss
from nnstudent.training.recipe import Recipe
from nnstudent.training.schedule import fading, learning_rate

LATEST, PREVIOUS, FINAL = "checkpoint_latest.pth", "checkpoint_previous.pth", "checkpoint_final.pth"
MOST_LOST = 20  # steps in succession without a loss: nothing to wait for; half precision skips one now and then


class RecipeTrainer(nnUNetTrainer):
    """nnU-Net's trainer with every setting taken from ``plans["nnstudent"]["recipe"]``.

    What it leaves out of nnU-Net's: mirroring (left and right are different organs), plots, the best checkpoint, and the
    full-size validation at the end, which ``evaluate`` does. What it writes names nnU-Net's own trainer, so that stock nnU-Net
    loads it without this package, and holds plain types only, so that it loads with ``weights_only=True``.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device | None = None,
    ) -> None:
        """As nnU-Net's trainer; the names of the arguments are looked up by it."""
        device = device or torch.device("cpu")
        plans.setdefault("continue_training", False)
        super().__init__(plans, configuration, fold, dataset_json, device)
        own = plans["nnstudent"]
        self.recipe = Recipe.from_dict(own["recipe"])
        self.class_weights: list[float] = own["class_weights"]
        self.partial = PartialLabels.read(dataset_json)
        training = self.recipe.training
        self.initial_lr, self.weight_decay = training.lr, training.weight_decay
        self.num_epochs, self.num_iterations_per_epoch = training.epochs, training.iterations
        self.num_val_iterations_per_epoch = training.validation_batches
        self.oversample_foreground_percent = self.recipe.data.foreground
        # nnU-Net gives each place in the batch its kind of window, which leaves a batch of one no choice: there it is drawn
        self.probabilistic_oversampling = self.recipe.data.batch == 1
        # nnU-Net gives the coarsest loss no weight; a network of two resolutions has no other than the finest
        self.enable_deep_supervision = (
            training.deep_supervision and len(self.recipe.network.features) > 2
        )
        self.inference_allowed_mirroring_axes = None
        self.progress: Progress = silent
        self.title = f"fold {fold}"
        self.tuner: Tuner | None = None
        self.start: Callable[[torch.nn.Module], None] | None = None
        self._mix = (
            CutMix(training.cutmix, self.recipe.network.downsampling) if training.cutmix else None
        )
        self._paste = (
            CopyPaste(training.copy_paste, ignore=self.label_manager.ignore_label)
            if training.copy_paste
            else None
        )
        self._replay = (
            Replay(training.replay, lesions=self.partial.lesions)
            if training.replay and self.partial.lesions
            else None
        )
        self._average = WeightAverage(training.ema) if training.ema else None
        self._step = self._lost = (
            0  # steps made; those in succession without a finite loss and gradient
        )
        self._saved_at = time.monotonic()

    def place(self, model: Path) -> None:
        """Write into ``model/fold_K`` instead of nnU-Net's results folder."""
        self.output_folder_base = str(model)
        self.output_folder = str(model / f"fold_{self.fold}")
        self.log_file = str(model / f"fold_{self.fold}" / "training.log")
        Path(self.output_folder).mkdir(parents=True, exist_ok=True)

    def print_to_log_file(
        self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True
    ) -> None:
        """Write to the log only; the terminal belongs to the command."""
        super().print_to_log_file(*args, also_print_to_console=False, add_timestamp=add_timestamp)

    def initialize(self) -> None:
        """Build network, loss and optimizer, always the same from the same seed."""
        seed = self.recipe.training.seed + (self.fold if isinstance(self.fold, int) else 0)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # nnU-Net's loader and transforms draw from the global state
        super().initialize()
        if self.start is not None:
            self.start(self._bare_network())
        if self._channels_last:
            self.network.to(memory_format=torch.channels_last_3d)
        if self._bfloat16:
            bfloat16.spare_small(self._bare_network())
            fast_layers.keep_layout(self._bare_network())
        elif self._channels_last and fast_layers.pays():
            fast_layers.quicken(self._bare_network())

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """The recipe's optimizer; its learning rate is set at each step."""
        training, parameters = self.recipe.training, self.network.parameters()
        optimizer: torch.optim.Optimizer
        if training.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters,
                training.lr,
                momentum=training.momentum,
                nesterov=True,
                weight_decay=training.weight_decay,
            )
        else:
            optimizer = torch.optim.AdamW(
                parameters, training.lr, weight_decay=training.weight_decay
            )
        return optimizer, _ByStep()

    def _build_loss(self) -> Any:
        loss = super()._build_loss()
        self._ordinary_loss = loss.loss if isinstance(loss, DeepSupervisionWrapper) else loss
        share, own = self.recipe.training.distill, None
        if share:
            own = DistillingLoss(self._ordinary_loss, share=share)
        elif self.partial:
            own = MarginalLoss(self._ordinary_loss)
        if own is not None and isinstance(loss, DeepSupervisionWrapper):
            loss.loss = own
            return loss
        return own or loss

    def _weigh_classes(self) -> None:
        """Set the weights of this epoch; with ``fade_weights`` they fall to 1 in the second half."""
        if self.class_weights:
            weights = torch.tensor(self.class_weights, dtype=torch.float32, device=self.device)
            self._ordinary_loss.ce.weight = weights ** fading(
                self.recipe.training, self.current_epoch
            )

    def _possible(self, cases: list[str]) -> torch.Tensor | None:
        """What the labels of a batch leave open, (sample, label, class); None where they leave nothing open."""
        if not any(case in self.partial.tables for case in cases) and not (
            self.partial and self.is_ddp
        ):
            return None  # of several processes each must take the same way, for they wait for each other in it
        return torch.from_numpy(self.partial.of(cases)).to(self.device, non_blocking=True)

    def _loss_of(self, output: Any, target: Any, possible: torch.Tensor | None) -> Any:
        if not self.partial:
            return self.loss(output, target)
        return self.loss(
            output,
            target,
            [possible] * len(output) if isinstance(output, list | tuple) else possible,
        )

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Augmented windows without end, and a fixed set of validation windows."""
        scales = self._get_deep_supervision_scales()
        train_keys, val_keys = self.do_split()
        processes = get_allowed_n_proc_DA()
        ignore, lesions = self.label_manager.ignore_label, self.partial.lesions
        transforms = training_transforms(
            self.recipe, scales, ignore=ignore, lesions=lesions, painter=self._painter()
        )
        loader = self._loader(
            train_keys, initial_patch(self.recipe), transforms, cached=not processes
        )
        loader.sampling_probabilities = self.partial.draw(loader.indices)
        windows: list[Any] = []
        if val_keys:
            validation = self._loader(
                val_keys, list(self.recipe.data.patch), validation_transforms(scales), cached=False
            )
            windows = [next(validation) for _ in range(self.num_val_iterations_per_epoch)]
        if not processes:
            return Prefetch(loader), itertools.cycle(windows)
        pinned = self.device.type == "cuda"
        many = NonDetMultiThreadedAugmenter(
            loader, None, processes, max(6, processes // 2), None, pinned, wait_time=0.002
        )
        return many, itertools.cycle(windows)

    def _loader(self, keys: list[str], crop: list[int], transforms: Any, *, cached: bool) -> Any:
        dataset = CachedDataset(
            self.preprocessed_dataset_folder, list(keys), limit_bytes=1_000_000_000 if cached else 0
        )
        return WindowLoader(
            dataset,
            self.batch_size,
            crop,
            list(self.recipe.data.patch),
            self.label_manager,
            oversample_foreground_percent=self.oversample_foreground_percent,
            probabilistic_oversampling=self.probabilistic_oversampling,
            transforms=transforms,
            lesions=self.partial.lesions,
            lesion_oversampling=self.recipe.data.lesion_oversampling,
            focus=[
                self._channels[name] for name in self.recipe.data.focus if name in self._channels
            ],
        )

    @property
    def _channels(self) -> dict[str, int]:
        """Channel of each class by name."""
        return {
            name: int(channel)
            for channel, name in self.dataset_json["nnstudent"]["classes"].items()
        }

    def _painter(self) -> PaintLesions | None:
        training = self.recipe.training
        if not training.paint_lesions:
            return None
        lesions = sorted(self.partial.lesions)
        if len(lesions) != 1:
            raise InputError(
                f"paint_lesions = {training.paint_lesions}; needs one lesion class to learn, but there are {len(lesions)}"
            )
        if not any(name in kind.hosts for kind in LESIONS for name in self._channels):
            known = sorted({name for kind in LESIONS for name in kind.hosts})
            raise InputError(
                f"paint_lesions = {training.paint_lesions}; none of the classes can bear a lesion, only {', '.join(known)}"
            )
        facts = self.plans_manager.foreground_intensity_properties_per_channel["0"]
        organs = {
            name: channel for name, channel in self._channels.items() if channel not in lesions
        }
        return PaintLesions(
            training.paint_lesions,
            organs=organs,
            tumor=lesions[0],
            spacing_mm=self.recipe.data.spacing_mm,
            mean=facts["mean"],
            std=facts["std"],
        )

    def on_train_start(self) -> None:
        """Load what there is; nnU-Net's plots and copies of plans are left out."""
        if not self.was_initialized:
            self.initialize()
        # from another place in the random sequence than the interrupted run began with
        np.random.seed(self.recipe.training.seed + 1000 * self.current_epoch + int(self.fold))  # noqa: NPY002
        torch.manual_seed(self.recipe.training.seed + 1000 * self.current_epoch + int(self.fold))
        self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        if not self.do_split()[1]:
            self.num_val_iterations_per_epoch = 0
        self.set_deep_supervision_enabled(self.enable_deep_supervision)
        self._step = self.current_epoch * self.num_iterations_per_epoch
        self._saved_at = time.monotonic()
        self.print_plans()

    @property
    def _bfloat16(self) -> bool:
        return (
            self.device.type == "cpu"
            and self.recipe.training.precision == "mixed"
            and bfloat16.pays()
        )

    @property
    def _channels_last(self) -> bool:
        # On a processor a step in fp32 takes a quarter less time in this layout. In bfloat16 the
        # normalizations keep it too; what that saves has not been measured on such a processor.
        return bool(self.device.type == "cpu")

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.recipe.training.precision == "fp32" or (
            self.device.type == "cpu" and not self._bfloat16
        ):
            return nullcontext()
        mixed: AbstractContextManager[Any] = torch.autocast(
            self.device.type, torch.bfloat16 if self._bfloat16 else None
        )
        return mixed

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step: as nnU-Net's, with the recipe's learning rate and half precision on the processors made for it."""
        began = time.perf_counter()
        rate = learning_rate(self.recipe.training, self._step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        image, target, cases = self._next(batch)
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            output = self.network(image)
        output, possible = _float(output), self._possible(cases)
        if self._replay is not None:
            finest = output[0] if isinstance(output, list | tuple) else output
            self._replay.note(
                image,
                target if isinstance(target, list) else [target],
                cases,
                finest.detach(),
                possible,
            )
        loss = self._loss_of(output, target, possible)
        scaler = self.grad_scaler if self.recipe.training.precision == "mixed" else None
        if scaler is None:
            loss.backward()
        else:
            scaler.scale(loss).backward()
            scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self.recipe.training.gradient_clip
        )
        sound = scaler is not None or bool(
            torch.isfinite(norm)
        )  # else one step would take all weights; a scaler skips such by itself
        if scaler is not None:
            scaler.step(self.optimizer)
            scaler.update()
        elif sound:
            self.optimizer.step()
        if self._average is not None and sound:
            self._average.update(self._bare_network())
        self._step += 1
        if self.tuner is not None:
            self.tuner.step(time.perf_counter() - began)
        self.progress(self.title, self._step, self.num_epochs * self.num_iterations_per_epoch)
        value = loss.detach().cpu().numpy()
        self._lost = 0 if sound and np.isfinite(value) else self._lost + 1
        if self._lost >= min(MOST_LOST, self.num_iterations_per_epoch):
            self._give_up()
        return {"loss": value}

    def _next(self, batch: dict[str, Any]) -> tuple[torch.Tensor, Any, list[str]]:
        """Image, targets and cases of a step: of the batch, or of an earlier one that was hard; the batch is then lost."""
        hard = None if self._replay is None else self._replay.draw()
        if hard is not None:
            return (
                hard.image,
                hard.targets if self.enable_deep_supervision else hard.targets[0],
                hard.cases,
            )
        image, target = self._moved(batch)
        cases = [str(case) for case in batch["keys"]]
        self._augment(image, target if isinstance(target, list) else [target], cases)
        return image, target, cases

    def _give_up(self) -> None:
        training = self.recipe.training
        other = "" if training.precision == "fp32" else ' or set precision = "fp32"'
        raise InputError(
            f"{self.title}: no finite loss and gradient since step {self._step - self._lost + 1}; lower lr ({training.lr:g}){other} "
            "in the preset's training, which begins anew then"
        )

    def _augment(self, image: torch.Tensor, targets: list[torch.Tensor], cases: list[str]) -> None:
        """What mixes windows, in place; lesions first, while each window is of one case."""
        if self._paste is not None:
            true = [self.partial.lesion_truth.get(case, ()) for case in cases]
            self._paste(
                image,
                targets,
                true=true,
                closed=[self.partial.closed_lesions(case) for case in cases],
            )
        if self._mix is not None:
            self._mix(image, targets, [tables.tobytes() for tables in self.partial.of(cases)])

    def _moved(self, batch: dict[str, Any]) -> tuple[Any, Any]:
        target = batch["target"]
        whole = isinstance(target, list)
        moved = [
            part.to(self.device, non_blocking=True) for part in (target if whole else [target])
        ]
        image = batch["data"].to(self.device, non_blocking=True)
        if self._channels_last:
            image = image.contiguous(memory_format=torch.channels_last_3d)
        return image, moved if whole else moved[0]

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As nnU-Net's, in the precision of the training."""
        with self._averaged(), self._autocast():
            image, target = self._moved(batch)
            output = self.network(image)
        output = _float(output)
        possible = self._possible([str(case) for case in batch["keys"]])
        loss = self._loss_of(output, target, possible)
        best, truth = (output[0], target[0]) if self.enable_deep_supervision else (output, target)
        classes = best.shape[1]
        found, true = best.argmax(1), truth[:, 0].long()
        counted = true < classes  # else it is the ignore label
        true = true.where(counted, 0)
        if possible is not None:  # what may be there is no error
            sample = torch.arange(len(true), device=true.device)[:, None, None, None]
            found = torch.where(possible[sample, true, found], true, found)
        found, true = found[counted], true[counted]
        table = (
            torch.bincount(true * classes + found, minlength=classes * classes)
            .reshape(classes, classes)
            .cpu()
            .numpy()[:, :]
        )
        hit = np.diag(table)[1:]
        return {
            "loss": loss.detach().cpu().numpy(),
            "tp_hard": hit,
            "fp_hard": table.sum(0)[1:] - hit,
            "fn_hard": table.sum(1)[1:] - hit,
        }

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Dice of each class over all validation windows; of a class that none of them holds, NaN."""
        if not val_outputs:
            dice, loss = [math.nan] * len(self.label_manager.foreground_labels), math.nan
        else:
            sums = {
                key: np.sum(value, 0)
                for key, value in collate_outputs(val_outputs).items()
                if key != "loss"
            }
            loss = float(np.mean([output["loss"] for output in val_outputs]))
            hit, extra, missed = sums["tp_hard"], sums["fp_hard"], sums["fn_hard"]
            dice = [
                float(2 * h / (2 * h + e + m)) if h + m > 0 else math.nan
                for h, e, m in zip(hit, extra, missed, strict=True)
            ]
        known = [value for value in dice if not math.isnan(value)]
        self.logger.log(
            "mean_fg_dice", sum(known) / len(known) if known else math.nan, self.current_epoch
        )
        self.logger.log("dice_per_class_or_region", dice, self.current_epoch)
        self.logger.log("val_losses", loss, self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Say where it is; the learning rate is set step by step."""
        self.network.train()
        self._weigh_classes()
        self.logger.log("lrs", learning_rate(self.recipe.training, self._step), self.current_epoch)

    def on_epoch_end(self) -> None:
        """Save now and then; tell the log and the curves."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        last = {
            key: self.logger.get_value(key, step=-1)
            for key in ("train_losses", "val_losses", "mean_fg_dice")
        }
        self.print_to_log_file(
            f"epoch {self.current_epoch}: "
            + ", ".join(f"{key} {value:.4f}" for key, value in last.items())
        )
        self.current_epoch += 1
        due = (
            self.current_epoch == self.num_epochs
            or time.monotonic() - self._saved_at >= self.recipe.training.checkpoint_seconds
        )
        if due and not self._lost:
            self.save_checkpoint(os.path.join(self.output_folder, LATEST))
            self._saved_at = time.monotonic()

    def on_train_end(self) -> None:
        """Write the final checkpoint, which holds the weights but no optimizer, and stop drawing."""
        self.save_checkpoint(os.path.join(self.output_folder, FINAL), whole=False)
        for name in (LATEST, PREVIOUS):
            Path(self.output_folder, name).unlink(missing_ok=True)
            Path(self.output_folder, name).with_suffix(".damaged").unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Stop whatever draws batches."""
        if isinstance(self.dataloader_train, Prefetch):
            self.dataloader_train.close()
        elif self.dataloader_train is not None:
            self.dataloader_train._finish()

    def _averaged(self) -> AbstractContextManager[Any]:
        return (
            nullcontext() if self._average is None else self._average.applied(self._bare_network())
        )

    def _bare_network(self) -> Any:
        return getattr(self.network, "_orig_mod", self.network)  # torch.compile wraps it

    def save_checkpoint(self, filename: str, *, whole: bool = True) -> None:
        """Write a checkpoint of plain types, whole or not at all, and the curves beside it.

        Args:
            filename: Where to.
            whole: With what is needed to go on; else only what is needed to predict.
        """
        network = self._bare_network()
        weights = network.state_dict()
        checkpoint: dict[str, Any] = {
            "network_weights": weights if self._average is None else self._average.of(weights),
            "current_epoch": self.current_epoch,
            "logging": _plain(self.logger.get_checkpoint()),
            "_best_ema": None,
            "init_args": {"configuration": self.configuration_name, "fold": self.fold},
            "trainer_name": "nnUNetTrainer",  # stock nnU-Net looks it up; the network comes from the plans
            "inference_allowed_mirroring_axes": None,
            "optimizer_state": None,
            "grad_scaler_state": None,
        }
        if whole and self.optimizer is not None:
            checkpoint["optimizer_state"] = self.optimizer.state_dict()
            scaler: Any = self.grad_scaler
            checkpoint["grad_scaler_state"] = scaler.state_dict() if scaler is not None else None
            if self._average is not None:
                checkpoint["last_weights"] = (
                    weights  # the optimizer goes on from these, not from the average
                )
        with replacing(Path(filename)) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # torch's word for a full disk
                raise OutputError(
                    f"{filename}: cannot be written ({quoted(error)}); is there room on the disk?"
                ) from error
            if (
                whole and Path(filename).is_file()
            ):  # should the new one be damaged, there is one to go on from
                os.replace(filename, Path(filename).with_name(PREVIOUS))
        write_json(Path(self.output_folder, "progress.json"), self.curves())

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Go on from a checkpoint of :meth:`save_checkpoint`.

        Raises:
            BadZipFile: What it holds has changed since, which torch does not look for.
        """
        with zipfile.ZipFile(filename_or_checkpoint) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} in it has changed")
        if not self.was_initialized:
            self.initialize()
        checkpoint = torch.load(filename_or_checkpoint, map_location=self.device, weights_only=True)
        network = self._bare_network()
        if self._average is not None:
            self._average.load(network, checkpoint["network_weights"])
        network.load_state_dict(checkpoint.get("last_weights", checkpoint["network_weights"]))
        if self.optimizer is not None:
            self.optimizer.load_state_dict(checkpoint["optimizer_state"])
        scaler: Any = self.grad_scaler
        if scaler is not None and checkpoint["grad_scaler_state"] is not None:
            scaler.load_state_dict(checkpoint["grad_scaler_state"])
        self.current_epoch = checkpoint["current_epoch"]
        self.logger.load_checkpoint(checkpoint["logging"])

    def curves(self) -> dict[str, Any]:
        """The training so far, as plain data: losses, Dice by class, learning rate and seconds of each epoch."""
        log = _plain(self.logger.get_checkpoint())
        seconds = [
            end - start
            for start, end in zip(
                log["epoch_start_timestamps"], log["epoch_end_timestamps"], strict=False
            )
        ]
        names = [
            name
            for name, value in self.dataset_json["labels"].items()
            if value != 0 and name != "ignore"
        ]
        known = {
            key: [_number(value) for value in log[key]]
            for key in ("train_losses", "val_losses", "mean_fg_dice", "lrs")
        }
        return {
            "fold": self.fold,
            "epochs": self.num_epochs,
            "iterations": self.num_iterations_per_epoch,
            "done": self.current_epoch,
            "device": self.device.type,
            "precision": "fp32" if isinstance(self._autocast(), nullcontext) else "mixed",
            "train_loss": known["train_losses"],
            "val_loss": known["val_losses"],
            "dice": known["mean_fg_dice"],
            "dice_by_class": {
                name: [_number(row[i]) for row in log["dice_per_class_or_region"]]
                for i, name in enumerate(names)
            },
            "lr": known["lrs"],
            "seconds": [round(value, 3) for value in seconds],
        }


class _ByStep:
    """Stands where nnU-Net expects a scheduler; the trainer sets the rate itself."""

    def step(self, epoch: int | None = None) -> None:
        """Do nothing."""


def _float(output: Any) -> Any:
    return [part.float() for part in output] if isinstance(output, list | tuple) else output.float()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
