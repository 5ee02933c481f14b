"""The spec of a ModelDeployment, `slipway.dev/v1alpha1`: the only source of the CRD.

Lives here: every field a user can write, with its bounds, CEL rules and documentation.
Stays out: defaults of revisioned fields. They are applied when a revision is rendered
(`plan/workload.py`) and stored with it, so that a new release starts no rollout.

Each description begins with the field's JSON name and says: what it does, default, unit, whether it
belongs to the revision ("Revisioned"), and what leaving it out means.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from slipway_operator.api.fields import (
    Block,
    Duration,
    PassthroughItem,
    PassthroughObject,
    Quantity,
    block_rules,
    item_by,
    list_by,
    rule,
    rules,
)
from slipway_operator.api.gateway import Gateway
from slipway_operator.api.pipeline import Pipeline
from slipway_operator.api.references import DNS_NAME
from slipway_operator.api.references import FileReference as FileReference  # of the fields below
from slipway_operator.api.references import KeyReference as KeyReference
from slipway_operator.api.rollout import Rollout
from slipway_operator.api.scaling import Autoscaling
from slipway_operator.api.security import Security

GROUP: Final = "slipway.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"
REVISIONED: Final = ("model", "pipeline", "serving", "runtime")
"""The blocks of the spec that belong to the revision: a change of any makes a new one."""

_LABEL_VALUE: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"

ProxyURL = Annotated[str, Field(max_length=512, pattern=r"^https?://[^@/\s]+/?$")]

LabelMap = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(max_length=32),
]
AnnotationMap = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(max_length=64),
]

# Merged as the lists of a Pod are, so that two tools may own items of one list.
EnvVar = Annotated[dict[str, Any], WithJsonSchema(item_by(name="name of the variable."))]
SpreadConstraint = Annotated[
    dict[str, Any],
    WithJsonSchema(
        item_by(
            topologyKey="topologyKey, a label of nodes.",
            whenUnsatisfiable="whenUnsatisfiable: DoNotSchedule or ScheduleAnyway.",
        )
    ),
]


class Credentials(Block):
    """How the store knows who asks."""

    secret_name: str = Field(
        max_length=253,
        pattern=DNS_NAME,
        description="secretName names a Secret of the same namespace. Required. Revisioned. Its "
        "keys: token, or username and password (https); .dockerconfigjson (oci); "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3); key.json (gs); token (hf).",
    )


class Samples(Block):
    """Where examples of requests are."""

    config_map: KeyReference = Field(description="configMap that holds them. Required. Revisioned.")


class Proxy(Block):
    """The way to the store."""

    http: ProxyURL | None = Field(
        default=None, description="http is the proxy for http:// stores. Default: none."
    )
    https: ProxyURL | None = Field(
        default=None, description="https is the proxy for https:// stores. Default: none."
    )
    no_proxy: str | None = Field(
        default=None,
        max_length=2048,
        description="noProxy lists hosts, domains, addresses and networks, by commas, that are "
        "reached directly. Default: none.",
    )


class Verify(Block):
    """Who has to have signed the artifact."""

    cosign_key: FileReference = Field(
        description="cosignKey is the public key, in PEM, of a ConfigMap or a Secret. Required. "
        "Revisioned."
    )


class Cache(Block):
    """Where models are kept that were fetched before."""

    persistent_volume_claim: str = Field(
        max_length=253,
        pattern=DNS_NAME,
        description="persistentVolumeClaim of the same namespace. Required. Revisioned. Pods on "
        "several nodes need ReadWriteMany.",
    )


class Poll(Block):
    """Looking for other bytes at the model's source."""

    every: Duration = Field(
        description="every so often, 30s to 168h. Required. Live.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('30s') && duration(self) <= duration('168h')",
                "model.poll.every: expected 30s to 168h",
            )
        ),
    )


