package part

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"unsafe"
)

// leafLen is how many values one leaf of a state's hash is of. It is a part of the hash's definition.
const leafLen = pieceLen

// Prefixes tell leaves from the root, so that no state hashes to what another one's leaves hash to (RFC 6962 §2.1).
const (
	leafPrefix = 0
	rootPrefix = 1
)

// Hash names a state, the same on every machine whatever its cores: the root of a tree of two levels, in hexadecimal. A
// leaf is the SHA-256 of a zero byte and 32768 values as little-endian bytes, the last leaf of those that are left; the
// root is that of a byte one, the number of values as eight little-endian bytes, and the leaves in order. Leaves are hashed
// side by side, since cores without instructions for SHA-256 take 9 ns a byte (a Raspberry Pi 4, assumed). A worked
// example: no values have no leaf, and hash to SHA-256(01 00 00 00 00 00 00 00 00).
func Hash(state []float32) string {
	leaves := make([][sha256.Size]byte, ceilDiv(len(state), leafLen))
	spread(len(state), func(k, lo, hi int) {
		h := sha256.New()
		h.Write([]byte{leafPrefix})
		h.Write(Bytes(state[lo:hi]))
		h.Sum(leaves[k][:0])
	})
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
