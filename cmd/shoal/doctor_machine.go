package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"shoal/learner"
	"shoal/learner/kernel"
	"shoal/shards"
)

// needs is what an agent takes, as far as the checks before have found it.
type needs struct {
	classes    int
	dataBytes  int64
	stateBytes int64 // of the parameters, statistics and momentum that are shared
}

const (
	// programBytes is what an agent takes beside its model and its images: Go's heap, streams and membership.
	programBytes = 80 << 20
	// stateCopies is how many times an agent holds its state: parameters, gradients, momentum, the last committed state,
	// one to score, one to average and one to send.
	stateCopies = 7
	// pastYear is a year that has passed: a clock before it was never set.
	pastYear  = 2025
	hot, warm = 80.0, 70.0 // °C: where a Pi slows down, and where it soon will
	fewFiles  = 1024       // open files: a member takes some eight
)

// kernelSet says which kernels train.
func (d *doctor) kernelSet(context.Context) finding {
	if err := kernel.Choose(d.kernels); err != nil {
		return bad("unset "+kernelVariable, "%s=%s: %v", kernelVariable, d.kernels, err)
	}
	set := kernel.Chosen()
	switch {
	case set != "generic":
		return ok("%s on %s", set, thisMachine())
	case d.kernels == "generic":
		return warn("unset "+kernelVariable, "generic, as %s asks", kernelVariable)
	case runtime.GOARCH == "arm":
		return warn("install a 64-bit system and the arm64 program: it trains several times faster", "generic on %s", thisMachine())
	}
	return warn("this CPU has no AVX2 with FMA, or the program was built with -tags purego; it trains several times slower", "generic on %s", thisMachine())
}

// cpus compares the training threads with the machine.
func (d *doctor) cpus(context.Context) finding {
	threads, have := d.cfg.Learner.Threads, runtime.NumCPU()
	switch {
	case threads > have:
		return warn(fmt.Sprintf("set learner.threads to %d or less", have), "%d training threads on %d CPUs", threads, have)
	case threads == have && have > 1:
		return ok("%d training threads on all %d CPUs; one less keeps heartbeats prompt", threads, have)
	case threads == 0:
		return ok("%d, all of them train", have)
	}
	return ok("%d training threads on %d CPUs", threads, have)
}

// dataSet opens the images, as an agent does.
func (d *doctor) dataSet(ctx context.Context) finding {
	began := time.Now()
	set, err := shards.Open(ctx, d.cfg.Data, d.cfg.Learner.Input, d.cfg.Seed)
	if err != nil {
		return bad("put the images there, or name others with --set data.set=PATH; shoal data fetch cifar10 gets CIFAR-10", "%v", err)
	}
	d.need.classes = len(set.Classes)
	d.need.dataBytes = int64(len(set.Train.Pixels) + len(set.Test.Pixels))
	return ok("%s training and %s test images of %d classes, %s, read in %s", thousands(int64(set.Train.N)), thousands(int64(set.Test.N)),
		len(set.Classes), humanBytes(d.need.dataBytes), inSeconds(time.Since(began).Seconds()))
}

// memory compares what the plan takes with what the machine has left.
func (d *doctor) memory(context.Context) finding {
	if d.need.classes == 0 {
		return warn("see the data set", "not checked: the number of classes is not known")
	}
	l, err := learner.New(d.cfg.Learner, d.need.classes, d.cfg.Seed)
	if err != nil {
		return bad("change the model's values", "%v", err)
	}
	defer l.Close()
	d.need.stateBytes = 4 * int64(len(l.Shared(true)))
	arena := l.Plan().ArenaBytes
	need := arena + stateCopies*d.need.stateBytes + d.need.dataBytes + programBytes
	text := fmt.Sprintf("an agent takes about %s: %s for a step, %s for the model, %s for images", humanBytes(need), humanBytes(arena),
		humanBytes(stateCopies*d.need.stateBytes), humanBytes(d.need.dataBytes))
	have := d.memoryLeft()
	switch {
	case have == 0:
		return ok("%s", text)
	case d.running != "" || need <= have*8/10:
		return ok("%s; %s are free", text, humanBytes(have))
	case need <= have:
		return warn("close other programs, or lower learner.batch", "%s; only %s are free", text, humanBytes(have))
	}
	return bad("lower learner.batch, learner.width or data.limit, or use a machine with more memory", "%s; only %s are free", text, humanBytes(have))
}

