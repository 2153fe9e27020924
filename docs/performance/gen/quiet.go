package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A measurement counts when other programs took no more than disturbed of the CPUs' time during it. It is repeated until
// it does, and of attempts that all were disturbed the least is kept; the document says how much each was.
const (
	disturbed = 0.04
	quietLook = 2 * time.Second
	tick      = 10 * time.Millisecond // of /proc/stat, on every Linux that Go runs on
)

// cpuTimes is how long all CPUs together were busy, and there, since the system began. It is an error where there is no
// /proc/stat.
func cpuTimes() (busy, all time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read the CPUs' times: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return readTimes(first)
}

// readTimes reads the line "cpu user nice system idle iowait irq softirq steal …" of /proc/stat, in ticks.
func readTimes(text string) (busy, all time.Duration, err error) {
	words := strings.Fields(text)
	if len(words) < 9 || words[0] != "cpu" {
		return 0, 0, fmt.Errorf("read %q: not the CPUs' times", text)
	}
	for i, word := range words[1:9] { // what follows is part of user and nice
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read %q: %w", text, err)
		}
		all += time.Duration(n) * tick
		if i != 3 && i != 4 {
			busy += time.Duration(n) * tick
		}
	}
	return busy, all, nil
}

// quiet waits until nothing else is at work, or until the deadline.
func quiet(ctx context.Context, deadline time.Time) error {
	for time.Now().Before(deadline) {
		others, err := beside(func() (time.Duration, error) {
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(quietLook):
				return 0, nil
			}
		})
		if err != nil || others <= disturbed {
			return err
		}
	}
	return nil
}

// beside is the share of the CPUs' time that others took while work went on, which says what it took itself.
func beside(work func() (time.Duration, error)) (float64, error) {
	busy, all, err := cpuTimes()
	if err != nil {
		return 0, err
	}
	own, err := work()
	if err != nil {
		return 0, err
	}
	nowBusy, nowAll, err := cpuTimes()
	if err != nil {
		return 0, err
	}
	if nowAll <= all {
		return 0, nil
	}
	return max(0, float64(nowBusy-busy-own)/float64(nowAll-all)), nil
}
