"""Fixtures of the training tests."""

from conftest_training import image_root, models

__all__ = ["image_root", "models"]
