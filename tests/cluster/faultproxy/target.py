"""Read from a request what it asks of the API server.

Lives here: Kubernetes' grammar of paths and verbs. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_TRUE: Final = {"1", "t", "T", "true", "TRUE", "True"}
_OF_NAMESPACE: Final = {"status", "finalize"}
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class Target:
    """A verb and the resource that it is about; empty strings where the path names none."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def qualified(self) -> str:
        """The resource with its group, as error messages spell it: `deployments.apps`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    @property
    def words(self) -> dict[str, str]:
        """What the templates of `Answer` may refer to."""
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "qualified": self.qualified,
            "name": self.name,
            "namespace": self.namespace,
            "where": f'in the namespace "{self.namespace}"'
            if self.namespace
            else "at the cluster scope",
            "object": f'{self.qualified} "{self.name}"' if self.name else self.qualified,
        }

    @classmethod
    def of(cls, method: str, path: str, query: Mapping[str, str], body: bytes = b"") -> Target:
        """Parse a request; the name of an object that is being created is read from the body.

        >>> Target.of("GET", "/apis/apps/v1/namespaces/t1/deployments/d1", {}).words["object"]
        'deployments.apps "d1"'
        >>> Target.of("GET", "/api/v1/pods", {"watch": "true"}).verb
        'watch'
        """
        match path.strip("/").split("/"):
            case ["api", _, *rest]:
                group = ""
            case ["apis", group, _, *rest]:
                pass
            case _:
                return cls(method.lower())
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) >= 3 and rest[2] not in _OF_NAMESPACE:
            namespace, rest = rest[1], rest[2:]
        if not rest:
            return cls(method.lower(), group)
        resource, name, subresource = (*rest, "", "")[:3]
        verb = _verb(method, name, query)
        return cls(verb, group, resource, namespace, name or _name_in(body, verb), subresource)


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method in {"GET", "HEAD"}:
        if query.get("watch") in _TRUE:
            return "watch"
        return "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(method, method.lower())


def _name_in(body: bytes, verb: str) -> str:
    if verb != "create":
        return ""
    try:
        name = json.loads(body)["metadata"]["name"]
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""
