"""Online anomaly detection on one series: pure NumPy, bounded state, no I/O."""
