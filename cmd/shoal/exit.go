package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Exit codes, the same for every command.
const (
	exitOK      = 0
	exitFailure = 1 // anything without a code of its own
	exitUsage   = 2 // unknown command or flag, wrong number of arguments
	exitConfig  = 3 // a configuration that cannot be read or cannot be
	exitData    = 4 // a data set or download that is missing or damaged
	exitRefused = 5 // the cluster cannot be joined or refuses this agent
	exitBusy    = 6 // a port or the state directory is in use
	exitNoSpace = 7 // no space left where something had to be written
	exitAbsent  = 8 // no agent answers, or one of another version
	exitSignal  = 128
	// Stopped by a signal: exitSignal plus its number, 130 for SIGINT and 143 for SIGTERM.
)

// exitCodesHelp is what the root's help says of them.
const exitCodesHelp = `Exit codes:
  0  done                              4  bad or missing data
  1  failure                           5  cannot join, or refused by the cluster
  2  wrong command, flag or argument   6  port or state directory in use
  3  bad configuration                 7  no space left
                                       8  no agent answers, or one of another version
  130, 143  stopped by SIGINT, SIGTERM; an agent that then left in good order exits with 0`

// exitError is an error with the exit code that it ends the program with.
type exitError struct {
	code int
	err  error
}

// Error is the text of the error alone.
func (e exitError) Error() string { return e.err.Error() }

// Unwrap gives the error that the code was put to.
func (e exitError) Unwrap() error { return e.err }

// fail puts an exit code to err; nil stays nil.
func fail(code int, err error) error {
	if err == nil {
		return nil
	}
	return exitError{code, err}
}

// signalError is why a context is cancelled when a signal came.
type signalError struct{ signal os.Signal }

// Error names the signal.
func (e signalError) Error() string { return fmt.Sprintf("stopped by signal: %v", e.signal) }

// code is the exit code of a program that the signal ended.
func (e signalError) code() int {
	if n, ok := e.signal.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return exitFailure
}

// codeOf is the exit code of an error: the one that was put to it, or that of what it wraps.
func codeOf(err error) int {
	var coded exitError
	var stopped signalError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitNoSpace
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &stopped):
		return stopped.code()
	case errors.Is(err, syscall.EADDRINUSE):
		return exitBusy
	}
	return exitFailure
}

// finish tells stderr of err, once, and returns the exit code. An error that only says that the context was cancelled is
// told as the signal that did it.
func finish(ctx context.Context, stderr io.Writer, err error) int {
	var stopped signalError
	if errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &stopped) {
		err = stopped
	}
	code := codeOf(err)
	switch {
	case code == exitNoSpace:
		fmt.Fprintf(stderr, "shoal: %v; free some space, then start this again\n", err)
	case err != nil:
		fmt.Fprintf(stderr, "shoal: %v\n", err)
	}
	return code
}
