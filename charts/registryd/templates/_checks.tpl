{{/*
What is wrong with the values, in words: names of images and lines, as the program reads them, and values that are good one by
one and contradict each other. Types, choices and unknown values are the schema's.
*/}}
{{- define "registryd.checkValues" -}}
{{- include "registryd.checkImage" . }}
{{- include "registryd.checkImages" . }}
{{- include "registryd.checkLimits" . }}
{{- include "registryd.checkTogether" . }}
{{- end }}

{{/* A repository's name, with or without its registry: as in the OCI distribution specification. */}}
{{- define "registryd.repositoryPattern" -}}
(([A-Za-z0-9][A-Za-z0-9.-]*[.:][A-Za-z0-9.-]*(:[0-9]{1,5})?|localhost(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?)/)?[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
{{- end }}

{{- define "registryd.checkImage" -}}
{{- with .Values.image }}
{{- if not (regexMatch (printf "^%s$" (include "registryd.repositoryPattern" $)) .repository) }}
{{- fail (printf "image.repository: %q is no repository: expected a name such as ghcr.io/registryd/registryd, in lower case; tag and digest are image.tag and image.digest" .repository) }}
{{- end }}
{{- if not (regexMatch "^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$" (.tag | default "")) }}
{{- fail (printf "image.tag: %q is no tag: expected letters, digits, _, . and -; a digest is image.digest" .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "registryd.checkImages" -}}
{{- $image := printf "^%s(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})?$" (include "registryd.repositoryPattern" .) }}
{{- $lists := dict "prefetch.images" .Values.prefetch.images }}
{{- range $name, $list := .Values.prefetch.lists }}
{{- $_ := set $lists (printf "prefetch.lists.%s.images" $name) $list.images }}
{{- end }}
{{- range $key, $images := $lists }}
{{- range $images }}
{{- if not (regexMatch $image .) }}
{{- fail (printf "%s: %q is no image: expected a name such as ghcr.io/corp/app:v1" $key .) }}
{{- end }}
{{- end }}
{{- end }}
{{- $wild := `*?\[\]!` }}
{{- $host := printf `(localhost|[A-Za-z0-9_%[1]s-]*[.:*?\[][A-Za-z0-9._:%[1]s-]*)` $wild }}
{{- $named := printf `%[2]s/[a-z0-9._%[1]s-]+(/[a-z0-9._%[1]s-]+)*(:[A-Za-z0-9._%[1]s-]+)?(@[a-z0-9:%[1]s-]+)?` $wild $host }}
{{- $pattern := printf `^(%[2]s|[A-Za-z0-9._:%[1]s-]*[*?\[][A-Za-z0-9._:@%[1]s-]*)$` $wild $named }}
{{- range $key, $texts := dict "images.block" .Values.images.block "images.keep" .Values.images.keep "cache.pinned" .Values.cache.pinned }}
{{- range $texts }}
{{- $text := first (splitList " " .) }}
{{- if and (eq $key "images.block") (regexMatch "^sha[0-9]+:" $text) }}
{{- if not (regexMatch "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$" $text) }}
{{- fail (printf "images.block: %q is no digest: expected sha256: and 64 hexadecimal digits, or sha512: and 128" $text) }}
{{- end }}
{{- else if not (regexMatch $pattern $text) }}
{{- fail (printf "%s: %q matches no image: expected registry/repository:tag, in which an asterisk stands for any text" $key $text) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $rule := .Values.images.keep }}
{{- $copies := regexFind "copies=[0-9]" . | trimPrefix "copies=" | int }}
{{- range $name := list "copies=" "zones=" }}
{{- if gt (len (regexFindAll $name $rule -1)) 1 }}
{{- fail (printf "images.keep: %q has %s twice" $rule $name) }}
{{- end }}
{{- end }}
{{- if or (lt $copies 1) (gt $copies 8) }}
{{- fail (printf "images.keep: %q: copies= must be from 1 to 8" .) }}
{{- end }}
{{- if contains "zones=" . }}
{{- $zones := regexFind "zones=[0-9]" . | trimPrefix "zones=" | int }}
{{- if or (lt $zones 1) (gt $zones $copies) }}
{{- fail (printf "images.keep: %q: zones= must be from 1 to the number of copies" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "registryd.checkLimits" -}}
{{- $day := "(mon|tue|wed|thu|fri|sat|sun)" }}
{{- $when := printf "%[1]s(-%[1]s)?|([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-4]):[0-5][0-9]" $day }}
{{- $rate := `(upload|download|origin)=[0-9]+(\.[0-9]+)?([KMGT]i?)?B|background=(100|[1-9][0-9]?)%` }}
{{- range $line := .Values.bandwidth.limits }}
{{- $rates := 0 }}
{{- range regexSplit `\s+` (regexReplaceAll "#.*" . "" | trim) -1 | compact }}
{{- if regexMatch (printf "^(%s)$" $rate) . }}
{{- $rates = add1 $rates }}
{{- else if not (regexMatch (printf "^(%s)$" $when) .) }}
{{- fail (printf "bandwidth.limits: %q: expected days (mon-fri), hours (08:00-18:00), upload=, download= or origin= with a size such as 50MiB, or background= with 1%% to 100%%" .) }}
{{- end }}
{{- end }}
{{- if and (not $rates) (regexReplaceAll "#.*" . "" | trim) }}
{{- fail (printf "bandwidth.limits: %q limits nothing: give upload=, download=, origin= or background=" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "registryd.checkTogether" -}}
{{- $values := .Values }}
{{- if not (or $values.agent.enabled $values.cache.enabled) }}
{{- fail "agent.enabled and cache.enabled are both false: there is nothing to install" }}
{{- end }}
{{- $ports := dict }}
{{- range $name, $port := dict "registry.port" $values.registry.port "peers.port" $values.peers.port "peers.contentPort" $values.peers.contentPort "admin.port" $values.admin.port }}
{{- $key := printf "%v" $port }}
{{- with get $ports $key }}
{{- fail (printf "%s and %s are both %s: an agent needs four ports" . $name $key) }}
{{- end }}
{{- $_ := set $ports $key $name }}
{{- end }}
{{- $identities := list }}
{{- if $values.peers.insecure }}{{ $identities = append $identities "peers.insecure" }}{{ end }}
{{- if $values.certManager.enabled }}{{ $identities = append $identities "certManager.enabled" }}{{ end }}
{{- if $values.clusterSecret.existingSecret }}{{ $identities = append $identities "clusterSecret.existingSecret" }}{{ end }}
{{- if gt (len $identities) 1 }}
{{- fail (printf "%s: agents prove in one way that they are members, so set one of these" (join " and " $identities)) }}
{{- end }}
{{- if and $values.images.block $values.images.blockConfigMap }}
{{- fail "images.block and images.blockConfigMap: agents read one list, so put all entries into it" }}
{{- end }}
{{- if and $values.agent.enabled $values.mirroredRegistries (not $values.nodeSetup.enabled) }}
{{- fail "mirroredRegistries: without nodeSetup.enabled nothing writes them to the nodes; name them where you set the nodes up" }}
{{- end }}
{{- end }}
