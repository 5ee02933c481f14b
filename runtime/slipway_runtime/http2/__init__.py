"""HTTP/2 for one kind of client: gRPC, over a plain connection with prior knowledge (RFC 9113).

Pure but for `listener.py`: bytes go in, bytes come out. docs/decisions/0013 says why it is here.
"""
