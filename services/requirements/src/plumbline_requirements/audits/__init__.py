"""Audits: the audit log, to read and to verify."""
