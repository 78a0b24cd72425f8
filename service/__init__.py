"""A signup service: the answer comes at once, the welcome email and the audit entry come for certain."""
