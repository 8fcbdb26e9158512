"""The trainer: nnU-Net's own, with every setting taken from the recipe in the plans."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch import Tensor

from nnstudent.io.atomic import write_json
from nnstudent.progress import Progress, silent
from nnstudent.training.annotated import PartialLabels
from nnstudent.training.augment.batch import Batch, BatchAugmentation
from nnstudent.training.averaging import WeightAverage
from nnstudent.training.checkpoints import (
    FINAL,
    LATEST,
    CheckpointTimer,
    Learned,
    read_checkpoint,
    remove_intermediate,
    write_checkpoint,
)
from nnstudent.training.cpu.threads import Tuner
from nnstudent.training.curves import StepNote, epoch_curves, plain_log
from nnstudent.training.data.loading import Prefetch
from nnstudent.training.data.windows import Windows
from nnstudent.training.environment import refuse_several_processes
from nnstudent.training.objective import Objective
from nnstudent.training.optimization import ConstantScheduler, LossGuard, make_optimizer, update
from nnstudent.training.precision import Precision
from nnstudent.training.recipe import Recipe
from nnstudent.training.schedule import learning_rate
from nnstudent.training.validation import confusion_counts, epoch_scores


class RecipeTrainer(nnUNetTrainer):
    """nnU-Net's trainer with every setting taken from ``plans["nnstudent"]["recipe"]``.

    Compared with nnU-Net's it leaves out mirroring (left and right are different organs), plots,
    the best checkpoint, and the full-size validation at the end, which ``evaluate`` does. Its
    checkpoints name nnU-Net's own trainer, so that stock nnU-Net loads them without this package,
    and hold plain types only, so that they load with ``weights_only=True``.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device | None = None,
    ) -> None:
        """Take nnU-Net's arguments, by its names; several processes together are refused."""
        refuse_several_processes()
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
        # nnU-Net assigns a kind of window to each place in the batch, which leaves a batch of one
        # no choice; there the kind is drawn.
        self.probabilistic_oversampling = self.recipe.data.batch == 1
        # nnU-Net gives the coarsest loss no weight; two resolutions leave only the finest.
        self.enable_deep_supervision = (
            training.deep_supervision and len(self.recipe.network.features) > 2
        )
        self.inference_allowed_mirroring_axes = None
        self.progress: Progress = silent
        self.title = f"fold {fold}"
        self.tuner: Tuner | None = None
        self.start: Callable[[torch.nn.Module], None] | None = None
        self.precision = Precision(self.device, training.precision)
        self._augmentation = BatchAugmentation(
            self.recipe, self.partial, ignore=self.label_manager.ignore_label
        )
        self._average = WeightAverage(training.ema) if training.ema else None
        self._guard = LossGuard(training)
        self._timer = CheckpointTimer(training.checkpoint_seconds)
        self._note, self._step = StepNote(), 0

    def place(self, model: Path) -> None:
        """Write into ``model/fold_K`` instead of nnU-Net's results folder."""
        folder = model / f"fold_{self.fold}"
        self.output_folder_base, self.output_folder = str(model), str(folder)
        self.log_file = str(folder / "training.log")
        folder.mkdir(parents=True, exist_ok=True)

    def print_to_log_file(
        self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True
    ) -> None:
        """Write to the log only; the terminal belongs to the command."""
        super().print_to_log_file(*args, also_print_to_console=False, add_timestamp=add_timestamp)

    def initialize(self) -> None:
        """Build network, loss and optimizer; the same seed gives the same weights."""
        seed = self.recipe.training.seed + (self.fold if isinstance(self.fold, int) else 0)
        _seed(seed)
        super().initialize()
        if self.start is not None:
            self.start(self._bare_network())
        self.precision.prepare(self._bare_network())

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """The recipe's optimizer; its learning rate is set at each step."""
        optimizer = make_optimizer(self.recipe.training, self.network.parameters())
        return optimizer, ConstantScheduler()

    def _build_loss(self) -> Objective:
        return Objective(
            super()._build_loss(),
            self.recipe.training,
            partial=self.partial,
            class_weights=self.class_weights,
            device=self.device,
        )

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Augmented windows without end, and a fixed set of validation windows."""
        train_cases, validation_cases = self.do_split()
        classes = self.dataset_json["nnstudent"]["classes"]
        windows = Windows(
            self.preprocessed_dataset_folder,
            self.recipe,
            self.label_manager,
            self.partial,
            channels={name: int(channel) for channel, name in classes.items()},
            intensity=self.plans_manager.foreground_intensity_properties_per_channel["0"],
            batch=self.batch_size,
            foreground=self.oversample_foreground_percent,
            random_kind=self.probabilistic_oversampling,
        )
        return windows.start(
            train_cases,
            validation_cases,
            scales=self._get_deep_supervision_scales(),
            batches=self.num_val_iterations_per_epoch,
            processes=get_allowed_n_proc_DA(),
            pinned=self.device.type == "cuda",
        )

    def on_train_start(self) -> None:
        """Load the data; nnU-Net's plots and copies of the plans are left out."""
        if not self.was_initialized:
            self.initialize()
        # A resumed training draws other numbers than those that the interrupted one began with.
        _seed(self.recipe.training.seed + 1000 * self.current_epoch + int(self.fold))
        self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        if not self.do_split()[1]:
            self.num_val_iterations_per_epoch = 0
        self.set_deep_supervision_enabled(self.enable_deep_supervision)
        self._step = self.current_epoch * self.num_iterations_per_epoch
        self._timer.restart()
        self.print_plans()

    def on_train_epoch_start(self) -> None:
        """Set the epoch's class weights; the learning rate is set at each step."""
        self.network.train()
        self.loss.start_epoch(self.current_epoch)
        self.logger.log("lrs", learning_rate(self.recipe.training, self._step), self.current_epoch)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take one step, with the recipe's learning rate and precision."""
        began, training = time.perf_counter(), self.recipe.training
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training, self._step)
        drawn = self._augmentation.next(lambda: Batch.load(batch, self.precision))
        self.optimizer.zero_grad(set_to_none=True)
        output = self.precision.run(self.network, drawn.image)
        possible = self.loss.possible(drawn.cases)
        self._augmentation.record(drawn, _finest(output).detach(), possible)
        loss = self.loss(output, drawn.targets, possible)
        updated = update(
            self.network,
            self.optimizer,
            loss,
            clip=training.gradient_clip,
            scaler=self.grad_scaler if training.precision == "mixed" else None,
        )
        if self._average is not None and updated:
            self._average.update(self._bare_network())
        self._step += 1
        if self.tuner is not None:
            self.tuner.step(time.perf_counter() - began)
        value = loss.detach().cpu().numpy()
        steps = self.num_epochs * self.num_iterations_per_epoch
        self.progress(self.title, self._step, steps, note=self._note.after(float(value)))
        self._guard.record(finite=updated and bool(np.isfinite(value)))
        self._guard.check(self.title, self._step)
        return {"loss": value}

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Count hits and errors of one batch, in the precision of the training."""
        drawn = Batch.load(batch, self.precision)
        average = self._average
        with nullcontext() if average is None else average.applied(self._bare_network()):
            output = self.precision.run(self.network, drawn.image)
        possible = self.loss.possible(drawn.cases)
        loss = self.loss(output, drawn.targets, possible)
        counts = confusion_counts(_finest(output), drawn.targets[0][:, 0], possible)
        return {"loss": loss.detach().cpu().numpy(), **counts}

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log the Dice of each class over all validation windows; NaN for one that none holds."""
        dice, mean, loss = epoch_scores(val_outputs, len(self.label_manager.foreground_labels))
        self._note.dice = mean
        self.logger.log("mean_fg_dice", mean, self.current_epoch)
        self.logger.log("dice_per_class_or_region", dice, self.current_epoch)
        self.logger.log("val_losses", loss, self.current_epoch)

    def on_epoch_end(self) -> None:
        """Log the epoch, and save a checkpoint if one is due."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        self.print_to_log_file(_epoch_line(self.logger, self.current_epoch))
        self.current_epoch += 1
        due = self.current_epoch == self.num_epochs or self._timer.due
        if due and not self._guard.lost:
            self.save_checkpoint(os.path.join(self.output_folder, LATEST))
            self._timer.restart()

    def on_train_end(self) -> None:
        """Write the final checkpoint, which has weights but no optimizer, and stop drawing."""
        self.save_checkpoint(os.path.join(self.output_folder, FINAL), whole=False)
        remove_intermediate(Path(self.output_folder))
        self.close()

    def close(self) -> None:
        """Stop whatever draws batches."""
        if isinstance(self.dataloader_train, Prefetch):
            self.dataloader_train.close()
        elif self.dataloader_train is not None:
            self.dataloader_train._finish()

    def save_checkpoint(self, filename: str, *, whole: bool = True) -> None:
        """Write a checkpoint of plain types, and the curves beside it.

        Args:
            filename: The file to write.
            whole: Whether to save all that resuming needs, or only what predicting needs.
        """
        checkpoint = {
            **self._learned.state(whole=whole),
            "current_epoch": self.current_epoch,
            "logging": plain_log(self.logger.get_checkpoint()),
            "_best_ema": None,
            "init_args": {"configuration": self.configuration_name, "fold": self.fold},
            # Stock nnU-Net looks the trainer up by name; the network comes from the plans.
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": None,
        }
        write_checkpoint(Path(filename), checkpoint, keep_previous=whole)
        write_json(Path(self.output_folder, "progress.json"), self.curves())

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Restore the state that :meth:`save_checkpoint` wrote.

        Raises:
            BadZipFile: The content has changed since it was written.
        """
        checkpoint = read_checkpoint(Path(filename_or_checkpoint), device=self.device)
        if not self.was_initialized:
            self.initialize()
        self._learned.restore(checkpoint)
        self.current_epoch = checkpoint["current_epoch"]
        self.logger.load_checkpoint(checkpoint["logging"])

    def curves(self) -> dict[str, Any]:
        """The training so far, as plain data; see :func:`epoch_curves`."""
        return _curves(self)

    @property
    def _learned(self) -> Learned:
        return Learned(self._bare_network(), self.optimizer, self.grad_scaler, self._average)

    def _bare_network(self) -> Any:
        return getattr(self.network, "_orig_mod", self.network)  # torch.compile wraps it


def _curves(trainer: RecipeTrainer) -> dict[str, Any]:
    labels = trainer.dataset_json["labels"]
    names = [name for name, value in labels.items() if value != 0 and name != "ignore"]
    return {
        "fold": trainer.fold,
        "epochs": trainer.num_epochs,
        "iterations": trainer.num_iterations_per_epoch,
        "done": trainer.current_epoch,
        "device": trainer.device.type,
        "precision": "mixed" if trainer.precision.mixed else "fp32",
        **epoch_curves(plain_log(trainer.logger.get_checkpoint()), names),
    }


def _epoch_line(logger: Any, epoch: int) -> str:
    """An epoch's losses and Dice, for the log."""
    keys = ("train_losses", "val_losses", "mean_fg_dice")
    last = {key: logger.get_value(key, step=-1) for key in keys}
    return f"epoch {epoch}: " + ", ".join(f"{key} {value:.4f}" for key, value in last.items())


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # nnU-Net's loader and transforms draw from it


def _finest(output: Any) -> Tensor:
    """Scores at the finest resolution."""
    finest: Tensor = output[0] if isinstance(output, list | tuple) else output
    return finest
