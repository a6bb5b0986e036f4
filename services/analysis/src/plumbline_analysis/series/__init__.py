"""From stored points to the numbers that objectives and detectors judge: pure NumPy, no I/O.

Throughout, times are int64 microseconds since the Unix epoch and a slice is the half-open interval (end - step, end].
"""
