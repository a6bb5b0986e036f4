"""What `make k8s-check` holds the manifests to. Each check takes the resources of an overlay and yields what is wrong."""
