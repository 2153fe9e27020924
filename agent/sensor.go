package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// thermalZones is where Linux tells temperatures, in thousandths of a degree Celsius.
const thermalZones = "/sys/class/thermal/thermal_zone*/temp"

// Temperature is that of the hottest part that the system measures, in degrees Celsius; ok is false where it measures
// none.
func Temperature() (celsius float64, ok bool) { return hottest(thermalZones) }

// hottest reads the files that match pattern. A sensor that fails or tells nonsense does not count.
func hottest(pattern string) (celsius float64, ok bool) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return 0, false
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		milli, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if c := milli / 1000; err == nil && c > -50 && c < 150 && (!ok || c > celsius) {
			celsius, ok = c, true
		}
	}
	return celsius, ok
}

// cpuShare measures how much of the machine's CPUs this process takes.
type cpuShare struct {
	at   time.Time
	busy time.Duration
}

// share is the part of all CPUs' time that the process took since the last call, 0..1; 0 at the first.
func (c *cpuShare) share(now time.Time) float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	busy := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	took, passed := busy-c.busy, now.Sub(c.at)
	first := c.at.IsZero()
	c.at, c.busy = now, busy
	if first || passed <= 0 {
		return 0
	}
	return min(max(float64(took)/float64(passed)/float64(runtime.NumCPU()), 0), 1)
}
