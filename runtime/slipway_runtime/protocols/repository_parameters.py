"""What a client may say when it has the model loaded or unloaded. Pure.

Triton's `config` and `file:VERSION/NAME` would bring a configuration and files of the client's
choice: on other servers that has been a way to run code and to write outside the folder. They are
refused on every wire, always. Source: Triton, "Model Repository Extension".
"""

from __future__ import annotations

from collections.abc import Mapping

from slipway_runtime.errors import InvalidRequest, shown


def check_load(parameters: Mapping[str, object]) -> None:
    """Refuse whatever would change what is loaded.

    Raises:
        InvalidRequest: naming the parameter.
    """
    for name in parameters:
        raise InvalidRequest(
            f"parameters: got {shown(name)}, expected none; the file named when the server was "
            "started is loaded again, and nothing that a request brings"
        )


def check_unload(parameters: Mapping[str, object]) -> None:
    """Refuse what is not known; there are no dependents to unload.

    Raises:
        InvalidRequest: naming the parameter.
    """
    for name, value in parameters.items():
        if name != "unload_dependents":
            raise InvalidRequest(f"parameters: got {shown(name)}, expected unload_dependents")
        if not isinstance(value, bool):
            raise InvalidRequest(
                f"parameters.unload_dependents: got {shown(value)}, expected true or false"
            )
