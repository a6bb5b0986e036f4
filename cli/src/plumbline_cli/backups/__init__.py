"""Backups of the three schemas, of one moment, and their restore: `plumbline backup`, `plumbline restore`."""
