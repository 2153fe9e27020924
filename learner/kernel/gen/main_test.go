package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckedIn compiles the C and compares it with the assembly that is checked in.
func TestCheckedIn(t *testing.T) {
	for _, tool := range []string{"clang-19", "llvm-objdump-19"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: only who changes the C needs it", err)
		}
	}
	dir := t.TempDir()
	if err := run("..", dir); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadDir(dir)
	if err != nil || len(written) != 6 {
		t.Fatalf("%d files written (%v), want 6", len(written), err)
	}
	for _, f := range written {
		fresh, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if old, err := os.ReadFile(filepath.Join("..", f.Name())); err != nil || !bytes.Equal(old, fresh) {
			t.Errorf("%s is not what csrc gives (%v); run go generate ./learner/kernel", f.Name(), err)
		}
	}
}

func TestDirectives(t *testing.T) {
	amd64, arm64 := targets[0], targets[2]
	for _, c := range []struct {
		t    target
		code []byte
		want string
	}{
		{amd64, []byte{0xc3}, "BYTE $0xc3"},
		{amd64, []byte{1, 2, 3, 4, 5, 6, 7}, "LONG $0x04030201; WORD $0x0605; BYTE $0x07"},
		{amd64, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, "QUAD $0x0807060504030201; BYTE $0x09"},
		{arm64, []byte{0xc0, 0x03, 0x5f, 0xd6}, "WORD $0xd65f03c0"},
	} {
		if got := directives(c.t, c.code); got != c.want {
			t.Errorf("directives(%s, %x) = %q, want %q", c.t.arch, c.code, got, c.want)
		}
	}
}

func TestDisassembled(t *testing.T) {
	amd64, arm64 := targets[0], targets[2]
	functions, err := disassembled(amd64, "\n0000000000000000 <sum>:\n       0: 55                           \tpushq\t%rbp\n"+
		"       1: 66 66 2e 0f 1f 84 00 00 00 00 00\tnopw\t%cs:(%rax,%rax)\n       c: c3                           \tretq # done\n")
	if err != nil || len(functions) != 1 || functions[0].name != "sum" || len(functions[0].code) != 3 {
		t.Fatalf("%+v, %v; want 3 instructions of sum", functions, err)
	}
	if last := functions[0].code[2]; last.text != "retq" || len(functions[0].code[1].bytes) != 11 {
		t.Errorf("last %+v, second %+v", last, functions[0].code[1])
	}
	functions, err = disassembled(arm64, "0000000000000000 <add>:\n       0: d65f03c0     \tret\n")
	if err != nil || !bytes.Equal(functions[0].code[0].bytes, []byte{0xc0, 0x03, 0x5f, 0xd6}) {
		t.Errorf("%+v, %v", functions, err)
	}
	for name, listing := range map[string]string{
		"before a name": "       0: c3 \tretq\n",
		"is not at":     "0 <sum>:\n       1: c3 \tretq\n",
		"calls":         "0 <sum>:\n       0: e8 00 00 00 00 \tcallq\t0x5\n",
		"read bytes":    "0 <sum>:\n       0: d65f03c0 \tret\n",
	} {
		if _, err := disassembled(amd64, listing); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v; want an error with %q", err, name)
		}
	}
}
