{{/* Names */}}

{{- define "registryd.name" -}}
{{- regexReplaceAll "[-.]+$" (default .Chart.Name .Values.nameOverride | trunc 50) "" }}
{{- end }}

{{/*
At most 50 characters: what is appended must fit into the 63 of a label. It is a Service's name, too: without dots, and with a
letter at its beginning, which the names of releases need not have.
*/}}
{{- define "registryd.fullname" -}}
{{- $name := include "registryd.name" . }}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- $full := .Values.fullnameOverride | default $both | replace "." "-" }}
{{- if not (regexMatch "^[a-z]" $full) }}
{{- $full = printf "%s-%s" .Chart.Name .Release.Name | replace "." "-" }}
{{- end }}
{{- regexReplaceAll "-+$" ($full | trunc 50) "" }}
{{- end }}

{{- define "registryd.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/* Where agents read what must not spread. */}}
{{- define "registryd.blockConfigMap" -}}
{{- .Values.images.blockConfigMap | default (printf "%s-images" (include "registryd.fullname" .)) }}
{{- end }}

{{- define "registryd.serviceAccountName" -}}
{{- default (ternary (include "registryd.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "registryd.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* Labels */}}

{{- define "registryd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "registryd.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: agent
{{- end }}

{{/* The pods that are members of the cluster: agents, and a cache that is one. */}}
{{- define "registryd.memberLabels" -}}
app.kubernetes.io/name: {{ include "registryd.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
registryd/member: "yes"
{{- end }}

{{- define "registryd.cacheSelectorLabels" -}}
app.kubernetes.io/name: {{ include "registryd.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: cache
{{- end }}

{{- define "registryd.labels" -}}
{{ include "registryd.selectorLabels" . }}
{{ include "registryd.commonLabels" . }}
{{- end }}

{{/* A label stands once: what the chart selects by is the chart's, then a value's word counts. */}}
{{- define "registryd.commonLabels" -}}
{{- $own := dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service
    "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- toYaml (merge $own (omit (.Values.commonLabels | default dict) "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "registryd/member")) }}
{{- end }}

{{/* Labels of pods: `selector` before `podLabels`, these before those of every object. */}}
{{- define "registryd.podLabels" -}}
{{- toYaml (merge (fromYaml .selector) (deepCopy (.podLabels | default dict)) (fromYaml (include "registryd.commonLabels" .root))) }}
{{- end }}

{{/* What objects of the removal have: they must not look like agents. */}}
{{- define "registryd.removalSelectorLabels" -}}
app.kubernetes.io/name: {{ include "registryd.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: removal
{{- end }}

{{- define "registryd.metadata" -}}
name: {{ include "registryd.fullname" . }}
namespace: {{ include "registryd.namespace" . }}
labels:
  {{- include "registryd.labels" . | nindent 2 }}
{{- end }}

{{/* Addresses */}}

{{- define "registryd.ipFamily" -}}
{{- if .Values.ipFamily }}
{{- .Values.ipFamily }}
{{- else }}
{{- $kubernetes := lookup "v1" "Service" "default" "kubernetes" | default dict }}
{{- dig "spec" "ipFamilies" (list "IPv4") $kubernetes | first }}
{{- end }}
{{- end }}

{{/* The address of the node, or of what `variable` names, with a port; those of status come without brackets. */}}
{{- define "registryd.onNode" -}}
{{- $variable := .variable | default "HOST_IP" }}
{{- if eq (include "registryd.ipFamily" .root) "IPv6" }}[$({{ $variable }})]:{{ .port }}{{ else }}$({{ $variable }}):{{ .port }}{{ end }}
{{- end }}

{{- define "registryd.adminIsExposed" -}}
{{- with .Values.monitoring }}
{{- if or .expose .podMonitor.enabled .serviceMonitor.enabled }}true{{ end }}
{{- end }}
{{- end }}

{{/* Identity */}}

{{- define "registryd.peersSecretName" -}}
{{- if .Values.certManager.enabled }}{{ include "registryd.fullname" . }}-peers
{{- else }}{{ default (include "registryd.fullname" .) .Values.clusterSecret.existingSecret }}
{{- end }}
{{- end }}

{{/* The name in every member's certificate. It is no address: nobody resolves it. */}}
{{- define "registryd.certificateName" -}}
{{ include "registryd.fullname" . }}.{{ include "registryd.namespace" . }}.peers.registryd.internal
{{- end }}