class Input(Block):
    """One input of a model."""

    name: str = Field(min_length=1, max_length=256, description="name of the input. Required.")
    datatype: Literal[
        "FP16", "FP32", "FP64", "INT8", "UINT8", "INT32", "INT64", "BOOL", "BYTES"
    ] = Field(description="datatype of its elements. Required.")
    shape: Annotated[
        list[Annotated[int, Field(ge=-1, le=2**31 - 1)]],
        Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(description="shape, with -1 for any size. Required.")


class Optimization(Block):
    """What is done to a model before it is served."""

    model_config = block_rules(
        rule(
            "(has(self.pruning) && self.pruning == 'Magnitude') == has(self.sparsityPercent)",
            "model.optimization: pruning Magnitude and sparsityPercent go together",
        ),
    )

    graph: Literal["None", "Basic", "Extended", "All"] | None = Field(
        default=None,
        description="graph is how far ONNX Runtime optimises it in each pod. Default All. "
        "Revisioned.",
    )
    quantization: Literal["None", "DynamicInt8", "StaticInt8", "Float16"] | None = Field(
        default=None,
        description="quantization stores weights in 8 or 16 bits. Default None. Revisioned.",
    )
    pruning: Literal["None", "Magnitude"] | None = Field(
        default=None,
        description="pruning Magnitude sets the smallest weights to zero. Default None. "
        "Revisioned.",
    )
    sparsity_percent: int | None = Field(
        default=None,
        ge=1,
        le=99,
        description="sparsityPercent of weights that pruning sets to zero. Revisioned.",
    )
    min_agreement_percent: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="minAgreementPercent of labels that stay as they were, or else the reason is "
        "ConversionMismatch. Default 99. Revisioned.",
    )

    @property
    def rewrites(self) -> bool:
        """Whether other bytes are served than were fetched."""
        return self.quantization not in (None, "None") or self.pruning not in (None, "None")


