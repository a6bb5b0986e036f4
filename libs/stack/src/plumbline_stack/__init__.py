"""The embedded stack: PostgreSQL, NATS and Envoy from wheels, supervised together with the services."""
