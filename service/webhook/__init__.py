"""Posts events to your own system, signed by the Standard Webhooks specification."""
