"""The status of a ModelDeployment: what the operator reports, as types for the CRD's schema.

Lives here: names, types and documentation of the reported fields.
Stays out: how they are found (`plan/`); the operator writes plain dicts of this shape.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway_operator.api.fields import Block, list_by

Phase = Literal[
    "Pending", "Healthy", "Progressing", "Paused", "RollingBack", "Degraded", "Failed", "Suspended"
]


class Condition(Block):
    """One condition, as in `metav1.Condition`."""

    type: str = Field(max_length=316, description="type of the condition, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(
        description="status of the condition: True, False or Unknown."
    )
    observed_generation: int = Field(
        default=0, ge=0, description="observedGeneration of the spec that this is about."
    )
    last_transition_time: Annotated[
        str,
        Field(
            json_schema_extra={"format": "date-time"},
            description="lastTransitionTime is when the status last changed.",
        ),
    ]
    reason: str = Field(max_length=1024, description="reason for machines, in CamelCase.")
    message: str = Field(max_length=32768, description="message for people, with the numbers.")


class Summary(Block):
    """Strings for the columns of `kubectl get`."""

    ready: str = Field(default="", description="ready is the status of the condition Ready.")
    stable: str = Field(default="", description="stable is the revision that serves.")
    candidate: str = Field(default="", description="candidate is the revision being prepared.")
    replicas: str = Field(default="", description="replicas is available/wanted, by track.")


class Desired(Block):
    """The revision that is asked for."""

    hash: str = Field(
        description="hash of the revision that the spec asks for, or a rollback by action."
    )
    pinned_by: str = Field(
        default="", description="pinnedBy is the action that asks for it instead of the spec."
    )
    pinned_from: str = Field(
        default="",
        description="pinnedFrom is the hash of the spec at that time; another spec ends it.",
    )


class Tensor(Block):
    """One input or output of the model."""

    name: str = Field(description="name of the tensor.")
    datatype: str = Field(description="datatype in the Open Inference Protocol's terms: FP32, …")
    shape: list[int] = Field(description="shape of the tensor; -1 is a variable dimension.")


class Signature(Block):
    """What the model takes and gives."""

    inputs: list[Tensor] = Field(default=[], description="inputs of the model.")
    outputs: list[Tensor] = Field(default=[], description="outputs of the model.")
    truncated: bool | None = Field(
        default=None,
        description="truncated is true when the model has more tensors than are shown here.",
    )


class Parity(Block):
    """How far a converted model is from the original."""

    max_abs_diff: str = Field(description="maxAbsDiff is the largest difference of a number.")
    label_agreement_percent: int | None = Field(
        default=None, description="labelAgreementPercent of the rows that were compared."
    )


class Optimized(Block):
    """A model before and after it was optimised."""

    size_bytes_before: int = Field(
        ge=0,
        description="sizeBytesBefore it.",
        json_schema_extra={"format": "int64"},
    )
    latency_microseconds_before: int = Field(
        ge=0, description="latencyMicrosecondsBefore of one run."
    )
    latency_microseconds_after: int = Field(ge=0, description="latencyMicrosecondsAfter it.")


class SuppliedModel(Block):
    """The model that serves."""

    uri: str = Field(default="", description="uri it was fetched from.")
    digest: str = Field(default="", description="digest of the bytes that answer.")
    format: str = Field(default="", description="format that was found.")
    size_bytes: int = Field(
        default=0,
        ge=0,
        description="sizeBytes of the model file.",
        json_schema_extra={"format": "int64"},
    )
    version: str = Field(default="", description="version is the label given in the spec.")
    source_digest: str | None = Field(
        default=None,
        description="sourceDigest of the file at uri, where it was converted or optimised.",
    )
    framework: str | None = Field(
        default=None,
        description="framework that wrote the file, or read it where it was converted.",
    )
    parity: Parity | None = Field(
        default=None, description="parity of the model that serves with the original."
    )
    optimization: Optimized | None = Field(default=None, description="optimization and its gain.")


class Polled(Block):
    """What model.poll has found."""

    of: str = Field(description="of is the hash of the spec as written.")
    digest: str = Field(
        default="", description="digest found at model.uri, which is served as if the spec had it."
    )
    mark: str = Field(default="", description="mark of what the store told last.")
    reason: str = Field(default="", description="reason why the last look failed.")
    message: str = Field(default="", description="message that belongs to the reason.")


class Endpoint(Block):
    """Where clients find the model."""

    type: Literal["REST", "GRPC"] = Field(description="type of the protocol: REST or GRPC.")
    url: str = Field(description="url inside the cluster.")
    external: list[str] = Field(
        default=[],
        description="external hostnames and paths, through the Gateway.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Track(Block):
    """A revision that has a role."""

    revision: int = Field(ge=0, description="revision is its number; the wire's model_version.")
    hash: str = Field(description="hash of its revisioned spec.")
    name: str = Field(description="name of its Deployment and Service.")
    replicas: int = Field(default=0, ge=0, description="replicas wanted.")
    available: int = Field(default=0, ge=0, description="available replicas.")
    weight: int = Field(
        default=0, ge=0, le=100, description="weight of its share of requests, percent."
    )


class CapacityFloor(Block):
    """The fewest pods that an autoscaler may leave a revision now."""

    stable: int | None = Field(
        default=None, ge=0, description="stable is the floor of the stable revision."
    )
    candidate: int | None = Field(
        default=None, ge=0, description="candidate is the floor of the candidate."
    )


class Weight(Block):
    """How much traffic the candidate has."""

    desired: int = Field(ge=0, le=100, description="desired percent of the requests.")
    applied: int = Field(
        ge=0,
        le=100,
        description="applied percent: as the routes say, or of the Service's ready endpoints.",
    )
    verified: bool = Field(description="verified is true once it has settled.")
    observed: str = Field(
        default="", description="observed percent of the requests of the last interval."
    )
    observed_requests: int | None = Field(
        default=None, ge=0, description="observedRequests of both revisions in it."
    )
    mode: str = Field(default="", description="mode: Gateway or ReplicaRatio.")
    note: str = Field(default="", description="note says why applied is far from desired.")


class Counts(Block):
    """Requests of a revision during a rollout."""

    n: int = Field(ge=0, description="n requests.")
    x: int = Field(ge=0, description="x of them bad.")


class CheckReport(Block):
    """What a check says."""

    name: str = Field(description="name of the check.")
    verdict: Literal["Running", "Pass", "Fail", "Inconclusive", "NoData", "Warn"] = Field(
        description="verdict so far."
    )
    message: str = Field(description="message with the numbers.")
    candidate: Counts | None = Field(default=None, description="candidate's requests.")
    stable: Counts | None = Field(default=None, description="stable revision's requests.")
    e_fail: str = Field(default="", description="eFail is evidence that it is worse.")
    e_pass: str = Field(default="", description="ePass is evidence that it is not.")
    phi: str = Field(default="", description="phi is how much bad requests burst.")
    state: str = Field(default="", description="state for the operator.")


class RouteGenerations(Block):
    """Which version of the routes there is."""

    http_generation: int | None = Field(
        default=None, ge=0, description="httpGeneration of the HTTPRoute."
    )
    grpc_generation: int | None = Field(
        default=None, ge=0, description="grpcGeneration of the GRPCRoute."
    )


class Rollout(Block):
    """Where the rollout stands."""

    id: str = Field(default="", description="id is the number of the revision and of the attempt.")
    state: str = Field(
        default="",
        description="state: Idle, Preparing, Preflight, Shifting, Baking, Paused, Promoting, "
        "Watching, Aborting or Failed.",
    )
    since: str = Field(default="", description="since is when this state began.")
    promoted_at: str = Field(
        default="", description="promotedAt is when the stable revision became stable."
    )
    capacity_floor: CapacityFloor | None = Field(
        default=None,
        description="capacityFloor under autoscaling: while a revision takes over, and for five "
        "minutes after.",
    )
    step: int | None = Field(
        default=None, ge=1, description="step is the number of the step, from 1."
    )
    step_since: str = Field(default="", description="stepSince is when its weight was reached.")
    routed_at: str = Field(default="", description="routedAt is when traffic had moved.")
    told_at: str = Field(default="", description="toldAt is when routes said so.")
    verified_weight: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="verifiedWeight was confirmed last.",
    )
    kept_until: str = Field(
        default="", description="keptUntil is when the pods of an aborted candidate end."
    )
    route: RouteGenerations | None = Field(default=None, description="route tells generations.")
    weight: Weight | None = Field(default=None, description="weight of the candidate.")
    exposed: bool | None = Field(
        default=None,
        description="exposed is true when the candidate may have had traffic.",
    )
    fast: bool | None = Field(
        default=None,
        description="fast is true when an earlier revision comes back by one cut.",
    )
    approved_step: int | None = Field(
        default=None, ge=1, description="approvedStep is the last step that a person let pass."
    )
    preflight: str = Field(
        default="", description="preflight tells how the candidate passed its preflight."
    )
    without_evidence: bool | None = Field(
        default=None,
        description="withoutEvidence is true when a step passed without any.",
    )
    analysis_of: str = Field(
        default="", description="analysisOf names the rollout of status.analysis."
    )
    paused_in: str = Field(default="", description="pausedIn is the state that a pause interrupts.")
    handled_action: str = Field(
        default="",
        description="handledAction is the action that was last taken note of.",
    )
    action_answer: str = Field(default="", description="actionAnswer says why it was ignored.")
    reason: str = Field(default="", description="reason of a pause, an abort or a failure.")
    message: str = Field(default="", description="message that belongs to the reason.")


class CapacityReport(Block):
    """What the latency objective needs, and from which measurement that follows."""

    arrival_rate: str = Field(
        alias="lambda",
        description="lambda is the requests per second that came, all pods together.",
    )
    service_rate: str = Field(
        alias="mu", description="mu is the requests that a pod computes per second of work."
    )
    utilization_percent: int = Field(
        ge=0, le=100, description="utilizationPercent is the share of time that pods computed."
    )
    recommended: int = Field(
        ge=1, description="recommended is the number of pods that keeps the objective."
    )
    reason: str = Field(description="reason says what is expected of them.")


class HistoryEntry(Block):
    """A revision that served before, or was given up."""

    revision: int = Field(ge=0, description="revision number.")
    hash: str = Field(description="hash of the revision.")
    digest: str = Field(default="", description="digest of its model.")
    version: str = Field(default="", description="version label of its model.")
    promoted_at: str = Field(default="", description="promotedAt is when it became stable.")
    outcome: str = Field(default="", description="outcome: Promoted or Aborted.")
    reason: str = Field(default="", description="reason of the abort, as in status.rollout.")


class LastFailure(Block):
    """The last thing that went wrong in a pod."""

    reason: str = Field(description="reason: OOMKilled, ImagePullFailed, CrashLoopBackOff, …")
    exit_code: int | None = Field(default=None, description="exitCode of the container.")
    message: str = Field(default="", description="message of the container or of the kubelet.")
    pod: str = Field(default="", description="pod it happened in.")
    time: str = Field(default="", description="time it was first seen.")


class Status(Block):
    """What the operator observed and decided."""

    observed_generation: int = Field(
        default=-1,
        description="observedGeneration is the generation of the spec that this status is "
        "about. -1 before the operator has seen the resource.",
        json_schema_extra={"format": "int64"},
    )
    phase: Phase | None = Field(
        default=None,
        description="phase sums the conditions up for printers and dashboards. Decide by "
        "conditions.",
    )
    message: str = Field(default="", description="message says in a sentence what is going on.")
    summary: Summary | None = Field(
        default=None, description="summary holds strings for the columns of kubectl get."
    )
    replicas: int = Field(
        default=0, ge=0, description="replicas that exist, for the scale subresource."
    )
    selector: str = Field(
        default="", description="selector of the pods, for the scale subresource."
    )
    desired: Desired | None = Field(
        default=None, description="desired names the revision that the spec asks for."
    )
    model: SuppliedModel | None = Field(
        default=None, description="model is the one that answers requests now."
    )
    signature: Signature | None = Field(
        default=None, description="signature of the model that answers requests now."
    )
    polled: Polled | None = Field(default=None, description="polled tells what model.poll found.")
    endpoints: list[Endpoint] = Field(
        default=[],
        description="endpoints where clients find the model.",
        json_schema_extra=list_by("type"),
    )
    stable: Track | None = Field(default=None, description="stable is the revision that serves.")
    candidate: Track | None = Field(
        default=None, description="candidate is the revision being prepared."
    )
    rollout: Rollout | None = Field(default=None, description="rollout tells where it stands.")
    analysis: list[CheckReport] = Field(
        default=[],
        description="analysis tells the evidence of each check, at most every 30 seconds.",
        json_schema_extra=list_by("name"),
    )
    capacity: CapacityReport | None = Field(
        default=None,
        description="capacity tells what autoscaling.latencyObjective needs. It is written when "
        "recommended changes, at most once a minute.",
    )
    history: list[HistoryEntry] = Field(
        default=[],
        description="history of revisions that served, newest first, then of the last three that "
        "were aborted.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    last_failure: LastFailure | None = Field(
        default=None, description="lastFailure is the last thing that went wrong in a pod."
    )
    conditions: list[Condition] = Field(
        default=[],
        description="conditions: Ready, Available, Reconciling, Stalled, ModelSupplied; during a "
        "rollout also TrafficVerified and AnalysisHealthy; with security AuthenticationEnforced.",
        json_schema_extra=list_by("type"),
    )
