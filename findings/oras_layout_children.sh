#!/usr/bin/env bash
# oras v1.3.6: what it writes into the index.json of an OCI image layout when an index is copied there.
#
# The specification calls index.json the entry point. oras lists not only the index that was copied, with its tag, but each
# manifest that the index leads to as well, without a name. Whoever takes every entry of index.json for an image finds more
# images than were copied, and ones without names.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

GOBIN=$work GOMODCACHE=$work/mod GOFLAGS=-modcacherw go install oras.land/oras/cmd/oras@v1.3.6
cd "$work"
echo one >one
echo two >two
./oras push --oci-layout from:one --artifact-type application/x-demo one >log
./oras push --oci-layout from:two --artifact-type application/x-demo two >>log
./oras manifest index create --oci-layout from:both one two >>log
./oras cp --from-oci-layout from:both --to-oci-layout to:v1 >>log

seen=$(python3 - <<'PY'
import json
entries = json.load(open("to/index.json"))["manifests"]
for entry in sorted(entries, key=lambda entry: entry["mediaType"]):
    name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "no name")
    print(entry["mediaType"].removeprefix("application/vnd.oci.image."), name)
PY
)
echo "$seen"
[ "$seen" = "index.v1+json v1
manifest.v1+json no name
manifest.v1+json no name" ] || { echo "this has changed" >&2; exit 1; }
