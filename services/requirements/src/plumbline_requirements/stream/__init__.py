"""What happens, as it happens: the service's own event log as server-sent events."""
