"""Tiny models with seeded weights whose outputs the authors' own code has told: seeds, inputs and expected tensors."""
