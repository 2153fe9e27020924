package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// tally is how much of each kernel was executed.
type tally map[string]*count

// A tracer adds up an emulator's log: one line for each burst of kernel code that ran, and for each step of a plan that
// began. A burst that is not one of those that the code says is an error, so that nothing is missed or counted twice.
type tracer struct {
	kernels []*routine // in order of address
	step    uint64     // where a step begins
	bursts  map[uint64]*tracedBurst
	steps   []tally // since each step's beginning; what was before the first is dropped
	last    *tracedBurst
}

// tracedBurst is a burst with what it adds to.
type tracedBurst struct {
	burst
	name string
}

// maxTracedSteps bounds what a log may say.
const maxTracedSteps = 1 << 16

func newTracer(kernels []*routine, step uint64) *tracer {
	sorted := slices.Clone(kernels)
	slices.SortFunc(sorted, func(a, b *routine) int {
		if a.at < b.at {
			return -1
		}
		return 1
	})
	return &tracer{kernels: sorted, step: step, bursts: map[uint64]*tracedBurst{}}
}

// read takes a whole log. QEMU writes "Trace 0: 0x7f10c24eba00 [0000000001009331/0000000000255200/00000001/00080201] name"
// before a burst runs, where the second number is its address, and "Stopped execution of TB chain before 0x7f10c24eba00
// [0000000000255200] name" if it then did not.
func (t *tracer) read(log io.Reader) error {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		line := lines.Text()
		_, rest, found := strings.Cut(line, " [")
		if !found {
			continue
		}
		rest, _, _ = strings.Cut(rest, "]")
		stopped := strings.HasPrefix(line, "Stopped ")
		if fields := strings.Split(rest, "/"); !stopped && len(fields) > 1 {
			rest = fields[1]
		}
		pc, err := strconv.ParseUint(rest, 16, 64)
		if err != nil {
			return fmt.Errorf("read the emulator's line %.120q: %w", line, err)
		}
		if err := t.at(pc, stopped); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the emulator's log: %w", err)
	}
	return nil
}

// at is one line.
func (t *tracer) at(pc uint64, stopped bool) error {
	switch {
	case pc == t.step && !stopped:
		if len(t.steps) == maxTracedSteps {
			return fmt.Errorf("read the emulator's log: more than %d steps", maxTracedSteps)
		}
		t.steps, t.last = append(t.steps, tally{}), nil
	case pc == t.step && len(t.steps) > 0:
		t.steps = t.steps[:len(t.steps)-1]
	}
	b := t.burstAt(pc)
	if b == nil {
		return nil
	}
	n := int64(1)
	if stopped {
		n = -1
	} else if t.last != nil && t.last.next != nil && !slices.Contains(t.last.next, pc) {
		return fmt.Errorf("read the emulator's log: %s at %#x after what ends at %#x: it cuts code otherwise", b.name, pc, t.last.end)
	}
	t.last = b
	if stopped {
		t.last = nil
	}
	if len(t.steps) > 0 {
		t.steps[len(t.steps)-1].kernel(b.name).add(b.count, n)
	}
	return nil
}

// burstAt is the burst of a kernel that begins at an address, or nil.
func (t *tracer) burstAt(pc uint64) *tracedBurst {
	if b, known := t.bursts[pc]; known {
		return b
	}
	var b *tracedBurst
	i, exact := slices.BinarySearchFunc(t.kernels, pc, func(r *routine, pc uint64) int {
		switch {
		case r.at < pc:
			return -1
		case r.at > pc:
			return 1
		}
		return 0
	})
	if !exact {
		i--
	}
	if i >= 0 {
		if r := t.kernels[i]; pc%4 == 0 && pc < r.at+4*uint64(len(r.words)) {
			b = &tracedBurst{r.burst(pc), r.name}
		}
	}
	t.bursts[pc] = b
	return b
}

// kernel is the count of a kernel.
func (t tally) kernel(name string) *count {
	if t[name] == nil {
		t[name] = &count{}
	}
	return t[name]
}
