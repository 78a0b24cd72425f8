"""Signing up and confirming the address: routes and pages; storing, exporting and erasing users."""
