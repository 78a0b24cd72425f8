"""Hands events to the system behind, signed by the Standard Webhooks specification."""
