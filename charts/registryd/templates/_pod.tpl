{{/* Variables of both containers. HOST_IP and NODE_NAME come first: the settings refer to them. */}}
{{- define "registryd.env" -}}
- name: HOST_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- /* Since Kubernetes 1.35 pods have this label of their node; before, it is empty here, and the EndpointSlice tells the agent. */}}
- name: NODE_ZONE
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
{{- if .Values.pulls.events }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- end }}
{{- include "registryd.settingsEnv" (include "registryd.settings" .) }}
{{- end }}

{{/* What members prove themselves with, where it is mounted. */}}
{{- define "registryd.peersVolume" -}}
name: peers
secret:
  secretName: {{ include "registryd.peersSecretName" . }}
  defaultMode: 0400
  {{- if not .Values.certManager.enabled }}
  items:
    - {key: {{ .Values.clusterSecret.key | quote }}, path: secret}
  {{- end }}
{{- end }}

{{/* On the host's network the kubelet's loopback is the agent's. Without a host it asks the pod's address, the node's. */}}
{{- define "registryd.probe" -}}
{{- $root := index . 0 -}}
httpGet:
  {{- if not (include "registryd.adminIsExposed" $root) }}
  host: 127.0.0.1
  {{- end }}
  port: admin
  path: {{ index . 1 }}
{{- end }}

{{/* What the agent sees of the node's way to registries: a list of {name, path, type}. */}}
{{- define "registryd.hostsPaths" -}}
{{- $paths := list }}
{{- with include "registryd.hostsDir" . }}
{{- /* Node set-up would make it as well. */}}
{{- $paths = append $paths (dict "name" "hosts" "path" . "type" (ternary "DirectoryOrCreate" "Directory" $.Values.nodeSetup.enabled)) }}
{{- end }}
{{- range $number, $path := .Values.containerd.hostsFiles }}
{{- $paths = append $paths (dict "name" (printf "hosts-file-%d" $number) "path" $path "type" "") }}
{{- end }}
{{- with .Values.containerd.trustBundle }}
{{- $paths = append $paths (dict "name" "trust" "path" (dir .) "type" "Directory") }}
{{- end }}
{{- $paths | toJson }}
{{- end }}

{{/* Pods on the host's network with the node's folders: where they are forbidden they would never be made, and nobody would say so. */}}
{{- define "registryd.checkPodSecurity" -}}
{{- if .Values.agent.enabled }}
{{- $namespace := lookup "v1" "Namespace" "" (include "registryd.namespace" .) | default dict }}
{{- $level := dig "metadata" "labels" "pod-security.kubernetes.io/enforce" "" $namespace }}
{{- if has $level (list "baseline" "restricted") }}
{{- printf "namespace %s enforces Pod Security %q, which forbids the agents' pods (host network, hostPath): install into kube-system, or label it pod-security.kubernetes.io/enforce=privileged" (include "registryd.namespace" .) $level | fail }}
{{- end }}
{{- end }}
{{- end }}
