"""The plumbline command line: a light client of the gateway, and the way to run the embedded stack."""
