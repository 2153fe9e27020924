package graph

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// huge asks for large pages behind memory that is used again and again: a step walks through all of it, and with pages of
// 4 KB most of its misses are the address translation's. Where the kernel does not want to, nothing changes.
func huge(memory []float32) {
	if len(memory) < 1<<20 {
		return
	}
	page := uintptr(unix.Getpagesize())
	first := uintptr(unsafe.Pointer(&memory[0]))
	skip := (page - first%page) % page / 4
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(&memory[skip])), 4*(len(memory)-int(skip))), unix.MADV_HUGEPAGE)
}
