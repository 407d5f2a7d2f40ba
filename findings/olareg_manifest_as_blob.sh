#!/usr/bin/env bash
# olareg v0.2.2: a manifest's digest asked for below /blobs/.
#
# Other registries keep manifests and blobs apart and say 404. olareg has both in one folder of an OCI layout and says 200, as
# application/octet-stream. A client that looks below /blobs/ when it does not know what a digest is (containerd does, with a
# reference by digest alone) then takes an image for a file of bytes.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

mkdir "$work/build"
(
  cd "$work/build"
  export GOMODCACHE=$work/mod GOFLAGS="-modcacherw -mod=mod"
  go mod init finding
  go mod edit -require=github.com/olareg/olareg@v0.2.2
  go build -o "$work/olareg" github.com/olareg/olareg/cmd/olareg
)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/olareg" serve --port "$port" --dir "$work/store" >"$work/log" 2>&1 &
server=$!
url=http://127.0.0.1:$port/v2
for _ in $(seq 100); do curl -fs "$url/" >/dev/null && break; sleep 0.1; done

type=application/vnd.oci.image.index.v1+json
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[]}' "$type" >"$work/index"
digest=sha256:$(sha256sum "$work/index" | cut -d' ' -f1)
curl -fs -o "$work/pushed" -X PUT -H "Content-Type: $type" --data-binary "@$work/index" "$url/demo/manifests/v1"

head_of() { curl -sI "$url/demo/$1/$digest" | tr -d '\r' | awk 'NR == 1 {status = $2} tolower($1) == "content-type:" {type = $2} END {print status, type}'; }
seen="manifests: $(head_of manifests)
blobs: $(head_of blobs)"
echo "$seen"
[ "$seen" = "manifests: 200 $type
blobs: 200 application/octet-stream" ] || { echo "this has changed" >&2; exit 1; }
