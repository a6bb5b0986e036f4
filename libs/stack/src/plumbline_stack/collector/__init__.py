"""A stand-in for the OpenTelemetry Collector: keeps traces and logs, passes metrics on to the gateway."""
