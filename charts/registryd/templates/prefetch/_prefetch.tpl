{{/* What the containers have in common that run registryd: {root}. Below, {root, name, list} is a list. */}}
{{- define "registryd.prefetchProgram" -}}
image: {{ include "registryd.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- if include "registryd.adminIsExposed" .root }}
env:
  - name: HOST_IP
    valueFrom: {fieldRef: {fieldPath: status.hostIP}}
{{- end }}
{{- end }}

{{- define "registryd.prefetchUnprivileged" -}}
{{- merge (dict "runAsUser" 65532 "runAsGroup" 65532) (deepCopy (.root.Values.securityContext | default dict)) | toYaml }}
{{- end }}

{{/* An init container for each image. Whatever is in an image, or nothing, what runs in it is a program of ours that ends at once. */}}
{{- define "registryd.prefetchByKubelet" -}}
{{- $security := include "registryd.prefetchUnprivileged" . }}
{{- include "registryd.prefetchBackground" (dict "root" .root "name" .name "end" false) }}
- name: program
  image: {{ include "registryd.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  # The dynamic linker runs a program of Debian's in an image that has no libraries.
  command: [sh, -ec, 'cp -L /bin/true /lib*/ld-linux-*.so.* /lib/*-linux-gnu/libc.so.6 /program/; mv /program/ld-linux-* /program/ld']
  securityContext:
    {{- $security | nindent 4 }}
  resources: {requests: {cpu: 1m, memory: 1Mi}}
  volumeMounts:
    - {name: program, mountPath: /program}
{{- range $number, $image := .list.images }}
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
{{ include "registryd.prefetchBackground" (dict "root" .root "name" .name "end" true) }}
{{- end }}

{{/* The node's agent is told which pulls of its kubelet are the list's, and in the end that there are no more: {root, name, end}. */}}
{{- define "registryd.prefetchBackground" -}}
- name: background{{ if .end }}-end{{ end }}
  {{- include "registryd.prefetchProgram" . | nindent 2 }}
  args:
    - background
    - --images=/etc/registryd/prefetch/images.txt
    - --list={{ .root.Release.Name }}{{ with .name }}/{{ . }}{{ end }}
    - --agent={{ include "registryd.adminAddress" .root }}
    {{- if .end }}
    - --end
    {{- end }}
  securityContext:
    {{- include "registryd.prefetchUnprivileged" . | nindent 4 }}
  resources: {requests: {cpu: 1m, memory: 32Mi}}
  volumeMounts:
    - {name: images, mountPath: /etc/registryd/prefetch, readOnly: true}
{{- end }}

{{/* Pulls, where kubelets have not, and pins. What became of it is the container's message. */}}
{{- define "registryd.prefetchByAgent" -}}
{{- $login := and .list.dockerConfigSecret (eq .list.by "agent") }}
- name: prefetch
  {{- include "registryd.prefetchProgram" . | nindent 2 }}
  args:
    - prefetch
    - --images=/etc/registryd/prefetch/images.txt
    - --into=containerd
    - --containerd-socket={{ .root.Values.containerd.socket }}
    - --parallel={{ .list.parallel | int64 }}
    - --agent={{ include "registryd.adminAddress" .root }}
    - --report=/dev/termination-log
    {{- if .list.pin }}
    - --pin
    - --unpin-others
    {{- with .name }}
    - --list={{ . }}
    {{- end }}
    {{- end }}
    {{- if $login }}
    - --docker-config=/etc/registryd/docker/config.json
    - --for-every-pod
    {{- end }}
  securityContext:
    {{- toYaml .root.Values.securityContext | nindent 4 }}
  resources:
    {{- toYaml .root.Values.resources | nindent 4 }}
  volumeMounts:
    - {name: containerd, mountPath: {{ dir .root.Values.containerd.socket }}, readOnly: true}
    - {name: images, mountPath: /etc/registryd/prefetch, readOnly: true}
    {{- if $login }}
    - {name: docker, mountPath: /etc/registryd/docker, readOnly: true}
    {{- end }}
    - {name: tmp, mountPath: /tmp}
{{- end }}
