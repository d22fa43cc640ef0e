"""Scores of descriptions: semantic, localization, composite."""
