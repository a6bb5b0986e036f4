"""OpenSLO: files in and out, and the objects that SLOs share."""
