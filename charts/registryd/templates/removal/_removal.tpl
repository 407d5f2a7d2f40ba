{{/* Arguments: the root context, the weight that puts the hooks in order (account, DaemonSet, job), and when Helm deletes it. */}}
{{- define "registryd.removalMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "registryd.fullname" $root }}-removal
namespace: {{ include "registryd.namespace" $root }}
labels:
  {{- include "registryd.removalSelectorLabels" $root | nindent 2 }}
  {{- include "registryd.commonLabels" $root | nindent 2 }}
annotations:
  helm.sh/hook: pre-delete
  helm.sh/hook-weight: {{ index . 1 | quote }}
  helm.sh/hook-delete-policy: {{ index . 2 }}
{{- end }}

{{- define "registryd.removalPod" -}}
hostNetwork: true
dnsPolicy: Default
enableServiceLinks: false
priorityClassName: {{ .Values.priorityClassName | quote }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
The job needs a node that lives, and any will do. A toleration of everything tolerates dead nodes too, and a job that is sent to
one neither ends nor can be asked. So that one becomes a toleration of all that keeps pods away, and of two usual taints that
also send pods away. For the taints of dead nodes there are tolerations that fit no taint: without any Kubernetes adds some of
five minutes.
*/}}
{{- define "registryd.removalWaitTolerations" -}}
{{- $dead := list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" }}
{{- $tolerations := list }}
{{- range .Values.tolerations }}
{{- if .key }}
{{- if not (has .key $dead) }}
{{- $tolerations = append $tolerations . }}
{{- end }}
{{- else if not (eq (default "" .effect) "NoExecute") }}
{{- $tolerations = append $tolerations (dict "operator" "Exists" "effect" (.effect | default "NoSchedule")) }}
{{- range list "CriticalAddonsOnly" "node-role.kubernetes.io/etcd" }}
{{- $tolerations = append $tolerations (dict "key" . "operator" "Exists") }}
{{- end }}
{{- end }}
{{- end }}
{{- range $dead }}
{{- $tolerations = append $tolerations (dict "key" . "operator" "Equal" "value" "no-node-has-this" "effect" "NoExecute") }}
{{- end }}
{{- toYaml $tolerations }}
{{- end }}

{{- define "registryd.removalSelector" -}}
app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=removal
{{- end }}
