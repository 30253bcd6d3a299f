"""The trained network at work."""
