"""The audit log: one entry for every request, whatever became of it."""
