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
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "registryd.removalSelector" -}}
app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=removal
{{- end }}
