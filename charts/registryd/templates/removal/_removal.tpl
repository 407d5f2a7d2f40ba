{{/* Arguments: the root context, and the weight that puts the hooks in order: account, DaemonSet, job. */}}
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
  # What failed stays to be looked at, until the next try.
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
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
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
