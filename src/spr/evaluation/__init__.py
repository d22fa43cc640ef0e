"""What base and tuned models are held to."""
