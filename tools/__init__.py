"""What the service is built of: is any of it known to be vulnerable, and the list for whoever asks."""
