"""Faults a user can cause and mend.

Every error says what was wrong, with the value, where it was found, and what to do about it. The command line prints
that one sentence and no traceback; anything that is not an `SprError` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class SprError(Exception):
    """Base of all errors that a user can mend. `exit_code` is what the command line returns."""

    exit_code = 1


class RecipeError(SprError):
    """The recipe, or an argument, asks for something impossible."""

    exit_code = 2


class DataError(SprError):
    """A file of the user's cannot be read or does not say what its format promises."""


class ModelError(SprError):
    """A model cannot be loaded or cannot do what the recipe asks of it."""


class RegionError(ModelError):
    """A prompt marks a region of its image that is not there, or is not written so that the model can read it."""


class ResumeError(SprError):
    """A run directory does not belong to this recipe or version, or another process works in it."""