class Model(Block):
    """Which model is served, and how its bytes are checked."""

    model_config = block_rules(
        # Of the block, not of the field: the refusal of a field repeats its value.
        rule(
            "!self.uri.matches('^[a-z]+://[^/]*@')",
            "model.uri: a user name or password does not belong into the URI,"
            " where everybody who may read the resource would see it",
        ),
        rule(
            "!self.uri.startsWith('configmap://') ||"
            " self.uri.matches('^configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+$')",
            "model.uri: a configmap URI names one key: expected configmap://NAME/KEY",
        ),
        rule(
            "!self.uri.startsWith('oci://') || self.uri.matches("
            "'^oci://[^/@ ]+(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
            "(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?/?$')",
            "model.uri: expected oci://HOST/REPOSITORY[:TAG][@sha256:DIGEST], and a slash for a"
            " folder",
        ),
        rule(
            "!self.uri.matches('^(s3|gs|pvc)://') ||"
            " self.uri.matches('^[a-z0-9]+://[A-Za-z0-9][A-Za-z0-9._-]{1,254}/[^?#]*$')",
            "model.uri: expected s3://BUCKET/KEY, gs://BUCKET/KEY or pvc://CLAIM/PATH;"
            " write ? and # as %3F and %23",
        ),
        rule(
            "!self.uri.startsWith('hf://') || self.uri.matches("
            "'^hf://[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(@[^/?#@]+)?/[^?#]*$')",
            "model.uri: expected hf://ORG/REPO[@REVISION]/PATH",
        ),
        rule(
            "!self.uri.matches('^(s3|gs|pvc|hf)://.*/[.][.]?(/|$)')",
            "model.uri: '.' and '..' between slashes are not allowed",
        ),
        rule(
            "!has(self.credentials) || !self.uri.matches('^(configmap|pvc)://')",
            "model.credentials: a configmap or pvc URI needs none; remove them",
        ),
        rule(
            "!has(self.caBundle) || has(self.caBundle.configMap) != has(self.caBundle.secret)",
            "model.caBundle: expected one of configMap and secret",
        ),
        rule(
            "!has(self.verify) || has(self.verify.cosignKey.configMap) !="
            " has(self.verify.cosignKey.secret)",
            "model.verify.cosignKey: expected one of configMap and secret",
        ),
        rule(
            "!has(self.verify) || self.uri.startsWith('oci://')",
            "model.verify: only artifacts of a registry are signed; give an oci:// URI",
        ),
        rule(
            "!has(self.allowPickle) || !self.allowPickle || !has(self.format)"
            " || self.format in ['Auto', 'Sklearn']",
            "model.allowPickle: only Sklearn models are pickles; remove it, or correct format",
        ),
        rule(
            "!has(self.inputs) || !has(self.format) || self.format in ['Auto', 'TorchScript']",
            "model.inputs: only TorchScript models need them; remove them, or correct format",
        ),
        rule(
            "!has(self.optimization) || !has(self.optimization.quantization)"
            " || self.optimization.quantization != 'StaticInt8' || has(self.samples)",
            "model.optimization: StaticInt8 calibrates with model.samples; set it, or use"
            " DynamicInt8",
        ),
        rule(
            "!has(self.poll) || !has(self.digest) && !self.uri.contains('@sha256:')",
            "model.poll: with a digest there is nothing else to find; remove poll or the digest",
        ),
    )

    uri: str = Field(
        min_length=8,
        max_length=2048,
        description="uri says where the model's bytes are. Required. Revisioned. One of "
        "https://…, http://…, s3://BUCKET/KEY, gs://BUCKET/KEY, "
        "oci://HOST/REPOSITORY[:TAG][@sha256:…], hf://ORG/REPO[@REVISION]/PATH, "
        "pvc://CLAIM/PATH, and configmap://NAME/KEY for a model of at most 1 MiB in a "
        "ConfigMap of the same namespace. A slash at the end means a folder (s3, gs, oci, hf, "
        "pvc); a file *.tar, *.tar.gz, *.tgz or *.zip is unpacked. The bytes are fetched and "
        "checked once per revision, before anything is deployed, and every pod then serves exactly "
        "the bytes that were checked.",
        json_schema_extra=rules(
            rule(
                "!self.startsWith('file://')",
                "model.uri: file:// works only on a laptop (slipway-runtime serve);"
                " publish the model to https://, s3://, oci:// or a ConfigMap",
            ),
            rule(
                "self.startsWith('file://') ||"
                " self.matches('^(https?|s3|gs|oci|hf|pvc|configmap)://[^ /][^ ]*$')",
                "model.uri: expected https://…, http://…, s3://…, gs://…,"
                " oci://HOST/REPOSITORY[:TAG], hf://ORG/REPO/PATH, pvc://CLAIM/PATH"
                " or configmap://NAME/KEY",
            ),
            rule(
                r"!self.matches('[\\x00-\\x20\\x7f]')",
                "model.uri: white space and control characters are not allowed; write them as %20"
                " and the like",
            ),
        ),
    )
    digest: str | None = Field(
        default=None,
        max_length=71,
        description="digest is the SHA-256 of the model file or archive, sha256: and 64 "
        "hexadecimal digits; of a folder, that of what sha256sum prints. Optional. Revisioned. "
        "When absent, the digest is found out once per revision and pinned from then on; when "
        "given, other bytes are refused with reason DigestMismatch.",
        json_schema_extra=rules(
            rule(
                "self.matches('^sha256:[0-9a-f]{64}$')",
                "model.digest: expected sha256: and 64 lower-case hexadecimal digits,"
                " as in the output of sha256sum",
            )
        ),
    )
    format: (
        Literal[
            "Auto", "ONNX", "Sklearn", "XGBoost", "LightGBM", "Keras", "TensorFlow", "TFLite",
            "TorchScript", "PMML",
        ]
        | None
    ) = Field(
        default=None,
        description="format of the model file. Default Auto, which recognises it by its "
        "content. Revisioned. What is not ONNX is converted, and compared with the original's own "
        "predictions; each pod converts it again and checks the digest.",
    )  # fmt: skip
    allow_pickle: bool | None = Field(
        default=None,
        description="allowPickle lets Python pickles be loaded, which run what their author wrote, "
        "in a container without credentials. Default false: refused with reason "
        "PickleNotAllowed. Revisioned.",
    )
    inputs: (
        Annotated[
            list[Input],
            Field(max_length=16, json_schema_extra=list_by("name")),
        ]
        | None
    ) = Field(
        default=None,
        description="inputs of a TorchScript model, whose file does not say them. Revisioned.",
    )
    version: str | None = Field(
        default=None,
        max_length=63,
        pattern=_LABEL_VALUE,
        description="version is a label for people: it stands in the status, in the response "
        "header X-Model-Version and in the metrics. Optional. Revisioned. The "
        "model_version on the wire is the number of the revision.",
    )
    samples: Samples | None = Field(
        default=None,
        description="samples of requests in JSON: a list of V2 requests, each with the outputs "
        "that are expected, or without. Optional. Revisioned. rollout.preflight sends them, and "
        "a conversion is compared on them.",
    )
    optimization: Optimization | None = Field(
        default=None,
        description="optimization of the model before it is served. Default: only its graph. "
        "Revisioned.",
    )
    credentials: Credentials | None = Field(
        default=None,
        description="credentials for the store. Optional: without them, only what anybody may "
        "read is found. Revisioned. They are mounted into the container that fetches, and "
        "nowhere else.",
    )
    ca_bundle: FileReference | None = Field(
        default=None,
        description="caBundle holds PEM certificates of authorities that are trusted beside the "
        "image's own when the model is fetched. Optional. Revisioned.",
    )
    proxy: Proxy | None = Field(
        default=None,
        description="proxy is the way to the store. Default: none. Revisioned.",
    )
    verify: Verify | None = Field(
        default=None,
        description="verify refuses an artifact that is not signed with cosign and the key. "
        "Default: none. Revisioned.",
    )
    cache: Cache | None = Field(
        default=None,
        description="cache keeps what was fetched, by its digest, for other pods and revisions. "
        "Default: none, each pod fetches for itself. Revisioned.",
    )
    poll: Poll | None = Field(
        default=None,
        description="poll looks at uri again: other bytes become a new revision through the same "
        "rollout. Default: none. Live.",
    )


