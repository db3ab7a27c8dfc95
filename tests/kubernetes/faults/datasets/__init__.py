"""One file = one way to fail."""
