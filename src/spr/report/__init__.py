"""The static report page."""
