package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fileOp is one thing that a process did to a directory's files, in the order in which it was done.
type fileOp struct {
	kind   string // create | write | truncate | sync | rename | remove | syncdir
	name   string // within the directory
	to     string // of a rename
	file   int    // names the file, whatever its name is by now: create, write, truncate, sync
	offset int64  // of a write; the length of a truncate
	data   []byte // of a write
}

func (o fileOp) String() string {
	return fmt.Sprintf("%s %s%s file %d at %d, %d bytes", o.kind, o.name, o.to, o.file, o.offset, len(o.data))
}

// fileTrace follows the system calls of a process and all its threads, as ptrace(2) shows them.
type fileTrace struct {
	dir     string
	ops     []fileOp
	open    map[int]*openFile // by descriptor
	names   map[string]int    // file by name
	sizes   []int64           // by file
	entered map[int]syscall.PtraceRegs
	memory  *os.File
}

// openFile is a descriptor on the directory (file -1) or one of its files.
type openFile struct {
	name   string
	file   int
	at     int64
	append bool
}

// traceFiles runs cmd to its end and returns what it did to dir. It skips the test where tracing is not allowed.
func traceFiles(t *testing.T, cmd *exec.Cmd, dir string) []fileOp {
	t.Helper()
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Skipf("no process can be traced here: %v", err)
	}
	pid := cmd.Process.Pid
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	f := &fileTrace{dir: dir, open: map[int]*openFile{}, names: map[string]int{}, entered: map[int]syscall.PtraceRegs{}, memory: memory}
	status, err := f.follow(pid)
	_ = cmd.Process.Release() // it was waited for
	if err != nil || status.ExitStatus() != 0 {
		t.Fatalf("trace: status %d: %v", status.ExitStatus(), err)
	}
	return f.ops
}

// follow lets the process run from one system call to the next, until it ends.
func (f *fileTrace) follow(pid int) (status syscall.WaitStatus, err error) {
	// The first stop is that of the exec. Only children of this thread are waited for: others belong to other tests.
	const mine = unix.WALL | unix.WNOTHREAD
	if _, err = syscall.Wait4(pid, &status, mine, nil); err != nil {
		return status, err
	}
	if err = syscall.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		return status, err
	}
	for thread, signal := pid, 0; ; {
		if err := syscall.PtraceSyscall(thread, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return status, err
		}
		if thread, err = syscall.Wait4(-1, &status, mine, nil); err != nil {
			return status, err
		}
		signal = 0
		for status.Exited() || status.Signaled() {
			if thread == pid {
				return status, nil
			}
			if thread, err = syscall.Wait4(-1, &status, mine, nil); err != nil {
				return status, err
			}
		}
		switch s := status.StopSignal(); {
		case s == syscall.SIGTRAP|0x80:
			f.stopped(thread)
		case s == syscall.SIGTRAP || s == syscall.SIGSTOP: // a new thread, at its parent or at itself
		default:
			signal = int(s)
		}
	}
}

// stopped takes a thread's system call, at its entry and at its exit.
func (f *fileTrace) stopped(thread int) {
	var regs syscall.PtraceRegs
	if syscall.PtraceGetRegs(thread, &regs) != nil {
		return // it was killed
	}
	entry, inside := f.entered[thread]
	if !inside {
		if regs.Orig_rax == unix.SYS_CLOSE { // before another thread is given the same number
			delete(f.open, int(regs.Rdi))
		}
		f.entered[thread] = regs
		return
	}
	delete(f.entered, thread)
	if result := int64(regs.Rax); result >= 0 {
		f.done(entry, result)
	}
}

