"""The runtime beside other servers of ONNX models, on one core, in interleaved rounds."""
