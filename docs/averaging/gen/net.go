package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// A segment is a switch with a namespace behind each of its ports, numbered from 1, at 10.77.0.1 and so on. Every port passes
// so many Mbit/s in each direction.
type segment struct{ ports, rate int }

const bridge = "shoal-avg"

func space(i int) string { return fmt.Sprintf("%s-%d", bridge, i) }

func address(i int) string { return fmt.Sprintf("10.77.0.%d", i) }

// sh runs a command line without quotes in it.
func sh(ctx context.Context, format string, args ...any) error {
	words := strings.Fields(fmt.Sprintf(format, args...))
	if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
	}
	return nil
}

// open builds the segment. HTB shapes: tbf would cut large packets up and burn the CPU. cubic is what most systems use; bbr
// paces below the line.
func (s segment) open(ctx context.Context) error {
	err := errors.Join(sh(ctx, "ip link add %s type bridge", bridge), sh(ctx, "ip link set %s up", bridge))
	for i := 1; i <= s.ports && err == nil; i++ {
		port := fmt.Sprintf("shoal-avg%d", i)
		for _, line := range []string{
			"ip netns add " + space(i),
			"ip link add " + port + " type veth peer name eth0 netns " + space(i),
			"ip link set " + port + " master " + bridge + " up",
			"ip -n " + space(i) + " addr add " + address(i) + "/24 dev eth0",
			"ip -n " + space(i) + " link set eth0 up",
			"ip -n " + space(i) + " link set lo up",
			"ip -n " + space(i) + " route change 10.77.0.0/24 dev eth0 congctl cubic",
		} {
			err = errors.Join(err, sh(ctx, "%s", line))
		}
		err = errors.Join(err, s.shape(ctx, "tc", port), s.shape(ctx, "tc -n "+space(i), "eth0"))
	}
	return err
}

// shape bounds what leaves by a device.
func (s segment) shape(ctx context.Context, tc, device string) error {
	return errors.Join(
		sh(ctx, "%s qdisc add dev %s root handle 1: htb default 1 r2q 1000", tc, device),
		sh(ctx, "%s class add dev %s parent 1: classid 1:1 htb rate %dmbit burst 64k cburst 64k", tc, device, s.rate))
}

// close takes the segment away.
func (s segment) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := 1; i <= s.ports; i++ {
		_ = sh(ctx, "ip netns del %s", space(i)) // what is not there need not go
	}
	_ = sh(ctx, "ip link del %s", bridge)
}

// goodput is what TCP gets through a port, in Mbit/s, by iperf3.
func (s segment) goodput(ctx context.Context) (float64, error) {
	if err := sh(ctx, "ip netns exec %s iperf3 -s -1 -D", space(2)); err != nil {
		return 0, err
	}
	var r struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	err := tryFor(ctx, 5*time.Second, func() error {
		return output(ctx, &r, "ip", "netns", "exec", space(1), "iperf3", "-c", address(2), "-t", "4", "-O", "1", "-J")
	})
	return r.End.Received.Rate / 1e6, err
}

// tryFor repeats what may not be ready yet.
func tryFor(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}
