"""What happens around the training loop: recording, probing, checkpoints, signals."""
