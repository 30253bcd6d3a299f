"""Marks of tests that take an engine by name."""

from importlib.util import find_spec

import pytest

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
both_engines = pytest.mark.parametrize("name", ["torch", pytest.param("openvino", marks=needs_openvino)])
