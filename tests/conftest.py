"""Puts this folder on the path, as pytest does for every conftest.py without a package: helpers here serve all tests."""
