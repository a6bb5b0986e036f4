"""Logs in: decoded, stored by service."""
