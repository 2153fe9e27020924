package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// common are the flags of every target. Nothing of -ffast-math is among them but what leaves NaN and infinities alone.
var common = []string{
	"-O3", "-std=gnu2x", "-Wall", "-Werror", "-ffreestanding", "-fno-builtin", "-ffp-contract=off", "-fno-math-errno",
	"-fno-trapping-math", "-fno-jump-tables", "-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-fomit-frame-pointer",
	"-fno-pic", "-ffunction-sections", "-fstack-usage",
}

// An instruction is its bytes and what the disassembler says of them.
type instruction struct {
	bytes []byte
	text  string
}

// A function is the machine code of one kernel.
type function struct {
	name  string
	stack int // bytes that it may write below the address at which it is entered
	code  []instruction
}

// compile gives the functions of a C file.
func compile(t target, source string) ([]function, error) {
	dir, err := os.MkdirTemp("", "gen")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	object := filepath.Join(dir, "out.o")
	args := append(append([]string{"-c", source, "-o", object}, common...), t.flags...)
	if out, err := exec.Command("clang-19", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("run clang-19: %w\n%s", err, out)
	}
	if err := closed(object); err != nil {
		return nil, err
	}
	usage, err := os.ReadFile(filepath.Join(dir, "out.su"))
	if err != nil {
		return nil, err
	}
	listing, err := exec.Command("llvm-objdump-19", "-d", object).Output()
	if err != nil {
		return nil, fmt.Errorf("run llvm-objdump-19: %w", err)
	}
	functions, err := disassembled(t, string(listing))
	for i := range functions {
		f := &functions[i]
		size := regexp.MustCompile(`:` + f.name + `\t(\d+)\tstatic`).FindSubmatch(usage)
		if size == nil {
			return nil, fmt.Errorf("read the stack of %s: not static in %q", f.name, usage)
		}
		f.stack, _ = strconv.Atoi(string(size[1]))
	}
	return functions, err
}

// closed checks that an object refers to nothing: there is no linker behind us.
func closed(object string) error {
	file, err := elf.Open(object)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, s := range file.Sections {
		if (s.Type == elf.SHT_RELA || s.Type == elf.SHT_REL) && strings.HasPrefix(s.Name, ".rela.text") {
			return fmt.Errorf("section %s is not empty: code refers to a constant or a function; pass it in the arguments", s.Name)
		}
	}
	return nil
}

var (
	label = regexp.MustCompile(`^[0-9a-f]+ <(\w+)>:$`)
	line  = regexp.MustCompile(`^ *([0-9a-f]+): ([0-9a-f ]+)\t(.*)$`)
)

// disassembled reads a listing into functions.
func disassembled(t target, listing string) (functions []function, err error) {
	next := uint64(0) // where the next instruction must be, so that none is missed
	for row := range strings.SplitSeq(listing, "\n") {
		if m := label.FindStringSubmatch(row); m != nil {
			functions, next = append(functions, function{name: m[1]}), 0
			continue
		}
		m := line.FindStringSubmatch(row)
		if m == nil {
			continue
		}
		if len(functions) == 0 {
			return nil, fmt.Errorf("read listing: code before a name: %q", row)
		}
		f := &functions[len(functions)-1]
		code, err := machine(t, m[2])
		if err != nil {
			return nil, fmt.Errorf("read listing of %s: %w", f.name, err)
		}
		if at, err := strconv.ParseUint(m[1], 16, 64); err != nil || at != next {
			return nil, fmt.Errorf("read listing of %s: %q is not at %#x", f.name, row, next)
		}
		next += uint64(len(code))
		text, _, _ := strings.Cut(m[3], " #")
		text, _, _ = strings.Cut(text, "//")
		fields := strings.Fields(text)
		f.code = append(f.code, instruction{code, strings.Join(fields, " ")})
		if first := fields[0]; strings.HasPrefix(first, "call") || first == "bl" || first == "blr" {
			return nil, fmt.Errorf("read listing of %s: %q calls", f.name, text)
		}
	}
	return functions, nil
}

