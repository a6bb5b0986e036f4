"""Objectives: production held against the SLOs of the requirements that are in force."""
