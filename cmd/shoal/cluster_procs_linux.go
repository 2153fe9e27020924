package main

import "syscall"

// childAttributes put a child in a group of its own and let the kernel kill it when its parent dies, however it dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
