package collective

import (
	"encoding/binary"
	"time"
	"unsafe"
)

// Link carries bytes between ranks: an ordered stream each way between every two. Send and Recv are called at the same
// time, each by one goroutine. Both return an error at the latest at the deadline, and after one the link is of no use.
//
// A link that also has a method Abort() is told to give up when the exchange failed or was cancelled: blocked calls must
// return then, and peers should see their streams break. Without it, Mean waits for the deadline of the segment under way.
type Link interface {
	// Send takes the segment to rank to. It returns when the segment's memory may change.
	Send(to int, segment []byte, deadline time.Time) error
	// Recv fills the segment with the next bytes from rank from.
	Recv(from int, segment []byte, deadline time.Time) error
}

// wireBytes is v's memory, which is its wire format on little-endian machines: 4 bytes per element.
func wireBytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// littleEndian says whether memory has the wire's byte order.
func littleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }
