"""OpenSLO v1 as text and as objects: read with places, check, write. Pure; the CLI and the services use it."""
