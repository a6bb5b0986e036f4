"""Anomalies: departures of the series that requirements name, from onset to end."""
