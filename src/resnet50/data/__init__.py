"""From a prepared dataset to batches: torch datasets, preprocessing, augmentation, loaders."""

from resnet50.data.dataset import AugmentedDataset, ImageDataset
from resnet50.data.loader import evaluation_loader, training_loader
from resnet50.data.transforms import Augmentation, Preprocess

__all__ = ["Augmentation", "AugmentedDataset", "ImageDataset", "Preprocess", "evaluation_loader", "training_loader"]
