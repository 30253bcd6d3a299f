"""What the numbers of a run say and what to try next: fixed rules, each a pure function of the numbers.

A rule returns a `Diagnosis`, or None if the numbers don't support one. Its docstring states it; its thresholds are the
constants above it.
"""
