"""Pictures of signals and anomalies, small and quick enough for a chat message."""
