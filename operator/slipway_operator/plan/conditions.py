"""Conditions: their types, their reasons, and how they are merged.

Lives here: the vocabulary of the status. Every reason has one sentence in `REASONS`, which is also
the table in the docs.
Rules (kstatus): Ready is the summary; Reconciling and Stalled are the only abnormal-true ones.
Source: `design.md` 4, kstatus of cli-utils, KEP-1623 for `metav1.Condition`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

READY: Final = "Ready"
AVAILABLE: Final = "Available"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
MODEL_SUPPLIED: Final = "ModelSupplied"
TRAFFIC_VERIFIED: Final = "TrafficVerified"
ANALYSIS_HEALTHY: Final = "AnalysisHealthy"
AUTHENTICATION_ENFORCED: Final = "AuthenticationEnforced"
ORDER: Final = (
    READY, AVAILABLE, RECONCILING, STALLED, MODEL_SUPPLIED, TRAFFIC_VERIFIED, ANALYSIS_HEALTHY,
    AUTHENTICATION_ENFORCED,
)  # fmt: skip
"""Those of traffic and analysis are there only while a rollout by steps, or its watch, is in
progress; the last one where the spec asks for credentials, or pods still do."""

SERVING: Final = "Serving"
SUSPENDED: Final = "Suspended"
SCALED_TO_ZERO: Final = "ScaledToZero"
ROLLING_OUT: Final = "RollingOut"
ROLLOUT_ABORTED: Final = "RolloutAborted"
SUPPLYING: Final = "SupplyingModel"
MODEL_NOT_SUPPLIED: Final = "ModelNotSupplied"
PODS_NOT_READY: Final = "PodsNotReady"
PODS_FAILING: Final = "PodsFailing"
NO_PODS: Final = "NoReadyPods"
NO_SERVICE: Final = "NoService"
PROGRESS_DEADLINE: Final = "ProgressDeadline"
INVALID_SPEC: Final = "InvalidSpec"
INVALID_CHILD: Final = "InvalidPassthrough"
AUTOSCALER_MISSING: Final = "AutoscalerMissing"
NAME_CONFLICT: Final = "NameConflict"
APPLY_FAILED: Final = "ApplyFailed"
FORBIDDEN: Final = "Forbidden"
CONTESTED: Final = "Contested"
SETTLED: Final = "Settled"

# Of a rollout
PAUSED: Final = "Paused"
AWAITING_APPROVAL: Final = "AwaitingApproval"
REPLICA_GRANULARITY: Final = "ReplicaGranularity"
PINNED: Final = "PinnedToRevision"
REVERTED: Final = "Reverted"
SUPERSEDED: Final = "Superseded"
ABORTED_BY_USER: Final = "AbortedByUser"
ANALYSIS_FAILED: Final = "AnalysisFailed"
INCONCLUSIVE: Final = "Inconclusive"
INSUFFICIENT_TRAFFIC: Final = "InsufficientTraffic"
CANDIDATE_DOWN: Final = "CandidateDown"
POST_PROMOTION: Final = "PostPromotion"
FIX_FORWARD: Final = "FixForward"
PREFLIGHT_FAILED: Final = "PreflightFailed"
PREFLIGHT_UNAVAILABLE: Final = "PreflightUnavailable"
TRAFFIC_SETTLED: Final = "TrafficSettled"
TRAFFIC_MOVING: Final = "TrafficMoving"
TRAFFIC_UNVERIFIED: Final = "TrafficUnverified"
TRAFFIC_MISMATCH: Final = "TrafficMismatch"
CAPACITY_LIMITED: Final = "CapacityLimited"
ROUTE_CONTESTED: Final = "RouteContested"
CHECKS_MET: Final = "ChecksMet"
CHECKS_RUN: Final = "ChecksRun"
NO_EVIDENCE: Final = "NoEvidence"

# Of authentication
CREDENTIALS_REQUIRED: Final = "CredentialsRequired"
AUTHENTICATION_PENDING: Final = "AuthenticationPending"

# Of a Gateway
GATEWAY_API_MISSING: Final = "GatewayAPIMissing"
GATEWAY_NOT_READY: Final = "GatewayNotReady"
HOSTNAME_CONFLICT: Final = "HostnameConflict"
ROUTE_REFUSED: Final = "RouteRefused"
ROUTE_PENDING: Final = "RoutePending"
UNSUPPORTED_BY_GATEWAY: Final = "UnsupportedByGateway"
UNVERIFIABLE: Final = "Unverifiable"

# Of the supply step
VERIFIED: Final = "Verified"
FETCHING: Final = "Fetching"
NOT_FOUND: Final = "NotFound"
ACCESS_DENIED: Final = "AccessDenied"
DIGEST_MISMATCH: Final = "DigestMismatch"
SIGNATURE_MISMATCH: Final = "SignatureMismatch"
UNSUPPORTED: Final = "Unsupported"
PICKLE_NOT_ALLOWED: Final = "PickleNotAllowed"
CONVERSION_MISMATCH: Final = "ConversionMismatch"
INVALID_MODEL: Final = "InvalidModel"
INVALID_CONFIG: Final = "InvalidConfig"
UNTRUSTED: Final = "Untrusted"
DISK_FULL: Final = "DiskFull"
UNAVAILABLE: Final = "Unavailable"
SUPPLY_FAILED: Final = "SupplyFailed"

# Of pods; where Kubernetes has a word for it, it is that word.
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
INVALID_IMAGE_NAME: Final = "InvalidImageName"
CRASH_LOOP: Final = "CrashLoopBackOff"
OOM_KILLED: Final = "OOMKilled"
UNSCHEDULABLE: Final = "Unschedulable"
MOUNT_FAILED: Final = "MountFailed"
CONTAINER_CONFIG: Final = "CreateContainerConfigError"
CREATE_CONTAINER: Final = "CreateContainerError"
RUN_CONTAINER: Final = "RunContainerError"
FAILED_CREATE: Final = "FailedCreate"

REASONS: Final[Mapping[str, str]] = {
    SERVING: "The revision that the spec asks for serves with all its replicas.",
    SUSPENDED: "There are no pods because `suspend` is true or `replicas` is 0.",
    SCALED_TO_ZERO: "KEDA has taken the last pod away; a trigger brings the model back.",
    ROLLING_OUT: "A new revision is being prepared; the stable one serves meanwhile.",
    ROLLOUT_ABORTED: "The new revision failed; the stable one goes on serving.",
    SUPPLYING: "The model of the first revision is being fetched and checked.",
    MODEL_NOT_SUPPLIED: "The model could not be fetched or did not pass its checks.",
    PODS_NOT_READY: "Pods are starting, or fewer are ready than wanted.",
    PODS_FAILING: "Pods cannot start or crash; `status.lastFailure` says why.",
    NO_PODS: "No pod is ready: requests fail.",
    NO_SERVICE: "The Service that clients use does not exist, or belongs to somebody else.",
    PROGRESS_DEADLINE: "The model of a revision, or then its pods, were not there in time.",
    INVALID_SPEC: "The spec has a field or value that this operator does not know.",
    INVALID_CHILD: "Kubernetes refused an object made from the spec; the message says which field.",
    AUTOSCALER_MISSING: "`autoscaling.keda` is set, and KEDA is not installed in the cluster.",
    NAME_CONFLICT: "An object that the operator does not own bears a name that it needs.",
    APPLY_FAILED: "A write to the API server failed; it is tried again.",
    FORBIDDEN: "The operator lacks a right; the message names it. It is tried again every minute.",
    CONTESTED: "Somebody changes an object of the operator after every repair; the message says"
    " which field and who. Repairs are made ever more rarely.",
    SETTLED: "Nothing is left to do.",
    PAUSED: "The rollout waits: `status.rollout.reason` and the message say for what.",
    AWAITING_APPROVAL: "A step with manual approval is over; the action `approve` goes on.",
    REPLICA_GRANULARITY: "Whole pods miss the weight of the step by more than is put up with.",
    PINNED: "A rollback by action serves an earlier revision than the spec asks for.",
    REVERTED: "The stable revision was asked for again in the middle of a rollout.",
    SUPERSEDED: "Another revision was asked for in the middle of a rollout.",
    ABORTED_BY_USER: "The action `abort` ended the rollout.",
    ANALYSIS_FAILED: "A check found the candidate worse than the stable revision.",
    INCONCLUSIVE: "The hold of a step is over, and a check cannot tell yet.",
    INSUFFICIENT_TRAFFIC: "The candidate got too few requests to be judged.",
    CANDIDATE_DOWN: "The candidate lost its last ready pod during a step.",
    POST_PROMOTION: "A check failed after the cut; the traffic went back.",
    FIX_FORWARD: "The stable revision has no ready pod; the candidate takes over as it is.",
    PREFLIGHT_FAILED: "The candidate answers the golden requests otherwise than it has to.",
    PREFLIGHT_UNAVAILABLE: "The preflight cannot be made: samples or answers are missing.",
    TRAFFIC_SETTLED: "The candidate's share of the traffic is reached, and has settled.",
    TRAFFIC_MOVING: "Traffic is on its way to where the rollout wants it.",
    TRAFFIC_UNVERIFIED: "A Gateway did not confirm a weight within `traffic.verifyTimeout`; the one"
    " before is back. The action `approve` tries again.",
    TRAFFIC_MISMATCH: "The candidate's share of the requests is not the weight of the route.",
    CAPACITY_LIMITED: "A step needs more pods of the candidate than `autoscaling.maxReplicas`.",
    ROUTE_CONTESTED: "Somebody has changed a route three times in five minutes.",
    GATEWAY_API_MISSING: "`exposure.gateway` is set, and the Gateway API is not installed.",
    GATEWAY_NOT_READY: "A Gateway of `exposure.gateway.parentRefs` is not there, or takes no"
    " traffic.",
    HOSTNAME_CONFLICT: "An older route or resource has the hostname and path.",
    ROUTE_REFUSED: "A Gateway does not take the route; the message has its words.",
    ROUTE_PENDING: "A Gateway has not said yet whether it takes the route as it is now.",
    UNSUPPORTED_BY_GATEWAY: "`exposure.gateway` asks for what the GatewayClass does not list.",
    UNVERIFIABLE: "A Gateway does not tell which version of the route it has taken; twice the"
    " settle time stands for it.",
    CHECKS_MET: "All checks of the candidate pass.",
    CHECKS_RUN: "The checks of the candidate cannot tell yet.",
    NO_EVIDENCE: "Nothing, or too little, is known of the candidate.",
    CREDENTIALS_REQUIRED: "Every pod asks for the credentials of `security.authentication`.",
    AUTHENTICATION_PENDING: "Pods do not ask for credentials as `security.authentication` says yet;"
    " they are replaced one by one, and the message says what stands against it.",
    VERIFIED: "The model was fetched and passed its checks.",
    FETCHING: "The model is being fetched and checked.",
    NOT_FOUND: "There is no model at `model.uri`.",
    ACCESS_DENIED: "The store of the model refused access.",
    DIGEST_MISMATCH: "The bytes are not those that `model.digest` names.",
    SIGNATURE_MISMATCH: "The artifact is not signed with the key of `model.verify`.",
    UNSUPPORTED: "The format of the model is not one that can be served.",
    PICKLE_NOT_ALLOWED: "The model is a pickle, which runs code, and `model.allowPickle` is not"
    " true.",
    CONVERSION_MISMATCH: "The converted or optimised model does not answer as the original does.",
    INVALID_MODEL: "The model does not pass its checks.",
    INVALID_CONFIG: "The runtime does not understand what the spec tells it.",
    UNTRUSTED: "The store of the model shows a certificate of an authority that is not trusted.",
    DISK_FULL: "The node or the volume has no room for the model; it is tried again.",
    UNAVAILABLE: "The store of the model does not answer; it is tried again.",
    SUPPLY_FAILED: "The supply step ended without a result; it is tried again.",
    IMAGE_PULL_FAILED: "The image of a pod cannot be pulled.",
    INVALID_IMAGE_NAME: "`runtime.image` is not the name of an image.",
    FAILED_CREATE: "Kubernetes refuses to make the pods: a quota or a policy stands against it.",
    CRASH_LOOP: "A container ends again and again; the message has its last words.",
    OOM_KILLED: "A container was killed because it used more memory than its limit.",
    UNSCHEDULABLE: "No node has room for a pod, or none is allowed to run it.",
    MOUNT_FAILED: "A volume of a pod cannot be mounted.",
    CONTAINER_CONFIG: "A pod refers to a Secret or ConfigMap that does not exist.",
    CREATE_CONTAINER: "The node could not create a container.",
    RUN_CONTAINER: "The node could not start a container.",
}


ENDED_BY_CAUSE: Final[Mapping[str, str]] = {
    PAUSED: "set spec.rollout.paused to false",
    GATEWAY_NOT_READY: "bring the Gateway back that the message names",
    ROUTE_CONTESTED: "stop who changes the route, and wait for five quiet minutes",
    CAPACITY_LIMITED: "raise spec.autoscaling.maxReplicas",
}
"""Pauses that no approval ends, only the end of their cause; and what brings that about."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One finding about the resource."""

    type: str
    status: bool
    reason: str
    message: str


def merge(
    old: Iterable[Mapping[str, Any]], new: Iterable[Condition], generation: int, now: str
) -> list[dict[str, Any]]:
    """Write conditions in `ORDER`; `lastTransitionTime` moves only when the status does."""
    before = {c.get("type"): c for c in old}
    merged = []
    for condition in sorted(new, key=lambda c: ORDER.index(c.type)):
        status = "True" if condition.status else "False"
        last = before.get(condition.type, {})
        same = last.get("status") == status
        merged.append(
            {
                "type": condition.type,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": last.get("lastTransitionTime", now) if same else now,
                "reason": condition.reason,
                "message": condition.message,
            }
        )
    return merged


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """Find a condition by its type."""
    return next((c for c in conditions if c.get("type") == kind), None)
