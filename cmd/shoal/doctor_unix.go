//go:build unix && !linux

package main

// clockSynchronized does not know: only Linux tells.
func clockSynchronized() (synchronized, known bool) { return false, false }
