"""Multimodal models behind one protocol, and the dialects in which they write boxes."""
