"""What `make k8s-check` holds the manifests to: each check takes an overlay's resources and yields what is wrong."""
