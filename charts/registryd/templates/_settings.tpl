{{/* The settings as one dictionary of sections; .Values.settings goes before what the other values say. */}}

{{- define "registryd.settings" -}}
{{- $settings := dict
  "registry" (dict "listen" (printf "127.0.0.1:%v" .Values.registry.port))
  "authorization" (dict "mode" .Values.authorization.mode "registries" (.Values.authorization.registries | default dict))
  "store" (dict
    "kind" "containerd"
    "containerd_socket" .Values.containerd.socket
    "containerd_root" .Values.containerd.root
    "namespaces" .Values.containerd.namespaces)
  "peers" (dict
    "listen" (include "registryd.onNode" (dict "root" . "port" .Values.peers.port))
    "content_listen" (include "registryd.onNode" (dict "root" . "port" .Values.peers.contentPort))
    "advertise" "$(HOST_IP)"
    "zone" "$(NODE_ZONE)"
    "transport" .Values.peers.transport)
  "discovery" (include "registryd.discovery" . | fromJson)
  "images" (dict
    "block_file" "/etc/registryd/images/block"
    "keep" .Values.images.keep
    "keep_max_size" .Values.images.keepMaxSize)
  "admin" (dict "listen" (printf "127.0.0.1:%v" .Values.admin.port))
  "log" (dict "format" "json" "level" .Values.log.level)
  "agent" (dict "node_name" "$(NODE_NAME)")
}}
{{- $_ := set $settings "peers" (merge $settings.peers (include "registryd.peersIdentity" . | fromJson)) }}
{{- with include "registryd.cacheEndpoint" . }}
{{- $_ := set $settings.registry "next_endpoints" (list .) }}
{{- if $.Values.cache.tokenSecret.name }}
{{- $_ := set $settings.registry "next_token_file" "/etc/registryd/cache/token" }}
{{- end }}
{{- end }}
{{- with include "registryd.hostsDir" . }}
{{- $_ := set $settings.authorization "hosts_dir" . }}
{{- end }}
{{- if .Values.bandwidth.limits }}
{{- $_ := set $settings "bandwidth" (dict "file" "/etc/registryd/bandwidth/limits") }}
{{- end }}
{{- if .Values.pulls.events }}
{{- $_ := set $settings "pulls" (dict "events_pod" (printf "%s/$(POD_NAME)/$(POD_UID)" (include "registryd.namespace" .))) }}
{{- end }}
{{- if .Values.nodeSetup.enabled }}
{{- $_ := set $settings.registry "token_file" (printf "%s/token" .Values.nodeSetup.stateDirectory) }}
{{- end }}
{{- if include "registryd.adminIsExposed" . }}
{{- $_ := set $settings.admin "listen" (include "registryd.onNode" (dict "root" . "port" .Values.admin.port)) }}
{{- end }}
{{- mustMergeOverwrite $settings (deepCopy (.Values.settings | default dict)) | toJson }}
{{- end }}

{{/* Where the node's containerd looks for hosts.toml files; empty: agents see none of them. */}}
{{- define "registryd.hostsDir" -}}
{{- .Values.containerd.hostsDir | default (ternary "/etc/containerd/certs.d" "" .Values.nodeSetup.enabled) }}
{{- end }}

{{/* Where the agent's admin port is, as a container of the node knows it. */}}
{{- define "registryd.adminAddress" -}}
{{- if include "registryd.adminIsExposed" . }}
{{- include "registryd.onNode" (dict "root" . "port" .Values.admin.port) }}
{{- else }}
{{- printf "127.0.0.1:%v" .Values.admin.port }}
{{- end }}
{{- end }}

{{- define "registryd.discovery" -}}
{{- dict
  "kind" "kubernetes"
  "namespace" (include "registryd.namespace" .)
  "service_name" (include "registryd.fullname" .)
  "port_name" "peers" | toJson }}
{{- end }}

{{/* How members prove that they are. */}}
{{- define "registryd.peersIdentity" -}}
{{- if .Values.peers.insecure }}
{{- dict "insecure" true | toJson }}
{{- else if .Values.certManager.enabled }}
{{- dict
  "tls_cert" "/etc/registryd/peers/tls.crt"
  "tls_key" "/etc/registryd/peers/tls.key"
  "tls_ca" "/etc/registryd/peers/ca.crt"
  "tls_name" (include "registryd.certificateName" .) | toJson }}
{{- else }}
{{- dict "secret_file" "/etc/registryd/peers/secret" | toJson }}
{{- end }}
{{- end }}

{{/* Settings as a container's env. Numbers of values are floats: 1000000 must not become 1e+06. */}}
{{- define "registryd.settingsEnv" -}}
{{- range $section, $settings := . | fromJson }}
{{- range $name, $value := $settings }}
- name: {{ printf "REGISTRYD_%s_%s" $section $name | upper }}
  value: {{ include "registryd.settingText" $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "registryd.settingText" -}}
{{- if and (kindIs "map" .) (kindIs "map" (first (values . | default (list "")))) }}
{{- toJson . }}
{{- else if kindIs "slice" . }}
{{- $texts := list }}
{{- range . }}{{ $texts = append $texts (include "registryd.settingText" .) }}{{ end }}
{{- join "," $texts }}
{{- else if kindIs "map" . }}
{{- $texts := list }}
{{- range $name, $value := . }}{{ $texts = append $texts (printf "%s=%s" $name (include "registryd.settingText" $value)) }}{{ end }}
{{- join "," $texts }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}
{{- . | int64 }}
{{- else }}
{{- . }}
{{- end }}
{{- end }}
