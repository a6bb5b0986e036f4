"""Anomaly detection on series: online in bounded state, and looking back on a whole history. No I/O."""
