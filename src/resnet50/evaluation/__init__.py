"""Measure a trained network: metrics, diagnoses of its training, and the report."""
