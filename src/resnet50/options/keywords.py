"""The keyword arguments of `prepare`, `train` and `evaluate`, as an editor completes and a type checker checks them.

Written by tools/make_keywords.py from the options of each verb: change those, then run it.
"""

import os
from typing import Literal, TypedDict

StrPath = str | os.PathLike[str]
"""A path, or an object that stands for one: a `Dataset`, a `Run`."""


class PrepareKeywords(TypedDict, total=False):
    """Options of `prepare`."""

    overwrite: bool
    """Replace the contents of the output folder. Default: False."""
    dry_run: bool
    """Show how the source is understood, with ten of its rows, and write nothing. Default: False."""
    images: StrPath | None
    """Folder that holds the images. Left out: found beside the table."""
    id_column: str | None
    """Column with image ids or file names. Left out: guessed if only one fits."""
    label_column: str | None
    """Column with the labels. Left out: guessed if only one fits."""
    label_columns: str | None
    """Columns of 0 and 1, one per class, separated by commas: one-hot labels."""
    label_pattern: str | None
    """Regular expression that finds the label in a file's name, or in its path if it has a slash: '^(cat|dog)_'."""
    label_list: str | None
    """Text files with an image and its label in each line: 'images_variant_*.txt'."""
    class_folders: bool
    """Read class folders, even where a table is beside them. Default: False."""
    combine_labels: bool
    """Make each combination of several labels a class of its own. Default: False."""
    exclude: str | None
    """Files and folders to leave out, as patterns separated by commas: 'masks/*,*_gt.png'."""
    path_template: str | None
    """Path of an id's file below the image folder, e.g. '{image_id}.jpg'. Left out: the extension is found."""
    pixel_shape: str | None
    """Height x width of images whose pixels are numbers in a table: 28x28, or 32x32x3 in color. Left out: found if
    only one fits.
    """
    pixel_max: float | None
    """Value of a white pixel where pixels are numbers: 1, 255, 4095. Left out: 255, or 1 if none is larger. Must be
    above 0.
    """
    allow_outside: bool
    """Allow ids that name images outside the image folder: ../other/1.jpg, /data/1.jpg. Default: False."""
    drop_labels: str | None
    """Labels to drop, separated by commas."""
    min_class_count: int
    """Warn of classes with fewer images than this. Default: 1. Must be at least 0."""
    small_classes: Literal["keep", "drop"]
    """What happens to classes with fewer images. Default: "keep"."""
    bit_depth: int | None
    """Bits that integers of more than 8 use: 12 for cameras and scanners that write 0 to 4095. Left out: as the files
    say, else all 16. Must be at least 8 and at most 16.
    """
    strict: bool
    """Stop at anything the audit finds instead of leaving it out. Default: False."""
    split: str
    """Shares of train/val/test. Default: "0.7/0.15/0.15"."""
    split_column: str | None
    """Column with a published split (train, val, test) to keep."""
    group_column: str | None
    """Column whose equal values stay in one split: the patient, the sender, the video."""
    split_values: str | None
    """What the values of split_column mean: 'A=train,B=test'."""
    group_pattern: str | None
    """Regular expression that finds the group in an image's id: '^(.+)_(?:left|right)'."""
    test: StrPath | None
    """A second source, with the same classes, that becomes the test split."""
    near_duplicates: Literal["keep-together", "drop", "ignore"]
    """What to do with images that show the same as another: compressed, resized, cropped, brightened or mirrored.
    keep-together: in one split; drop: leave out all but the first; ignore: don't look for them. Default: "keep-
    together".
    """
    seed: int
    """Seed of the split. Default: 0. Must be at least 0."""
    store: bool
    """Keep a small, decoded copy of every image in the dataset, for training to read. Default: True."""
    store_size: int
    """Shorter side of the images in the pixel store, in pixels. No image is enlarged. Default: 256. Must be at least
    32.
    """
    shard: str | None
    """Do one shard of the work: 2/8 is the second of eight. See merge."""
    merge: int | None
    """Merge this many finished shards instead of doing the work. Must be at least 1."""


