"""h2spec, the conformance suite of HTTP/2, against the runtime's gRPC port.

`make test-h2spec` builds it from its Go module, runs every case against a real server process, and
holds the result against `tolerated.toml`.
"""
