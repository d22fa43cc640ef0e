"""CogVLM (Wang et al. 2023, arXiv 2311.03079), which transformers does not have: image tokens have weights of their own.

Written after the authors' public code (github.com/THUDM/CogVLM on SwissArmyTransformer) and held to its numbers. The weights
lie nowhere near here; `spr models convert cogvlm` makes a directory of the published ones.
"""
