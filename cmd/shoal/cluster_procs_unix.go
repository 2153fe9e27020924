//go:build unix && !linux

package main

import "syscall"

// childAttributes put a child in a group of its own. Only Linux can also tie its life to its parent's.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
