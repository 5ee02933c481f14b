{{/* The name of the installation: the release, with the chart's name where the release does not say it. */}}
{{- define "slipway.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- end }}

{{/* The name of every object of the operator. 54 + 9 characters is the limit of a label value. */}}
{{- define "slipway.operator" -}}
{{ include "slipway.fullname" . }}-operator
{{- end }}

{{- define "slipway.serviceAccount" -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.name is empty and serviceAccount.create is false: name an existing ServiceAccount, or let the chart make one" -}}
{{- end -}}
{{ default (include "slipway.operator" .) .Values.serviceAccount.name }}
{{- end }}

{{/* Labels that never change; selectors are immutable. */}}
{{- define "slipway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "slipway.labels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The reference of an image: (list root image). A tag beside a digest is kept for the reader; the digest decides. */}}
{{- define "slipway.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- with default (ternary "" $root.Chart.AppVersion (not (empty $image.digest))) $image.tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* What a schema cannot say: how values must stand to each other. */}}
{{- define "slipway.validate" -}}
{{- with .Values.lease -}}
{{- if not (and (lt (int .retrySeconds) (int .renewDeadlineSeconds)) (lt (int .renewDeadlineSeconds) (int .durationSeconds))) -}}
{{- fail (printf "lease: got retrySeconds %v, renewDeadlineSeconds %v, durationSeconds %v, expected each to be less than the next" .retrySeconds .renewDeadlineSeconds .durationSeconds) -}}
{{- end -}}
{{- end -}}
{{- if lt (int .Values.api.burst) (int .Values.api.qps) -}}
{{- fail (printf "api.burst: got %v, expected at least api.qps, which is %v" .Values.api.burst .Values.api.qps) -}}
{{- end -}}
{{- end }}
