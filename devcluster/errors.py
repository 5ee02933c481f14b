"""What `devcluster` raises when it cannot go on."""


class DevclusterError(Exception):
    """A step failed; the message says which, on what, and which log to read.

    The command line prints it as it is, without a traceback.
    """
