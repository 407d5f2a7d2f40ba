{{- define "registryd.prefetchMetadata" -}}
name: {{ include "registryd.fullname" . }}-prefetch
namespace: {{ include "registryd.namespace" . }}
labels:
  {{- include "registryd.prefetchSelectorLabels" . | nindent 2 }}
  {{- include "registryd.commonLabels" . | nindent 2 }}
{{- end }}
