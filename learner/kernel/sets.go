package kernel

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/cpu"
)

//go:generate go run ./gen

// set is an instruction set; its methods, which are generated, run the vector code of a kernel.
type set uint32

const (
	generic set = iota // the loops in Go
	avx2               // with FMA and F16C
	avx512             // F, VL, DQ and BW
	neon
)

const noVectors = "kernel: this build or this instruction set has no vector code"

var setNames = [...]string{generic: "generic", avx2: "avx2", avx512: "avx512", neon: "neon"}

func (s set) String() string { return setNames[s] }

// available are the sets that this build has and this CPU runs, the fastest first; the last is generic.
var available = detect()

func detect() []set {
	var found []set
	x86 := &cpu.X86
	switch {
	case !assembled:
	case runtime.GOARCH == "arm64": // which has NEON always
		found = append(found, neon)
	case x86.HasAVX2 && x86.HasFMA && x86.HasF16C:
		if x86.HasAVX512F && x86.HasAVX512VL && x86.HasAVX512DQ && x86.HasAVX512BW {
			found = append(found, avx512)
		}
		found = append(found, avx2)
	}
	return append(found, generic)
}

// chosen is one more than the set that Choose was asked for, or 0.
var chosen atomic.Uint32

// active is the set in use.
func active() set {
	if c := chosen.Load(); c > 0 {
		return set(c - 1)
	}
	return available[0]
}

// Sets names the instruction sets that this build has code for and this CPU runs, the fastest, which is the default,
// first: "avx512", "avx2" or "neon", and always "generic".
func Sets() []string {
	var names []string
	for _, s := range available {
		names = append(names, s.String())
	}
	return names
}

// Choose makes the whole process use an instruction set, the best if name is empty. Results differ between sets within
// rounding, so choose before anything is computed. The error says which sets there are.
func Choose(name string) error {
	if name == "" {
		chosen.Store(0)
		return nil
	}
	i := slices.IndexFunc(available, func(s set) bool { return s.String() == name })
	if i < 0 {
		return fmt.Errorf("choose instruction set %q: not on this machine; it has %s", name, strings.Join(Sets(), ", "))
	}
	chosen.Store(uint32(available[i]) + 1)
	return nil
}

// Chosen is the name of the instruction set in use.
func Chosen() string { return active().String() }

// Lanes is how many floats a vector of the set in use has.
func Lanes() int { return active().lanes() }

func (s set) lanes() int { return [...]int{generic: 1, avx2: 8, avx512: 16, neon: 4}[s] }
