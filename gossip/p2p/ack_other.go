//go:build !linux

package p2p

import (
	"errors"
	"syscall"
	"time"
)

// boundAck is for Linux.
func boundAck(syscall.RawConn, time.Duration) error { return errors.ErrUnsupported }
