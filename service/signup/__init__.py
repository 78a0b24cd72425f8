"""Signing up: the form a frontend posts, and who is who."""
