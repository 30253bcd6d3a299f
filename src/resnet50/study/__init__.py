"""Experiments on residual learning itself: one module per experiment, each with `run(source, out)`."""
