"""Ports held to their authors' numbers: what both sides are given, and the script that asked the authors' code."""
