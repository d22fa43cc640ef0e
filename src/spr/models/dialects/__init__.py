"""One module a family of models: how it writes a box."""
