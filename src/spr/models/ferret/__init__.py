"""Ferret (You et al. 2023, arXiv 2310.07704), which transformers does not have: a LLaVA that also reads regions.

Written after the authors' public code (github.com/apple/ml-ferret) and held to its numbers. The weights are for research only
and lie nowhere near here; `spr models convert ferret` makes a directory of the published ones.
"""