// done takes a system call that succeeded.
func (f *fileTrace) done(r syscall.PtraceRegs, result int64) {
	switch r.Orig_rax {
	case unix.SYS_OPENAT:
		f.opened(f.text(r.Rsi), int(r.Rdx), int(result))
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		o := f.open[int(r.Rdi)]
		if o == nil || o.file < 0 {
			return
		}
		at := o.at
		if o.append {
			at = f.sizes[o.file]
		}
		if r.Orig_rax == unix.SYS_PWRITE64 {
			at = int64(r.R10)
		} else {
			o.at = at + result
		}
		f.sizes[o.file] = max(f.sizes[o.file], at+result)
		f.ops = append(f.ops, fileOp{kind: "write", name: o.name, file: o.file, offset: at, data: f.bytes(r.Rsi, int(result))})
	case unix.SYS_FTRUNCATE:
		if o := f.open[int(r.Rdi)]; o != nil && o.file >= 0 {
			f.sizes[o.file] = int64(r.Rsi)
			f.ops = append(f.ops, fileOp{kind: "truncate", name: o.name, file: o.file, offset: int64(r.Rsi)})
		}
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		if o := f.open[int(r.Rdi)]; o != nil && o.file < 0 {
			f.ops = append(f.ops, fileOp{kind: "syncdir"})
		} else if o != nil {
			f.ops = append(f.ops, fileOp{kind: "sync", name: o.name, file: o.file})
		}
	case unix.SYS_RENAME:
		f.renamed(f.text(r.Rdi), f.text(r.Rsi))
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		f.renamed(f.text(r.Rsi), f.text(r.R10))
	case unix.SYS_UNLINK:
		f.removed(f.text(r.Rdi))
	case unix.SYS_UNLINKAT:
		f.removed(f.text(r.Rsi))
	case unix.SYS_LINK, unix.SYS_LINKAT, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_WRITEV, unix.SYS_PWRITEV:
		for _, o := range []*openFile{f.open[int(r.Rdi)], f.open[int(r.Rdx)]} {
			if o != nil {
				panic(fmt.Sprintf("system call %d touches %s, and nobody taught the trace what it does", r.Orig_rax, o.name))
			}
		}
	}
}

// inside is the name within the directory, "" of the directory itself; ok is false for anything else.
func (f *fileTrace) inside(path string) (name string, ok bool) {
	if path == f.dir {
		return "", true
	}
	return filepath.Base(path), filepath.Dir(path) == f.dir
}

func (f *fileTrace) opened(path string, flags, fd int) {
	delete(f.open, fd)
	name, ok := f.inside(path)
	if !ok {
		return
	}
	if name == "" {
		f.open[fd] = &openFile{file: -1}
		return
	}
	file, known := f.names[name]
	if !known {
		file = len(f.sizes)
		f.names[name] = file
		f.sizes = append(f.sizes, 0)
		f.ops = append(f.ops, fileOp{kind: "create", name: name, file: file})
	}
	if flags&unix.O_TRUNC != 0 && f.sizes[file] > 0 {
		f.sizes[file] = 0
		f.ops = append(f.ops, fileOp{kind: "truncate", name: name, file: file})
	}
	f.open[fd] = &openFile{name: name, file: file, append: flags&unix.O_APPEND != 0}
}

func (f *fileTrace) renamed(from, to string) {
	a, ok := f.inside(from)
	b, also := f.inside(to)
	if ok != also {
		panic(fmt.Sprintf("rename %s to %s: the trace cannot follow a file into the directory, or out of it", from, to))
	}
	if !ok {
		return
	}
	f.names[b] = f.names[a]
	delete(f.names, a)
	f.ops = append(f.ops, fileOp{kind: "rename", name: a, to: b})
}

func (f *fileTrace) removed(path string) {
	if name, ok := f.inside(path); ok && name != "" {
		delete(f.names, name)
		f.ops = append(f.ops, fileOp{kind: "remove", name: name})
	}
}

// bytes reads the process's memory.
func (f *fileTrace) bytes(at uint64, n int) []byte {
	b := make([]byte, n)
	if _, err := f.memory.ReadAt(b, int64(at)); err != nil {
		panic(fmt.Sprintf("read %d bytes of the traced process: %v", n, err))
	}
	return b
}

// text reads a path, which ends in a zero.
func (f *fileTrace) text(at uint64) string {
	var s strings.Builder
	page := uint64(os.Getpagesize())
	for s.Len() < unix.PathMax {
		n := int(page - at%page) // the next page may not be there
		part, _, end := strings.Cut(string(f.bytes(at, n)), "\x00")
		s.WriteString(part)
		if end {
			break
		}
		at += uint64(n)
	}
	return s.String()
}
