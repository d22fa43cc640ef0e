"""Readers: from files on disk to scenes and evaluation items, strict, every row that cannot be used counted."""