// memoryLeft is what programs can still get, in bytes: of the machine, or of the control group if that has less. 0 where
// the system does not tell.
func (d *doctor) memoryLeft() int64 {
	var left int64
	if text, ok := procField(filepath.Join(d.root, "proc/meminfo"), "MemAvailable"); ok {
		if kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 64); err == nil {
			left = kb << 10
		}
	}
	limit, err := strconv.ParseInt(d.file("sys/fs/cgroup/memory.max"), 10, 64) // "max": none
	used, errUsed := strconv.ParseInt(d.file("sys/fs/cgroup/memory.current"), 10, 64)
	if err == nil && errUsed == nil && (left == 0 || limit-used < left) {
		left = max(limit-used, 1)
	}
	return left
}

// clock checks that the time was set: journals tell it, and announcements are ordered by it.
func (d *doctor) clock(context.Context) finding {
	now := time.Now()
	switch synchronized, known := clockSynchronized(); {
	case now.Year() < pastYear:
		return bad("set the clock, for instance with: timedatectl set-ntp true", "it says %s, which has long passed", now.Format(time.DateOnly))
	case known && !synchronized:
		return warn("timedatectl set-ntp true; a Pi has no clock of its own, and begins each start in the past", "%s, by no time server", now.Format(time.RFC3339))
	}
	return ok("%s", now.Format(time.RFC3339))
}

// temperature checks what slows a Pi down before anything else.
func (d *doctor) temperature(context.Context) finding {
	hottest, found := math.Inf(-1), false
	zones, _ := filepath.Glob(filepath.Join(d.root, "sys/class/thermal/thermal_zone*/temp")) // fails only on a bad pattern
	for _, zone := range zones {
		relative, err := filepath.Rel(d.root, zone)
		if err != nil {
			continue
		}
		if milli, err := strconv.ParseFloat(d.file(relative), 64); err == nil && milli > -50e3 && milli < 150e3 {
			hottest, found = max(hottest, milli/1000), true
		}
	}
	switch {
	case !found:
		return ok("the system measures none")
	case hottest >= hot:
		return warn("cool the CPU: a heat sink and moving air; from 80 °C on a Pi runs slower", "%.0f °C", hottest)
	case hottest >= warm && d.running == "":
		return warn("it is not even training yet: add a heat sink or a fan", "%.0f °C", hottest)
	}
	return ok("%.0f °C", hottest)
}

// power tells what a Pi's firmware says of its supply, and whether the CPU's governor holds it back.
func (d *doctor) power(context.Context) finding {
	if text := d.file("sys/devices/platform/soc/soc:firmware/get_throttled"); text != "" {
		bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
		if problems := throttling(bits); err == nil && len(problems) > 0 {
			return warn("use the official supply and a short cable; cool the CPU", "the firmware reports: %s", strings.Join(problems, ", "))
		}
	}
	governor := d.file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	switch governor {
	case "powersave":
		return warn("echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor", "the CPU's governor is %s", governor)
	case "":
		return ok("nothing holds the CPU back that the system tells of")
	}
	return ok("the CPU's governor is %s", governor)
}

// throttling is what the bits of a Pi's get_throttled say, those of now before those since the start.
func throttling(bits uint64) []string {
	var list []string
	for _, v := range []struct {
		bit  int
		text string
	}{
		{0, "too little voltage now"},
		{1, "the frequency is capped now"},
		{2, "throttled now"},
		{3, "at the soft temperature limit now"},
		{16, "too little voltage since the start"},
		{17, "the frequency was capped since the start"},
		{18, "throttled since the start"},
		{19, "at the soft temperature limit since the start"},
	} {
		if bits&(1<<v.bit) != 0 {
			list = append(list, v.text)
		}
	}
	return list
}

// openFiles checks how many files and connections a process may have.
func (d *doctor) openFiles(context.Context) finding {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return ok("the system sets no limit")
	}
	if limit.Max < fewFiles { // Go raises the soft limit to the hard one
		return warn("raise it with ulimit -n 4096, or LimitNOFILE=4096 in a systemd unit", "at most %d", limit.Max)
	}
	return ok("at most %d", limit.Max)
}
