"""Preference optimization on TRL, LoRA on the language model."""
