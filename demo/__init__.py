"""The demonstration: a real model, trained here, served on a real Kubernetes."""