class Queue(Block):
    """How many requests may wait."""

    max_length: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="maxLength is the number of requests that may wait for the model. Default "
        "1024. Revisioned. The next one is answered 429 with Retry-After at once.",
    )


class Batching(Block):
    """How requests are computed together."""

    mode: Literal["Auto", "Off", "On"] | None = Field(
        default=None,
        description="mode is Auto, Off or On. Default Auto: each pod measures when it loads the "
        "model whether batches are worth it. Revisioned. A model without a batch dimension never "
        "batches.",
    )
    max_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="maxBatchSize is the number of rows of one batch, 1 to 1024. Default 32. "
        "Revisioned. A larger request runs alone.",
    )
    max_delay: Duration | None = Field(
        default=None,
        description="maxDelay is how long the first request of a batch may wait for company, up to "
        "1s. Default 0s, which costs a lone request nothing: a batch is what came while the model "
        "was busy. Revisioned.",
        json_schema_extra=rules(
            rule(
                "duration(self) <= duration('1s')",
                "serving.batching.maxDelay: expected at most 1s",
            )
        ),
    )


class Warmup(Block):
    """What a pod does before it is ready."""

    requests: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="requests is the number of inferences that a pod runs before it becomes "
        "ready, and as many of model.samples. Default 3. Revisioned. 0 switches the warm-up off.",
    )


def _body_size(field: str) -> dict[str, Any]:
    """Bounds of a body: larger ones fit into no message of gRPC."""
    expression = (
        "quantity(string(self)).compareTo(quantity('1')) >= 0"
        " && quantity(string(self)).isLessThan(quantity('2Gi'))"
    )
    return rules(rule(expression, f"serving.{field}: expected from 1 byte to below 2Gi"))


