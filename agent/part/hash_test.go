package part

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"runtime"
	"testing"
)

// dumbHash is Hash as its comment has it, one value after another.
func dumbHash(state []float32) string {
	root := binary.LittleEndian.AppendUint64([]byte{1}, uint64(len(state)))
	for len(state) > 0 {
		leaf := []byte{0}
		for i := 0; i < 32768 && len(state) > 0; i++ {
			leaf = binary.LittleEndian.AppendUint32(leaf, math.Float32bits(state[0]))
			state = state[1:]
		}
		sum := sha256.Sum256(leaf)
		root = append(root, sum[:]...)
	}
	sum := sha256.Sum256(root)
	return hex.EncodeToString(sum[:])
}

func TestHashIsTheTreeOfItsComment(t *testing.T) {
	for _, n := range []int{0, 1, leafLen - 1, leafLen, leafLen + 1, 3*leafLen + 7} {
		state := make([]float32, n)
		for i := range state {
			state[i] = float32(i)*1.25 - 3
		}
		if got, want := Hash(state), dumbHash(state); got != want {
			t.Errorf("%d values: %s, want %s", n, got, want)
		}
		if n > 0 {
			before := Hash(state)
			state[n-1] = math.Float32frombits(math.Float32bits(state[n-1]) ^ 1)
			if Hash(state) == before {
				t.Errorf("%d values: the last bit makes no difference", n)
			}
		}
	}
}

// The number of cores that share the work changes nothing, nor what a leaf of one state is in another.
func TestHashDependsOnValuesAlone(t *testing.T) {
	state := make([]float32, 5*leafLen+1)
	for i := range state {
		state[i] = float32(i % 977)
	}
	was := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(was)
	one := Hash(state)
	runtime.GOMAXPROCS(8)
	if many := Hash(state); many != one {
		t.Errorf("one core %s, eight %s", one, many)
	}
	root := append([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{0}, sha256.Size)...)
	if fmt.Sprintf("%x", sha256.Sum256(root)) == Hash(make([]float32, 1)) {
		t.Error("a leaf of zeros and a state of a zero have one hash")
	}
}
