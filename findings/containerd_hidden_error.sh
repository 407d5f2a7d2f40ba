#!/usr/bin/env bash
# containerd's resolver (core/remotes/docker, v2.4.2): whose error is told when a mirror and the registry both fail.
#
# It asks the hosts of a registry in turn, and an answer counts for more than a connection that fails, in whatever order they
# come. So when a mirror does not have a tag (404), as mirrors do, and nobody can reach the registry itself, the error of the
# pull is "not found", and says nothing of the network. Without the mirror it is "connection refused". The failed connection
# is in containerd's log only. Where a mirror is set up, "not found" is no proof that the image does not exist.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOMODCACHE=$work/mod GOFLAGS=-modcacherw
cd "$work"

cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

func main() {
	lacks := strings.TrimPrefix(httptest.NewServer(http.NotFoundHandler()).URL, "http://")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	unreachable := listener.Addr().String()
	listener.Close()
	for _, hosts := range [][]string{{lacks, unreachable}, {unreachable, lacks}, {lacks}, {unreachable}} {
		resolver := docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) {
			var found []docker.RegistryHost
			for _, host := range hosts {
				found = append(found, docker.RegistryHost{
					Client: http.DefaultClient, Host: host, Scheme: "http", Path: "/v2",
					Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
				})
			}
			return found, nil
		}})
		_, _, err := resolver.Resolve(context.Background(), "registry.example/demo/app:v1")
		told := strings.NewReplacer(lacks, "LACKS", unreachable, "UNREACHABLE").Replace(fmt.Sprint(err))
		names := strings.NewReplacer(lacks, "lacks", unreachable, "unreachable").Replace(strings.Join(hosts, ", "))
		switch {
		case strings.HasSuffix(told, ": not found"):
			told = "not found"
		case strings.HasSuffix(told, "connection refused"):
			told = "connection refused"
		}
		fmt.Printf("%s: %s\n", names, told)
	}
}
GO
go mod init finding >"$work/log" 2>&1
go get github.com/containerd/containerd/v2@v2.4.2 >>"$work/log" 2>&1
go mod tidy >>"$work/log" 2>&1
seen=$(go run . 2>/dev/null)
echo "$seen"
[ "$seen" = "lacks, unreachable: not found
unreachable, lacks: not found
lacks: not found
unreachable: connection refused" ] || { echo "this has changed" >&2; exit 1; }
