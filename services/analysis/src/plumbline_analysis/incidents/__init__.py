"""Incidents: anomalies that belong together, as one thing that people act on."""
