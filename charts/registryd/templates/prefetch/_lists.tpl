{{/* The lists by name, each with all that holds for it; "" is prefetch.images. A list's own values stand in place of prefetch's. */}}
{{- define "registryd.prefetchLists" -}}
{{- $common := omit .Values.prefetch "lists" "images" }}
{{- $lists := dict }}
{{- if .Values.prefetch.images }}
{{- $_ := set $lists "" (set (deepCopy $common) "images" .Values.prefetch.images) }}
{{- end }}
{{- range $name, $own := .Values.prefetch.lists }}
{{- if $own.images }}
{{- $list := deepCopy $common }}
{{- range $key, $value := $own }}
{{- $_ := set $list $key $value }}
{{- end }}
{{- $_ := set $lists $name $list }}
{{- end }}
{{- end }}
{{- $lists | toYaml }}
{{- end }}

{{/* The names of what there is once for each list: {root, name}. */}}
{{- define "registryd.prefetchName" -}}
{{ include "registryd.fullname" .root }}-prefetch{{ with .name }}-{{ . }}{{ end }}
{{- end }}

{{- define "registryd.prefetchSelectorLabels" -}}
app.kubernetes.io/name: {{ include "registryd.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: prefetch{{ with .name }}-{{ . }}{{ end }}
{{- end }}

{{- define "registryd.prefetchMetadata" -}}
name: {{ include "registryd.prefetchName" . }}
namespace: {{ include "registryd.namespace" .root }}
labels:
  {{- include "registryd.prefetchSelectorLabels" . | nindent 2 }}
  {{- include "registryd.commonLabels" .root | nindent 2 }}
{{- end }}
