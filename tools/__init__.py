"""Developer tools for the dependencies: `make audit` and `make sbom`. The service does not import them."""
