{{/* Agents and the cache. */}}
{{- define "registryd.scraped" -}}
matchLabels:
  app.kubernetes.io/name: {{ include "registryd.name" . | quote }}
  app.kubernetes.io/instance: {{ .Release.Name | quote }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [agent, cache]}
{{- end }}

{{- define "registryd.scraping" -}}
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
relabelings:
  # Nodes have names that people know; pods come and go.
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: node
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
