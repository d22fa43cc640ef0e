"""Pairs in the formats of other trainers."""
