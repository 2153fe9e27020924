package main

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// count is how often instructions of each class were executed. A load or store of two 128-bit registers counts twice in
// its class, one that also spreads what it loads counts as vector arithmetic too, and one that moves its pointer on as
// scalar; Instructions counts each once.
type count struct {
	Instructions int64 `json:"instructions"`
	FMA          int64 `json:"fma"`    // multiply-adds, of four floats or of one
	Vector       int64 `json:"vector"` // all else that the vector units do
	Loads        int64 `json:"loads"`
	Stores       int64 `json:"stores"`
	Scalar       int64 `json:"scalar"` // addresses, loop counters, branches
}

// add adds n times other.
func (c *count) add(other count, n int64) {
	c.Instructions += n * other.Instructions
	c.FMA += n * other.FMA
	c.Vector += n * other.Vector
	c.Loads += n * other.Loads
	c.Stores += n * other.Stores
	c.Scalar += n * other.Scalar
}

var (
	wide      = regexp.MustCompile(`^\w+ q\d+, q\d+`)
	vectorial = regexp.MustCompile(`^(f|movi|[su]cvtf)|\bv\d+\.`)
)

// classOf counts one instruction by its text.
func classOf(text string) count {
	mnemonic, _, _ := strings.Cut(text, " ")
	c, n := count{Instructions: 1}, int64(1)
	if wide.MatchString(text) {
		n = 2
	}
	switch {
	case slices.Contains([]string{"fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub"}, mnemonic):
		c.FMA = 1
	case strings.HasPrefix(mnemonic, "ld"):
		c.Loads = n
		if mnemonic == "ld1r" {
			c.Vector = 1
		}
	case strings.HasPrefix(mnemonic, "st"):
		c.Stores = n
	case vectorial.MatchString(text):
		c.Vector = 1
	default:
		c.Scalar = 1
	}
	if c.Loads+c.Stores > 0 && strings.Contains(text, "],") {
		c.Scalar = 1
	}
	return c
}

// A routine is a kernel's code in a program.
type routine struct {
	name  string
	at    uint64
	words []uint32
	class []count
}

const (
	suffix      = "NEONbody"
	pageBytes   = 4096 // QEMU ends a burst at the end of a page,
	burstLength = 512  // and after so many instructions
)

// readAssembly reads the kernels of the assembly that learner/kernel/gen wrote.
func readAssembly(path string) ([]*routine, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read assembly: %w", err)
	}
	var all []*routine
	inside := false
	for row := range strings.Lines(string(text)) {
		if name, found := strings.CutPrefix(row, "TEXT "); found {
			name, _, inside = strings.Cut(name, suffix+"<>")
			if inside {
				all = append(all, &routine{name: name})
			}
			continue
		}
		word, comment, found := strings.Cut(strings.TrimSpace(row), " // ")
		word, coded := strings.CutPrefix(word, "WORD $0x")
		if !inside || !found || !coded {
			continue
		}
		v, err := strconv.ParseUint(word, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("read assembly %s: %w", path, err)
		}
		r := all[len(all)-1]
		r.words, r.class = append(r.words, uint32(v)), append(r.class, classOf(comment))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read assembly %s: no kernels in it", path)
	}
	return all, nil
}

// locate finds kernels in a program, whose code must be that of the assembly, and where each step of a plan begins.
func locate(program string, kernels []*routine) (step uint64, err error) {
	file, err := elf.Open(program)
	if err != nil {
		return 0, fmt.Errorf("read program: %w", err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return 0, fmt.Errorf("read program %s: %w; build it without -ldflags -s", program, err)
	}
	at := map[string]elf.Symbol{}
	for _, s := range symbols {
		at[s.Name] = s
	}
	for _, r := range kernels {
		code, err := codeOf(file, at[r.name+suffix])
		if err != nil {
			return 0, fmt.Errorf("read kernel %s in %s: %w", r.name, program, err)
		}
		if len(code) < len(r.words) || !slices.Equal(code[:len(r.words)], r.words) {
			return 0, fmt.Errorf("read kernel %s in %s: not the code of the assembly; build it from the same commit", r.name, program)
		}
		r.at = at[r.name+suffix].Value
	}
	const timed = "shoal/learner/graph.(*Program).timed"
	code, err := codeOf(file, at[timed])
	if err != nil {
		return 0, fmt.Errorf("read %s in %s: %w", timed, program, err)
	}
	// What follows the check of the stack is run once a call; the check may be repeated.
	i := slices.IndexFunc(code, func(w uint32) bool { return w>>24 == 0x54 })
	if i < 0 || i > 8 {
		return 0, fmt.Errorf("read %s in %s: no check of the stack at its start", timed, program)
	}
	return at[timed].Value + 4*uint64(i+1), nil
}

// codeOf is the words of a function.
func codeOf(file *elf.File, s elf.Symbol) ([]uint32, error) {
	if s.Size == 0 || s.Size > 1<<20 || int(s.Section) >= len(file.Sections) {
		return nil, fmt.Errorf("no such function")
	}
	section := file.Sections[s.Section]
	raw := make([]byte, s.Size)
	if _, err := section.ReadAt(raw, int64(s.Value-section.Addr)); err != nil {
		return nil, err
	}
	code := make([]uint32, len(raw)/4)
	for i := range code {
		code[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return code, nil
}

// A burst is what the emulator runs at once: instructions up to a branch or the end of a page.
type burst struct {
	count count
	end   uint64   // the address behind it
	next  []uint64 // where control can be afterwards within the kernel; nil if anywhere
}

// burst is the one that begins at an address of the routine.
func (r *routine) burst(from uint64) burst {
	b := burst{end: from}
	for i := int(from-r.at) / 4; i < len(r.words); i++ {
		b.count.add(r.class[i], 1)
		b.end += 4
		if target, conditional, branch := target(r.words[i], b.end-4); branch {
			switch {
			case conditional:
				b.next = []uint64{target, b.end}
			case target != 0:
				b.next = []uint64{target}
			}
			return b
		}
		if b.end%pageBytes == 0 || b.count.Instructions == burstLength {
			b.next = []uint64{b.end}
			return b
		}
	}
	return b
}

// target decodes a branch at an address; it is 0 where a register has it [Arm ARM, C4.1].
func target(word uint32, at uint64) (target uint64, conditional, branch bool) {
	relative := func(low, bits int) uint64 {
		v := int64(word>>low) << (64 - bits) >> (64 - bits)
		return at + uint64(4*v)
	}
	switch {
	case word>>26 == 0b000101: // b
		return relative(0, 26), false, true
	case word>>24 == 0x54: // b.cond
		return relative(5, 19), true, true
	case word>>25&0x3f == 0b011010: // cbz, cbnz
		return relative(5, 19), true, true
	case word>>25&0x3f == 0b011011: // tbz, tbnz
		return relative(5, 14), true, true
	case word>>25 == 0b1101011: // br, blr, ret
		return 0, false, true
	}
	return 0, false, false
}
