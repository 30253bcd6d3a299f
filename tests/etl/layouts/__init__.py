"""Layouts of labeled images with known truth: made by hand, and generated from a grammar."""
