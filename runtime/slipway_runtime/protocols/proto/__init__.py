"""Messages of the gRPC wires; the `*_pb2` modules are written by `make proto`."""