class TrainKeywords(TypedDict, total=False):
    """Options of `train`."""

    overwrite: bool
    """Replace the contents of the run folder. Default: False."""
    depth: Literal[18, 34, 50, 101, 152]
    """Depth of the network. Default: 50."""
    variant: Literal["v1", "v1.5"] | None
    """Which convolution of a bottleneck strides: its 3x3 (v1.5) or its first 1x1 (v1). Left out: as the weights have
    it, else v1.5.
    """
    shortcuts: Literal["A", "B", "C", "none"]
    """Shortcuts as in the paper: A, B (projection where shapes differ), C, or none. Default: "B"."""
    weights: StrPath
    """Initial weights: none, imagenet (the first source that is available), torchvision:IMAGENET1K_V1|V2,
    hf:timm/resnet50.a1_in1k, keras, or a file, folder or run. Default: "imagenet".
    """
    zero_gamma: bool
    """From scratch: start every block as the identity (zero weight in its last batch norm). Default: False."""
    freeze: int
    """Freeze the first N of 5 stages (stem, layer1 .. layer4), batch norm included. Default: 0. Must be at least 0 and
    at most 5.
    """
    image_size: int | None
    """Side of the square training images, in pixels. Left out: 224, less where the images are small or budget is. Must
    be at least 32.
    """
    eval_size: int | None
    """Side for validation, evaluation and prediction. Left out: image_size. Must be at least 32."""
    resize_mode: Literal["crop", "squash", "pad"] | None
    """How an image is made square: crop its center, squash it, or pad it. Left out: as the weights have it."""
    eval_crop: float
    """Share of an image's shorter side that the crop of evaluation keeps; with resize_mode crop. Default: 1.0. Must be
    above 0 and at most 1.
    """
    store: bool
    """Read training images from the dataset's pixel store, if it has one. Default: True."""
    augment: Literal["none", "light", "standard"]
    """none, light (crop, flip), or standard (also color and erasing). Default: "light"."""
    crop_scale: float
    """Smallest share of an image's area that a random crop keeps. Default: 0.35. Must be above 0 and at most 1."""
    flips: Literal["none", "horizontal", "both"]
    """Flips that leave an image's class as it is. Default: "horizontal"."""
    optimizer: Literal["adamw", "adam", "sgd"]
    """Optimizer. Default: "adamw"."""
    lr: float | None
    """Peak learning rate of the backbone. Left out: chosen by optimizer and batch size. Must be above 0."""
    head_lr: float | None
    """Peak learning rate of the head. Left out: that of the backbone; 10 x where freeze 5 trains only the head. Must
    be above 0.
    """
    momentum: float
    """Nesterov momentum of SGD. Default: 0.9. Must be at least 0 and below 1."""
    weight_decay: float | None
    """Weight decay; norms and biases have none. Left out: chosen by optimizer. Must be at least 0."""
    batch_size: int | Literal["auto"]
    """Images per optimizer step; auto: as many as fit into memory. Default: 32. Must be at least 1."""
    accumulate: int
    """Micro-batches that each batch is split into to save memory; the step stays the same. Default: 1. Must be at
    least 1.
    """
    clip_grad: float | None
    """Largest gradient norm; longer gradients are scaled down to it. Must be above 0."""
    label_smoothing: float
    """Share of the target that is spread over all classes. Default: 0.05. Must be at least 0 and below 1."""
    class_weights: Literal["none", "balanced"]
    """Class weights in the loss: none, or balanced (by 1/frequency). Default: "none"."""
    ema: float | None
    """Decay of an exponential moving average of the weights, which is then validated and saved; 0: none. Left out:
    chosen by the number of steps. Must be at least 0 and below 1.
    """
    epochs: int | None
    """Passes over the training images. Left out: 10, more where they are few; with budget, as many as fit. Must be at
    least 1.
    """
    budget: str | None
    """Time for the whole command, as 90s, 5m or 2h: as many epochs as fit, a part of one as the last."""
    plan: str | None
    """Instead of epochs, the steps of the whole run: 0:820,82:790 are 820, but 790 from step 82 on. What budget
    planned is recorded so.
    """
    early_stopping: int | None
    """Stop after this many epochs without a better validation loss. Must be at least 1."""
    schedule: Literal["onecycle", "cosine", "step", "multistep", "plateau", "constant"]
    """Learning rate schedule. Default: "onecycle"."""
    warmup: float
    """Share of all steps over which the learning rate rises from near zero. Default: 0.05. Must be at least 0 and
    below 1.
    """
    decay_factor: float
    """For step, multistep and plateau: factor that the learning rate is multiplied by. Default: 0.1. Must be at least
    0.
    """
    step_epochs: int
    """For step: epochs between two decays. Default: 30. Must be at least 1."""
    milestones: str
    """For multistep: when the learning rate decays, as shares of the run. Default: "0.6,0.85"."""
    plateau_patience: int
    """For plateau: epochs without a better validation loss before the learning rate decays. Default: 3. Must be at
    least 0.
    """
    device: str
    """auto, cpu, cuda, cuda:N or mps. Default: "auto"."""
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    """Number format that the network computes in. Default: "auto"."""
    workers: int | None
    """Processes that load images. Left out: chosen from the CPU count. Must be at least 0."""
    threads: int | None
    """CPU threads for the network. Left out: OMP_NUM_THREADS if set, else one for each core, fewer where other
    programs use the cores. Must be at least 1.
    """
    compile: Literal["auto", "on", "off"]
    """Compile the training step with torch.compile; auto: on a GPU, if the run is long enough for it to pay. Default:
    "auto".
    """
    sync_bn: bool
    """Under torchrun, on GPUs: synchronize batch norm over all processes. Default: False."""
    deterministic: bool
    """On CUDA: identical results in every run, at some cost in speed. Default: False."""
    seed: int
    """Seed of initialization, order and augmentation. Default: 0. Must be at least 0."""
    observe: bool
    """Record what happens inside the network: gradients, updates, residuals, dead channels, each image's loss.
    Default: False.
    """
    resume: StrPath | None
    """Resume the interrupted run in this folder, with its options, to bit-identical results."""
    max_time: str | None
    """Stop after this time, as 90s, 5m or 2h, with a checkpoint and exit code 75; resume continues."""
    checkpoint_minutes: float
    """Minutes between two checkpoints within an epoch. Default: 10.0. Must be above 0."""
    keep: int
    """Number of checkpoints to keep while training. Default: 2. Must be at least 1."""
    skip_bad: int
    """Skip up to N images that have become unreadable since the dataset was prepared. Default: 0. Must be at least
    0.
    """


class EvaluateKeywords(TypedDict, total=False):
    """Options of `evaluate`."""

    dataset: StrPath | None
    """Another prepared dataset with the same classes. Left out: the run's own."""
    out: StrPath | None
    """Folder for the metrics, the row per image and the report. Left out: the run folder."""
    device: str
    """auto, cpu, cuda, cuda:N or mps. Default: "auto"."""
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    """Number format that the network computes in. Default: "auto"."""
    workers: int | None
    """Processes that load images. Left out: chosen from the CPU count. Must be at least 0."""
    batch_size: int
    """Images per forward pass. Default: 32. Must be at least 1."""
    shard: str | None
    """Do one shard of the work: 2/8 is the second of eight. See merge."""
    merge: int | None
    """Merge this many finished shards instead of doing the work. Must be at least 1."""
