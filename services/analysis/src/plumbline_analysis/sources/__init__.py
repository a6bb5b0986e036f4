"""Where telemetry comes from: each source decodes its wire format into one `Batch`."""
