"""The welcome email: the row that waits, the message, the relay, and the task that brings them together."""