class Serving(Block):
    """How the runtime serves the model."""

    batching: Batching | None = Field(
        default=None, description="batching says how requests are computed together. Revisioned."
    )
    execution_provider: Literal["CPU", "CUDA", "OpenVINO"] | None = Field(
        default=None,
        description="executionProvider is what computes: CPU, CUDA or OpenVINO. Default CPU. "
        "Revisioned. A pod whose image or node lacks it does not become ready, and says so; it "
        "never falls back in silence.",
    )
    protocols: (
        Annotated[
            list[Literal["REST", "GRPC"]],
            Field(min_length=1, max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = Field(
        default=None,
        description="protocols lists what clients may speak: REST, GRPC. Default both. Revisioned. "
        "What is not listed has no port, neither in the pods nor in the Services; probes and "
        "metrics have a port of their own.",
    )
    queue: Queue | None = Field(
        default=None, description="queue bounds the requests that wait. Revisioned."
    )
    request_timeout: Duration | None = Field(
        default=None,
        description="requestTimeout is the longest time a request may take in the runtime, "
        "waiting included, such as 30s or 250ms, up to 24h. Default 30s. Revisioned. After "
        "it the answer is 504.",
        json_schema_extra=rules(
            rule(
                "duration(self) > duration('0s') && duration(self) <= duration('24h')",
                "serving.requestTimeout: expected above 0s and up to 24h",
            )
        ),
    )
    max_request_bytes: Quantity | None = Field(
        default=None,
        description="maxRequestBytes is the largest body of a request, a quantity of bytes. "
        "Default 64Mi, below 2Gi. Revisioned. A larger one is answered 413 before it is "
        "read.",
        json_schema_extra=_body_size("maxRequestBytes"),
    )
    max_json_bytes: Quantity | None = Field(
        default=None,
        alias="maxJSONBytes",
        description="maxJSONBytes is the largest JSON body, a quantity of bytes. Default 8Mi, "
        "below 2Gi. Revisioned. JSON costs many times its size in memory, hence the lower "
        "bound.",
        json_schema_extra=_body_size("maxJSONBytes"),
    )
    threads: (
        Annotated[
            int | str,
            WithJsonSchema(
                {
                    "x-kubernetes-int-or-string": True,
                    **rules(
                        rule(
                            "type(self) == int ? (self >= 1 && self <= 256) :"
                            " (self == 'Auto' || self.matches("
                            "'^([1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-6])$'))",
                            "serving.threads: expected Auto or a number from 1 to 256",
                        )
                    ),
                }
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="threads of one inference: Auto or 1 to 256. Default Auto: the whole CPUs "
        "of the container's limit, at least 1. Revisioned.",
    )
    warmup: Warmup | None = Field(
        default=None, description="warmup is what a pod does before it is ready. Revisioned."
    )


class Resources(Block):
    """Compute resources of a container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] | None = Field(
        default=None,
        description="requests is what the scheduler sets aside, by resource name (cpu, memory, …).",
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] | None = Field(
        default=None,
        description="limits is what the container may use at most, by resource name.",
    )


class LocalObjectReference(Block):
    """A Secret of the same namespace."""

    name: str = Field(
        max_length=253, pattern=DNS_NAME, description="name of the Secret in the same namespace."
    )


class Runtime(Block):
    """The pods that serve the model."""

    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        pattern=r"^\S+$",
        description="image of the runtime. Default: the one the operator was installed with, "
        "kept by the revision across upgrades of the operator. Revisioned. An "
        "image of your own that honours the runtime's contract may stand here.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None,
        description="imagePullPolicy of the runtime's containers: Always, IfNotPresent or "
        "Never. Default IfNotPresent. Revisioned.",
    )
    image_pull_secrets: (
        Annotated[
            list[LocalObjectReference],
            Field(
                max_length=16,
                json_schema_extra=list_by("name"),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="imagePullSecrets are Secrets to pull the image with. Revisioned.",
    )
    resources: Resources | None = Field(
        default=None,
        description="resources of the serving container. Default: requests cpu 500m, memory "
        "256Mi; limits cpu 1, memory 512Mi. Revisioned. When given, it replaces "
        "the default whole.",
    )
    supply_resources: Resources | None = Field(
        default=None,
        description="supplyResources of the steps that fetch and check the model. Default: "
        "requests cpu 100m, memory 128Mi; limits cpu 1, memory 1Gi. Revisioned. "
        "Fetching takes constant memory; checking loads the model once.",
    )
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=list_by("name"))] | None = (
        Field(
            default=None,
            description="env are environment variables of the serving container, as in a Pod. "
            "Revisioned. Those named SLIPWAY_RUNTIME_… are settings of the runtime and reach "
            "the steps that fetch and check the model, too.",
        )
    )
    pod_labels: LabelMap | None = Field(
        default=None,
        description="podLabels are added to the pods. Revisioned. Labels of this resource "
        "itself are not copied to the pods.",
        json_schema_extra=rules(
            rule(
                "self.all(k, !k.startsWith('slipway.dev/') && k != 'app.kubernetes.io/managed-by')",
                "runtime.podLabels: slipway.dev/… and app.kubernetes.io/managed-by belong to the"
                " operator; choose other keys",
            )
        ),
    )
    pod_annotations: AnnotationMap | None = Field(
        default=None,
        description="podAnnotations are added to the pods. Revisioned: changing one starts a "
        "new revision, which is also the way to restart the pods.",
        json_schema_extra=rules(
            rule(
                "self.all(k, !k.startsWith('slipway.dev/'))",
                "runtime.podAnnotations: slipway.dev/… belongs to the operator; choose other keys",
            )
        ),
    )
    node_selector: LabelMap | None = Field(
        default=None,
        description="nodeSelector holds the labels that a node must have. Revisioned.",
    )
    tolerations: Annotated[list[PassthroughItem], Field(max_length=32)] | None = Field(
        default=None, description="tolerations of the pods, as in a Pod. Revisioned."
    )
    affinity: PassthroughObject | None = Field(
        default=None, description="affinity of the pods, as in a Pod. Revisioned."
    )
    topology_spread_constraints: (
        Annotated[
            list[SpreadConstraint],
            Field(max_length=16, json_schema_extra=list_by("topologyKey", "whenUnsatisfiable")),
        ]
        | None
    ) = Field(
        default=None,
        description="topologySpreadConstraints of the pods, as in a Pod. Default: soft by "
        "zone and by host, which your own replace. Revisioned.",
    )
    priority_class_name: str | None = Field(
        default=None,
        max_length=253,
        pattern=DNS_NAME,
        description="priorityClassName of the pods. Revisioned.",
    )
    service_account_name: str | None = Field(
        default=None,
        max_length=253,
        pattern=DNS_NAME,
        description="serviceAccountName of the pods. Default: one without rights made by the "
        "operator. Revisioned. Its token is not mounted either way.",
    )
    drain: Duration | None = Field(
        default=None,
        description="drain is the time that a pod gets to finish its requests when it ends, "
        "such as 30s. Default 30s. Revisioned.",
        json_schema_extra=rules(
            rule(
                "duration(self) <= duration('1h')",
                "runtime.drain: expected at most 1h",
            )
        ),
    )


class NodePorts(Block):
    """Fixed node ports."""

    http: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="http is the node port of the REST endpoint. Default: chosen by Kubernetes.",
    )
    grpc: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="grpc is the node port of the gRPC endpoint. Default: chosen by Kubernetes.",
    )


class ServiceExposure(Block):
    """The Service that clients use."""

    model_config = block_rules(
        rule(
            "!has(self.nodePorts) || (has(self.type) && self.type in ['NodePort', 'LoadBalancer'])",
            "exposure.service.nodePorts: needs type NodePort or LoadBalancer",
        ),
        rule(
            "!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')",
            "exposure.service.loadBalancerClass: needs type LoadBalancer",
        ),
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = Field(
        default=None,
        description="type of the Service: ClusterIP, NodePort or LoadBalancer. Default "
        "ClusterIP. Live: a change applies without a rollout.",
    )
    annotations: AnnotationMap | None = Field(
        default=None,
        description="annotations of the Service, as cloud load balancers want them. Live.",
    )
    load_balancer_class: str | None = Field(
        default=None,
        max_length=253,
        description="loadBalancerClass of a LoadBalancer Service. Live; Kubernetes does not "
        "let it change once it is set.",
    )
    node_ports: NodePorts | None = Field(
        default=None, description="nodePorts fixes the ports on the nodes. Live."
    )


class Exposure(Block):
    """How clients reach the model."""

    service: ServiceExposure | None = Field(
        default=None,
        description="service shapes the Service that bears the name of this resource: port 80 "
        "is REST, port 9000 is gRPC. It always exists. Live.",
    )
    gateway: Gateway | None = Field(
        default=None,
        description="gateway lets clients in through a Gateway, by an HTTPRoute of this name; "
        "steps of a rollout are then weights of requests. Live.",
    )


class Monitoring(Block):
    """How the model is watched."""

    pod_monitor: bool | None = Field(
        default=None,
        description="podMonitor makes a PodMonitor, by which the Prometheus Operator scrapes the "
        "pods. Default true. Live. Where that operator is not installed, nothing is made.",
    )


class Spec(Block):
    """What the user wants."""

    model_config = block_rules(
        rule(
            "!has(self.rollout) || !has(self.rollout.preflight) || has(self.model.samples)",
            "rollout.preflight: sends model.samples; set it, or remove the preflight",
        ),
        rule(
            "!has(self.model.optimization) || !has(self.model.optimization.quantization) ||"
            " self.model.optimization.quantization != 'StaticInt8' ||"
            " !has(self.pipeline) || !has(self.pipeline.preprocess)",
            "model.optimization: StaticInt8 calibrates without pipeline.preprocess; use"
            " DynamicInt8",
        ),
        rule(
            "!has(self.rollout) || !has(self.rollout.steps) ||"
            " self.rollout.steps.all(s, has(s.weight)) ||"
            " (has(self.exposure) && has(self.exposure.gateway))",
            "rollout.steps: headers and mirrorPercent need exposure.gateway",
        ),
    )

    model: Model = Field(
        description="model says which model is served, where its bytes come from and how they "
        "are checked. Required. Revisioned: a change makes a new revision, which "
        "takes over when all its pods are ready.\n\n"
        "A complete example:\n"
        '  model: {uri: "oci://registry.example.com/models/digits:2", version: "2026-11-20"}'
    )
    pipeline: Pipeline | None = Field(
        default=None,
        description="pipeline is what is done to a request before the model and to its answer "
        "after it. Revisioned. When absent, clients use the model's own tensors.",
    )
    serving: Serving | None = Field(
        default=None,
        description="serving says how the runtime serves: limits, time-outs, threads. "
        "Revisioned. When absent, every field has its default.",
    )
    runtime: Runtime | None = Field(
        default=None,
        description="runtime shapes the pods: image, resources, placement. Revisioned. When "
        "absent, every field has its default.",
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="replicas is the number of pods. Default 1. Live: a change starts no "
        "rollout. 0 keeps everything but the pods. It is the field of the scale "
        "subresource. Under autoscaling that is not external it is ignored, and the status "
        "says so.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="autoscaling lets the number of pods follow the load. Live. When absent, "
        "there are spec.replicas pods.",
    )
    exposure: Exposure | None = Field(
        default=None, description="exposure says how clients reach the model. Live."
    )
    rollout: Rollout | None = Field(
        default=None,
        description="rollout says how a new revision takes over. Live. When absent, by one cut, as "
        "soon as all its pods are ready; {} is a canary with the defaults of its fields.",
    )
    security: Security | None = Field(
        default=None, description="security says who may ask. Live. When absent, everybody may."
    )
    monitoring: Monitoring | None = Field(
        default=None, description="monitoring says how the model is watched. Live."
    )
    suspend: bool = Field(
        default=False,
        description="suspend set to true ends all pods and keeps everything else. Default "
        "false. Live. replicas is left as it is and honoured again afterwards.",
    )


def parse_spec(raw: dict[str, Any]) -> Spec:
    """Read a spec as the API server stores it.

    Raises:
        pydantic.ValidationError: it has a field or a value that this version does not know.
    """
    return Spec.model_validate(raw)
