"""A signup service: the answer comes at once, the welcome email and the audit entry come for certain."""

__version__ = "0.1.0"
