"""Puts this folder on the path, as pytest does for any conftest.py outside a package: helpers here serve all tests."""
