"""Telemetry in: decoded, resolved to signals, stored."""
