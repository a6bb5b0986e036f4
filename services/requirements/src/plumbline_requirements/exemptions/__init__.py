"""Exemptions: dated leaves from a requirement, asked for by its team and approved by another."""
