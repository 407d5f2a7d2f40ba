{{- define "registryd.prefetchMetadata" -}}
name: {{ include "registryd.fullname" . }}-prefetch
namespace: {{ include "registryd.namespace" . }}
labels:
  {{- include "registryd.prefetchSelectorLabels" . | nindent 2 }}
  {{- include "registryd.commonLabels" . | nindent 2 }}
{{- end }}

{{/* An init container for each image. Whatever is in an image, or nothing, what runs in it is a program of ours that ends at once. */}}
{{- define "registryd.prefetchByKubelet" -}}
{{- $security := merge (dict "runAsUser" 65532 "runAsGroup" 65532) (deepCopy .Values.securityContext) | toYaml }}
- name: program
  image: {{ include "registryd.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # The dynamic linker runs a program of Debian's in an image that has no libraries.
  command: [sh, -ec, 'cp -L /bin/true /lib*/ld-linux-*.so.* /lib/*-linux-gnu/libc.so.6 /program/; mv /program/ld-linux-* /program/ld']
  securityContext:
    {{- $security | nindent 4 }}
  resources: {requests: {cpu: 1m, memory: 1Mi}}
  volumeMounts:
    - {name: program, mountPath: /program}
{{- range $number, $image := .Values.prefetch.images }}
- name: image-{{ $number }}
  image: {{ $image | quote }}
  imagePullPolicy: IfNotPresent
  command: [/registryd-prefetch/ld, --library-path, /registryd-prefetch, /registryd-prefetch/true]
  securityContext:
    {{- $security | nindent 4 }}
  resources: {requests: {cpu: 1m, memory: 1Mi}}
  volumeMounts:
    - {name: program, mountPath: /registryd-prefetch, readOnly: true}
{{- end }}
{{- end }}

{{/* Pulls, where kubelets have not, and pins. What became of it is the container's message. */}}
{{- define "registryd.prefetchByAgent" -}}
{{- $login := and .Values.prefetch.dockerConfigSecret (eq .Values.prefetch.by "agent") }}
- name: prefetch
  image: {{ include "registryd.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - prefetch
    - --images=/etc/registryd/prefetch/images.txt
    - --into=containerd
    - --containerd-socket={{ .Values.containerd.socket }}
    - --parallel={{ .Values.prefetch.parallel }}
    - --agent={{ include "registryd.adminAddress" . }}
    - --report=/dev/termination-log
    {{- if .Values.prefetch.pin }}
    - --pin
    - --unpin-others
    {{- end }}
    {{- if $login }}
    - --docker-config=/etc/registryd/docker/config.json
    - --for-every-pod
    {{- end }}
  {{- if include "registryd.adminIsExposed" . }}
  env:
    - name: HOST_IP
      valueFrom: {fieldRef: {fieldPath: status.hostIP}}
  {{- end }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - {name: containerd, mountPath: {{ dir .Values.containerd.socket }}, readOnly: true}
    - {name: images, mountPath: /etc/registryd/prefetch, readOnly: true}
    {{- if $login }}
    - {name: docker, mountPath: /etc/registryd/docker, readOnly: true}
    {{- end }}
    - {name: tmp, mountPath: /tmp}
{{- end }}
