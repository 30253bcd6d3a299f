"""Metrics, an epoch-wise reading, the report."""
