"""A mail catcher for development: it takes every mail, delivers none, and shows them in a browser."""