// machine are the bytes of an instruction; arm64's are listed as one word, most significant digits first.
func machine(t target, digits string) ([]byte, error) {
	var code []byte
	for field := range strings.FieldsSeq(digits) {
		v, err := strconv.ParseUint(field, 16, 32)
		if err != nil || (t.arch == "arm64") != (len(field) == 8) {
			return nil, fmt.Errorf("read bytes %q: %v", digits, err)
		}
		for range len(field) / 2 {
			code = append(code, byte(v))
			v >>= 8
		}
	}
	return code, nil
}

// assembly is the Go assembly of an instruction set. A function moves to the aligned top of its frame, where the body has
// the stack that C expects; the body is bytes. An instruction behind it that is never run writes the stack pointer, which
// tells Go's unwinder (for profiles, the only one that may look) that it cannot follow it there.
func assembly(t target, functions []function) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, header, t.arch+" && !purego")
	out.WriteString("#include \"funcdata.h\"\n#include \"textflag.h\"\n")
	for _, f := range functions {
		const margin = 256 // the return address, alignment to 64 bytes, Go's own words, and some
		frame := (f.stack + margin) &^ 15
		enter, leave := "\tMOVQ args+0(FP), DI\n\tMOVQ SP, R12\n\tLEAQ %d(SP), SP\n\tANDQ $~63, SP\n\tCALL %s<>(SB)\n", "\tMOVQ R12, SP\n\tRET\n"
		if t.arch == "arm64" {
			enter, leave = "\tMOVD args+0(FP), R0\n\tMOVD RSP, R19\n\tADD $%d, R19, R20\n\tMOVD R20, RSP\n\tCALL %s<>(SB)\n", "\tMOVD R19, RSP\n\tRET\n"
		}
		end := leave // never reached: go vet wants one
		if flushes(t, f.name) {
			enter = flushOn(frame) + enter
			leave = strings.Replace(leave, "\tRET\n", fmt.Sprintf("\tLDMXCSR %d(SP)\n\tRET\n", frame-8), 1)
		}
		body := f.name + t.upper + "body"
		fmt.Fprintf(&out, "\nTEXT ·%s%s(SB), 0, $%d-8\n\tNO_LOCAL_POINTERS\n", f.name, t.upper, frame)
		fmt.Fprintf(&out, enter, frame&^63-64, body)
		fmt.Fprintf(&out, "%s\nTEXT %s<>(SB), NOSPLIT|NOFRAME, $0-0\n", leave, body)
		for _, i := range f.code {
			fmt.Fprintf(&out, "\t%s // %s\n", directives(t, i.bytes), i.text)
		}
		out.WriteString(end)
	}
	return out.Bytes()
}

// exact are the kernels that averaging rests on: they promise the bits of the loops in Go, subnormal numbers included.
var exact = []string{"sum", "axpy", "scale", "weigh", "maxAbs", "sumSquares", "reduce", "encodeHalf", "decodeHalf", "encodeInt8", "decodeInt8"}

// flushes says whether a function takes subnormal numbers as zero. Gradients that vanish are subnormal, and Intel's cores
// are slow with those: at 32×32 they made a step of one image last more than twice as long.
func flushes(t target, name string) bool { return t.arch == "amd64" && !slices.Contains(exact, name) }

// flushOn keeps MXCSR at the end of the frame, above what the function uses, and sets flush-to-zero and denormals-are-zero
// (Intel SDM volume 1, 10.2.3). The caller puts it back: nothing else runs on the thread meanwhile.
func flushOn(frame int) string {
	return fmt.Sprintf("\tSTMXCSR %d(SP)\n\tMOVL %d(SP), AX\n\tORL $0x8040, AX\n\tMOVL AX, %d(SP)\n\tLDMXCSR %d(SP)\n",
		frame-8, frame-8, frame-16, frame-16)
}

// directives says bytes in the fewest words: on amd64 QUAD is 8, LONG 4 and WORD 2 bytes, on arm64 WORD is 4.
func directives(t target, code []byte) string {
	sizes, names := []int{8, 4, 2, 1}, []string{"QUAD", "LONG", "WORD", "BYTE"}
	if t.arch == "arm64" {
		sizes, names = []int{4}, []string{"WORD"}
	}
	var parts []string
	for i, size := range sizes {
		for len(code) >= size {
			var digits string
			for _, b := range code[:size] {
				digits = fmt.Sprintf("%02x", b) + digits
			}
			parts = append(parts, names[i]+" $0x"+digits)
			code = code[size:]
		}
	}
	return strings.Join(parts, "; ")
}
