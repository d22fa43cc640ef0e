"""Spatial Preference Rewarding: make any vision-language model ground more precisely with preferences it generates itself."""
