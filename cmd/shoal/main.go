// Command shoal turns a pile of small machines into a cluster that trains a neural network with no master.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code. The first SIGINT or SIGTERM cancels the command's context, so
// that it can leave in order; the second ends the program at once.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go obey(signals, done, cancel)
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	return finish(ctx, stderr, execute(ctx, root))
}

// obey cancels on the first signal and exits on the second, until done.
func obey(signals <-chan os.Signal, done <-chan struct{}, cancel context.CancelCauseFunc) {
	select {
	case s := <-signals:
		cancel(signalError{s})
	case <-done:
		return
	}
	select {
	case s := <-signals:
		os.Exit(signalError{s}.code())
	case <-done:
	}
}
