"""The address plan: clusters never overlap, and never take what the machine uses."""

import ipaddress
from itertools import combinations

import pytest

from devcluster.errors import DevclusterError
from devcluster.network import MAX_CLUSTERS, SERVICE_RANGE, Addresses, addresses, free_index


def test_the_first_cluster_has_the_documented_addresses() -> None:
    assert addresses(0) == Addresses(
        host_ip="198.18.0.1",
        node_ip="198.18.0.2",
        pod_range="198.18.64.0/21",
        host_link="slipway0-host",
        node_link="slipway0-node",
    )


def test_clusters_share_no_address() -> None:
    for one, other in combinations(map(addresses, range(MAX_CLUSTERS)), 2):
        assert not _network(one.pod_range).overlaps(_network(other.pod_range))
        assert not _link(one).overlaps(_link(other))


@pytest.mark.parametrize("index", range(MAX_CLUSTERS))
def test_every_address_lies_in_the_benchmark_range_and_outside_the_services(index: int) -> None:
    plan = addresses(index)
    for network in (_link(plan), _network(plan.pod_range)):
        assert network.subnet_of(_network("198.18.0.0/15"))
        assert not network.overlaps(_network(SERVICE_RANGE))
    assert len(plan.host_link) <= 15, "the kernel's limit for an interface's name"


@pytest.mark.parametrize("index", [-1, MAX_CLUSTERS])
def test_an_index_beyond_the_plan_is_refused(index: int) -> None:
    with pytest.raises(DevclusterError, match=f"cluster index {index}"):
        addresses(index)


@pytest.mark.parametrize(
    ("taken", "in_use", "expected"),
    [
        pytest.param(set(), set(), 0, id="the first cluster"),
        pytest.param({0, 2}, set(), 1, id="a gap is filled"),
        pytest.param(set(), {"198.18.0.1"}, 1, id="an address of another cache's cluster is left"),
        pytest.param({1}, {"198.18.0.1"}, 2, id="both reasons count"),
    ],
)
def test_free_index(taken: set[int], in_use: set[str], expected: int) -> None:
    assert free_index(taken, in_use) == expected


def test_a_machine_full_of_clusters_says_so() -> None:
    with pytest.raises(DevclusterError, match="all 8 cluster slots"):
        free_index(set(range(MAX_CLUSTERS)), set())


def _network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text)


def _link(plan: Addresses) -> ipaddress.IPv4Network:
    network = ipaddress.IPv4Network(f"{plan.host_ip}/30", strict=False)
    assert ipaddress.IPv4Address(plan.node_ip) in network
    return network
