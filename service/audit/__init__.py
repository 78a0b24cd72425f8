"""The audit log: one entry for every request, whatever its response."""
