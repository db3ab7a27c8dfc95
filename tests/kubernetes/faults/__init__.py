"""Datasets that fail in ways in which Kubernetes has a say. A test mounts this package into the platform's pods."""
