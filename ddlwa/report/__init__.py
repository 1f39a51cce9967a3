"""What a check found, as plain data with renderings of it."""
