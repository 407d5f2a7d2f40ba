// Does nothing until it is told to end: a node's first process, a pod's, and what test images run.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	fmt.Println("waiting")
	for each := range signals {
		if each != syscall.SIGCHLD {
			os.Exit(0)
		}
		// As the first process of a namespace it inherits those whose parents have ended.
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
