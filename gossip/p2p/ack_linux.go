package p2p

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// boundAck lets a TCP connection die when bytes stay unacknowledged for so long (RFC 5482).
func boundAck(raw syscall.RawConn, limit time.Duration) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
	return errors.Join(err, failed)
}
