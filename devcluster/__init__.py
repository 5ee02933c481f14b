"""The project's own Kubernetes: a real single node, run as ordinary processes of this machine.

Lives here: building the node's programs and images, and bringing named clusters up and down.
Stays out: anything of Slipway itself; `devcluster` knows only the two Dockerfiles at the root.
"""
