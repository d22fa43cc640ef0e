"""The bundled tiny world and its models."""
