package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTime is how long this process has kept CPUs busy.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakRSS is the most memory in bytes that this process has had. Linux tells it of this program alone; getrusage's number
// begins with that of the process that started it.
func peakRSS() int64 {
	if text, ok := procField("/proc/self/status", "VmHWM"); ok {
		if kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 64); err == nil {
			return kb << 10
		}
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) << 10
}

// procField is what stands behind "name:" in a file of /proc.
func procField(path, name string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// machine is what a measurement was made on.
type machine struct {
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus"`
	Platform string `json:"platform"`
}

// thisMachine asks the system what it is: boards such as the Raspberry Pi have a model, others a processor.
func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if text, err := os.ReadFile("/proc/device-tree/model"); err == nil {
		m.CPU = strings.TrimRight(string(text), "\x00\n")
	} else if text, ok := procField("/proc/cpuinfo", "model name"); ok {
		m.CPU = text
	}
	return m
}

// String is the machine in a few words.
func (m machine) String() string {
	name := m.CPU
	if name == "" {
		name = m.Platform
	}
	return fmt.Sprintf("%s with %d CPUs", name, m.CPUs)
}
