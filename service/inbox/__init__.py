"""A mail catcher for development: it accepts every mail, delivers none, and shows them in a browser."""
