#!/usr/bin/env bash
# crane v0.22.1: `crane push --index LAYOUT NAME`, of a layout that has one image for several platforms.
#
# What arrives in the registry is the layout's index.json itself: an index with one entry, which is the image's own index. A client
# has to go down two indexes to find a manifest for its platform, and the entry of the outer one says no platform at all.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

GOBIN=$work GOMODCACHE=$work/mod GOFLAGS=-modcacherw go install github.com/google/go-containerregistry/cmd/{crane,registry}@v0.22.1
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/registry" -port "$port" >"$work/log" 2>&1 &
server=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/v2/" >/dev/null && break; sleep 0.1; done

cd "$work"
python3 - <<'PY'
import hashlib, json, pathlib
blobs = pathlib.Path("layout/blobs/sha256")
blobs.mkdir(parents=True)
OCI = "application/vnd.oci.image."
def add(kind, document, **more):
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": OCI + kind, "digest": f"sha256:{digest}", "size": len(data), **more}
def image(machine):
    config = add("config.v1+json", {"architecture": machine, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": []}
    return add("manifest.v1+json", manifest, platform={"os": "linux", "architecture": machine})
def index(*entries):
    return {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": list(entries)}
whole = add("index.v1+json", index(image("amd64"), image("arm64")))
pathlib.Path("layout/index.json").write_text(json.dumps(index(whole)))
pathlib.Path("layout/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
PY
./crane push --index layout "127.0.0.1:$port/demo:v1" >pushed 2>&1
./crane manifest "127.0.0.1:$port/demo:v1" >manifest

seen=$(python3 - <<'PY'
import json
outer = json.load(open("manifest"))
(entry,) = outer["manifests"]
print(outer["mediaType"], "leads to", entry["mediaType"], "platform:", entry.get("platform"))
PY
)
echo "$seen"
index=application/vnd.oci.image.index.v1+json
[ "$seen" = "$index leads to $index platform: None" ] || { echo "this has changed" >&2; exit 1; }
