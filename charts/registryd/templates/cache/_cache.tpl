{{- define "registryd.cacheMetadata" -}}
name: {{ include "registryd.fullname" . }}-cache
namespace: {{ include "registryd.namespace" . }}
labels:
  {{- include "registryd.cacheSelectorLabels" . | nindent 2 }}
  {{- include "registryd.commonLabels" . | nindent 2 }}
{{- end }}

{{/* Whether the cache is a member of the cluster: there must be one. */}}
{{- define "registryd.cacheIsMember" -}}
{{- if and .Values.cache.member .Values.agent.enabled }}true{{ end }}
{{- end }}

{{/* Where the nodes' containerds reach the cache, if they are to ask it. They do not ask the cluster's DNS. */}}
{{- define "registryd.cacheEndpoint" -}}
{{- if .Values.cache.nextEndpoint.enabled }}
{{- $service := .Values.cache.service }}
{{- $scheme := ternary "https" "http" (not (empty .Values.cache.tlsSecret)) }}
{{- if .Values.cache.nextEndpoint.url }}
{{- .Values.cache.nextEndpoint.url }}
{{- else if not .Values.cache.enabled }}
{{- fail "cache.nextEndpoint: give its url, or set cache.enabled" }}
{{- else if contains ":" $service.clusterIP }}
{{- printf "%s://[%s]:%v" $scheme $service.clusterIP $service.port }}
{{- else if $service.clusterIP }}
{{- printf "%s://%s:%v" $scheme $service.clusterIP $service.port }}
{{- else if $service.nodePort }}
{{- printf "%s://%s" $scheme (include "registryd.onNode" (dict "root" . "port" $service.nodePort)) }}
{{- else }}
{{- fail "cache.nextEndpoint: nodes do not know the cluster's DNS; set cache.service.clusterIP, cache.service.nodePort or cache.nextEndpoint.url" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The cache's token for the nodes' set-up, as a volume; nothing where none is asked for. */}}
{{- define "registryd.cacheTokenVolume" -}}
{{- with .Values.cache.tokenSecret }}
name: cache-token
secret:
  secretName: {{ .name }}
  defaultMode: 0400
  items:
    - {key: {{ .key | quote }}, path: token}
{{- end }}
{{- end }}

{{/* As registryd.settings, for `registryd cache`. */}}
{{- define "registryd.cacheSettings" -}}
{{- $cache := .Values.cache }}
{{- $everywhere := ternary "[::]" "0.0.0.0" (eq (include "registryd.ipFamily" .) "IPv6") }}
{{- $settings := dict
  "cache" (dict
    "listen" (printf "%s:3172" $everywhere)
    "tags" $cache.tags
    "keep_free" $cache.keepFree
    "pinned" $cache.pinned)
  "upstreams" (dict "allow" $cache.upstreams.allow "registries" $cache.upstreams.registries)
  "authorization" (dict "mode" .Values.authorization.mode "registries" (.Values.authorization.registries | default dict))
  "store" (dict "kind" "directory" "directory" "/var/lib/registryd")
  "admin" (dict "listen" (include "registryd.onNode" (dict "root" . "port" 3175 "variable" "POD_IP")))
  "log" (dict "format" "json" "level" .Values.log.level)
  "agent" (dict "node_name" "$(POD_NAME)")
}}
{{- with $cache.sizeLimit }}
{{- $_ := set $settings.cache "size_limit" . }}
{{- end }}
{{- if not $cache.upstreams.registries }}
{{- $_ := unset $settings.upstreams "registries" }}
{{- end }}
{{- if $cache.upstreams.dockerConfigSecret }}
{{- $_ := set $settings.upstreams "docker_config" "/etc/registryd/docker/config.json" }}
{{- end }}
{{- if $cache.tokenSecret.name }}
{{- $_ := set $settings.cache "token_file" "/etc/registryd/cache/token" }}
{{- end }}
{{- if $cache.tlsSecret }}
{{- $_ := set $settings.cache "tls_cert" "/etc/registryd/tls/tls.crt" }}
{{- $_ := set $settings.cache "tls_key" "/etc/registryd/tls/tls.key" }}
{{- end }}
{{- if include "registryd.cacheIsMember" . }}
{{- $_ := set $settings.cache "member" true }}
{{- $_ := set $settings "peers" (merge (dict
  "listen" (include "registryd.onNode" (dict "root" . "port" .Values.peers.port "variable" "POD_IP"))
  "content_listen" (include "registryd.onNode" (dict "root" . "port" .Values.peers.contentPort "variable" "POD_IP"))
  "advertise" "$(POD_IP)"
  "transport" .Values.peers.transport) (include "registryd.peersIdentity" . | fromJson)) }}
{{- $_ := set $settings "discovery" (include "registryd.discovery" . | fromJson) }}
{{- end }}
{{- mustMergeOverwrite $settings (deepCopy ($cache.settings | default dict)) | toJson }}
{{- end }}

{{/* Arguments: the path. The kubelet asks the pod's address. */}}
{{- define "registryd.cacheProbe" -}}
httpGet: {port: admin, path: {{ . }}}
{{- end }}
