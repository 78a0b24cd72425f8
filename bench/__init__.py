"""What the service costs: the ratios that are promised, measured side by side in one run."""
