"""The options of `train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnet50.options.fields import option
from resnet50.options.groups import LoaderOptions, NetworkOptions, Options

ResizeMode = Literal["crop", "squash", "pad"]
Augment = Literal["none", "light", "standard"]
Flips = Literal["none", "horizontal", "both"]
OptimizerName = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["onecycle", "cosine", "step", "multistep", "plateau", "constant"]


@dataclass(frozen=True, kw_only=True)
class InitializationOptions(NetworkOptions):
    """The network, and what it starts from."""

    weights: str = option(
        "Initial weights: none, imagenet (the first source that is available), torchvision:IMAGENET1K_V1|V2, "
        "hf:timm/resnet50.a1_in1k, keras, or a file, folder or run.",
        "imagenet",
    )
    zero_gamma: bool = option(
        "From scratch: start every block as the identity (zero weight in its last batch norm).", False
    )
    freeze: int = option(
        "Freeze the first N of 5 stages (stem, layer1 .. layer4), batch norm included.", 0, at_least=0, at_most=5
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """What the network is shown."""

    section = "Data"

    image_size: int | None = option(
        "Side of the square training images, in pixels. Left out: 224, less where the images are small or --budget is.",
        None,
        at_least=32,
    )
    eval_size: int | None = option(
        "Side for validation, evaluation and prediction. Left out: --image-size.", None, at_least=32
    )
    resize_mode: ResizeMode | None = option(
        "How an image is made square: crop its center, squash it, or pad it. Left out: as the weights have it.", None
    )
    eval_crop: float = option(
        "Share of an image's shorter side that the crop of evaluation keeps; with --resize-mode crop.",
        1.0,
        above=0,
        at_most=1,
    )
    store: bool = option("Read training images from the dataset's pixel store, if it has one.", True)


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Options):
    """How training images are varied."""

    section = "Augmentation"

    augment: Augment = option("none, light (crop, flip), or standard (also color and erasing).", "light")
    crop_scale: float = option("Smallest share of an image's area that a random crop keeps.", 0.35, above=0, at_most=1)
    flips: Flips = option("Flips that leave an image's class as it is.", "horizontal")


@dataclass(frozen=True, kw_only=True)
class OptimizationOptions(Options):
    """The loss and the optimizer's step."""

    section = "Optimization"

    optimizer: OptimizerName = option("Optimizer.", "adamw")
    lr: float | None = option(
        "Peak learning rate of the backbone. Left out: chosen by optimizer and batch size.", None, above=0
    )
    head_lr: float | None = option(
        "Peak learning rate of the head. Left out: that of the backbone; 10 x where --freeze 5 trains only the head.",
        None,
        above=0,
    )
    momentum: float = option("Nesterov momentum of SGD.", 0.9, at_least=0, below=1)
    weight_decay: float | None = option(
        "Weight decay; norms and biases have none. Left out: chosen by optimizer.", None, at_least=0
    )
    batch_size: int | Literal["auto"] = option(
        "Images per optimizer step; auto: as many as fit into memory.", 32, at_least=1
    )
    accumulate: int = option(
        "Micro-batches that each batch is split into to save memory; the step stays the same.", 1, at_least=1
    )
    clip_grad: float | None = option("Largest gradient norm; longer gradients are scaled down to it.", None, above=0)
    label_smoothing: float = option("Share of the target that is spread over all classes.", 0.05, at_least=0, below=1)
    class_weights: Literal["none", "balanced"] = option(
        "Class weights in the loss: none, or balanced (by 1/frequency).", "none"
    )
    ema: float | None = option(
        "Decay of an exponential moving average of the weights, which is then validated and saved; 0: none. Left out: "
        "chosen by the number of steps.",
        None,
        at_least=0,
        below=1,
    )


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(Options):
    """How long training takes, and the learning rate over that time."""

    section = "Schedule"

    epochs: int | None = option(
        "Passes over the training images. Left out: 10, more where they are few; with --budget, as many as fit.",
        None,
        at_least=1,
    )
    budget: str | None = option(
        "Time for the whole command, as 90s, 5m or 2h: as many epochs as fit, a part of one as the last.", None
    )
    plan: str | None = option(
        "Instead of --epochs, the steps of the whole run: 0:820,82:790 are 820, but 790 from step 82 on. What --budget "
        "planned is recorded so.",
        None,
    )
    early_stopping: int | None = option(
        "Stop after this many epochs without a better validation loss.", None, at_least=1
    )
    schedule: ScheduleName = option("Learning rate schedule.", "onecycle")
    warmup: float = option(
        "Share of all steps over which the learning rate rises from near zero.", 0.05, at_least=0, below=1
    )
    decay_factor: float = option(
        "For step, multistep and plateau: factor that the learning rate is multiplied by.", 0.1, at_least=0
    )
    step_epochs: int = option("For step: epochs between two decays.", 30, at_least=1)
    milestones: str = option("For multistep: when the learning rate decays, as shares of the run.", "0.6,0.85")
    plateau_patience: int = option(
        "For plateau: epochs without a better validation loss before the learning rate decays.", 3, at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions(LoaderOptions):
    """What training runs on, and how."""

    threads: int | None = option(
        "CPU threads for the network. Left out: OMP_NUM_THREADS if set, else one for each core, fewer where other "
        "programs use the cores.",
        None,
        at_least=1,
    )
    compile: Literal["auto", "on", "off"] = option(
        "Compile the training step with torch.compile; auto: on a GPU, if the run is long enough for it to pay.", "auto"
    )
    sync_bn: bool = option("Under torchrun, on GPUs: synchronize batch norm over all processes.", False)
    deterministic: bool = option("On CUDA: identical results in every run, at some cost in speed.", False)
    seed: int = option("Seed of initialization, order and augmentation.", 0, at_least=0)
    observe: bool = option(
        "Record what happens inside the network: gradients, updates, residuals, dead channels, each image's loss.",
        False,
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """How training survives an interruption."""

    section = "Checkpoints and recovery"

    resume: Path | None = option(
        "Resume the interrupted run in this folder, with its options, to bit-identical results.", None
    )
    max_time: str | None = option(
        "Stop after this time, as 90s, 5m or 2h, with a checkpoint and exit code 75; --resume continues.", None
    )
    checkpoint_minutes: float = option("Minutes between two checkpoints within an epoch.", 10.0, above=0)
    keep: int = option("Number of checkpoints to keep while training.", 2, at_least=1)
    skip_bad: int = option(
        "Skip up to N images that have become unreadable since the dataset was prepared.", 0, at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(
    InitializationOptions,
    DataOptions,
    AugmentationOptions,
    OptimizationOptions,
    ScheduleOptions,
    RuntimeOptions,
    CheckpointOptions,
):
    """Fine-tune a ResNet on a prepared dataset, or train it from scratch with --weights none."""

    section = "Input and output"

    dataset: Path = option("Prepared dataset (the output folder of `resnet50 prepare`).", positional=True)
    out: Path = option("Run folder to write to.")
    overwrite: bool = option("Replace the contents of the run folder.", False)

    @property
    def side(self) -> int:
        """Return the side of the training images in pixels, once that is decided."""
        assert self.image_size is not None
        return self.image_size

    @property
    def batch(self) -> int:
        """Return the images per optimizer step, once that is decided."""
        assert isinstance(self.batch_size, int)
        return self.batch_size
