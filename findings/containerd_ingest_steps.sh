#!/usr/bin/env bash
# containerd's content store (core/content, plugins/content/local, v2.4.2): how far an ingest is while it grows.
#
# What copies a download into the store fills a buffer of 1 MiB before each write. So the offset that the store tells of an
# ingest, and the file below it, grow in steps of 1 MiB: they stay at 0 while most of the first MiB has been received. Three
# layers that share a link of 25 Mbit/s show nothing in their first second; who waits for progress there has to wait longer
# than that. When the download breaks off, the part of a step that has come is written after all, and nothing is lost.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOMODCACHE=$work/mod GOFLAGS=-modcacherw
cd "$work"

cat >main.go <<'GO'
package main

import (
	"context"
	_ "crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
)

const piece = 64 << 10

func main() {
	ctx := context.Background()
	store, err := local.NewStore(os.Args[1])
	check(err)
	writer, err := store.Writer(ctx, content.WithRef("layer"))
	check(err)
	download, server := io.Pipe() // whoever writes to it waits until the other end has read
	copied := make(chan error)
	go func() { copied <- content.Copy(ctx, writer, download, 4<<20, "") }()
	for sent := 0; sent < 1600; {
		_, err := server.Write(make([]byte, piece))
		check(err)
		sent += piece >> 10
		switch sent {
		case 256, 960, 1088, 1600:
			tell(ctx, store, fmt.Sprintf("%d KiB received", sent))
		}
	}
	server.CloseWithError(errors.New("broken off"))
	fmt.Println("the copy ends:", (<-copied).Error() != "")
	tell(ctx, store, "broken off")
}

func tell(ctx context.Context, store content.Store, when string) {
	status, err := store.Status(ctx, "layer")
	check(err)
	fmt.Printf("%s: offset %d KiB\n", when, status.Offset>>10)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
GO
go mod init finding >"$work/log" 2>&1
go get github.com/containerd/containerd/v2@v2.4.2 >>"$work/log" 2>&1
go mod tidy >>"$work/log" 2>&1
seen=$(go run . "$work/store" 2>>"$work/log") || cat "$work/log" >&2
echo "$seen"
[ "$seen" = "256 KiB received: offset 0 KiB
960 KiB received: offset 0 KiB
1088 KiB received: offset 1024 KiB
1600 KiB received: offset 1024 KiB
the copy ends: true
broken off: offset 1600 KiB" ] || { echo "this has changed" >&2; exit 1; }
