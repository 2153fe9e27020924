package part

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// leafLen is how many values one leaf of a state's hash is of, 128 KiB: 43 leaves of a MobileNetV2 of half width with its
// momentum, so that four cores share them evenly, and the heads of leaves cost nothing.
const leafLen = 32 << 10

// Prefixes tell leaves from the root, so that no state hashes to what another one's leaves hash to (RFC 6962 §2.1).
const (
	leafPrefix = 0
	rootPrefix = 1
)

// Hash names a state, the same on every machine whatever its cores: the root of a tree of two levels, in hexadecimal. A leaf is the SHA-256
// of a zero byte and 32768 values as little-endian bytes, the last leaf of those that are left; the root is that of a
// byte one, the number of values as eight little-endian bytes, and the leaves in order. Leaves are hashed side by side on
// all cores, since those of a Raspberry Pi 4 have no instructions for SHA-256 and take 9 ns a byte. A worked example: no
// values have no leaf, and hash to SHA-256(01 00 00 00 00 00 00 00 00).
func Hash(state []float32) string {
	leaves := make([][sha256.Size]byte, ceilDiv(len(state), leafLen))
	var next atomic.Int64
	work := func() {
		h := sha256.New()
		for i := int(next.Add(1)) - 1; i < len(leaves); i = int(next.Add(1)) - 1 {
			h.Reset()
			h.Write([]byte{leafPrefix})
			h.Write(Bytes(state[i*leafLen : min((i+1)*leafLen, len(state))]))
			h.Sum(leaves[i][:0])
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(leaves)) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	root := sha256.New()
	root.Write(binary.LittleEndian.AppendUint64([]byte{rootPrefix}, uint64(len(state))))
	for i := range leaves {
		root.Write(leaves[i][:])
	}
	return hex.EncodeToString(root.Sum(nil))
}

// Bytes is the memory of v. Every platform we build for is little-endian.
func Bytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}
