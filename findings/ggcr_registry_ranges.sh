#!/usr/bin/env bash
# go-containerregistry's registry (`crane registry serve` is the same), v0.22.1: ranges of a blob.
#
# "From byte 100 on" and "the last ten bytes" (RFC 9110 section 14.1.2) are refused with 416, though the blob has them; the
# same bytes with both ends named are given. So a client that resumes a broken download as most do, by "bytes=N-", cannot;
# it has to name the last byte, which a manifest tells. And a range whose last byte comes before its first, which is no valid
# range and has to be ignored (section 14.1.1), is answered with 206.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

GOBIN=$work GOMODCACHE=$work/mod GOFLAGS=-modcacherw go install github.com/google/go-containerregistry/cmd/registry@v0.22.1
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/registry" -port "$port" >"$work/log" 2>&1 &
server=$!
url=http://127.0.0.1:$port/v2
for _ in $(seq 100); do curl -fs "$url/" >/dev/null && break; sleep 0.1; done

head -c 1000 /dev/zero >"$work/blob"
digest=sha256:$(sha256sum "$work/blob" | cut -d' ' -f1)
location=$(curl -fsi -X POST "$url/demo/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
case $location in /*) location=http://127.0.0.1:$port$location ;; esac
curl -fs -o "$work/pushed" -X PUT --data-binary "@$work/blob" "$location?digest=$digest"

status() { curl -s -o "$work/body" -w '%{http_code}' -H "Range: $1" "$url/demo/blobs/$digest"; }
seen=$(for range in bytes=100- bytes=-10 bytes=100-999 bytes=5-2; do echo "$range $(status "$range") $(wc -c <"$work/body")"; done |
  sed 's/ 416 .*/ 416/')
echo "$seen"
[ "$seen" = "bytes=100- 416
bytes=-10 416
bytes=100-999 206 900
bytes=5-2 206 995" ] || { echo "this has changed" >&2; exit 1; }
