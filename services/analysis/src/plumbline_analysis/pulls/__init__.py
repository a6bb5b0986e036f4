"""Sources that points are pulled from: Prometheus' query API and CloudWatch."""
