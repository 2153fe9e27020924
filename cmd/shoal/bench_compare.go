package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// comparison is this program and another, measured in turns. Ratios are of medians, ours over the peer's.
type comparison struct {
	Command     string         `json:"command"`
	Peer        string         `json:"peer"`
	Ours        []*benchResult `json:"ours"`
	Theirs      []float64      `json:"theirs"`                       // images per second
	TheirRSS    []float64      `json:"theirs_peak_rss_mb,omitempty"` // where the peer says it
	Ratio       float64        `json:"ratio"`
	RatioMin    float64        `json:"ratio_min"` // of single pairs
	RatioMax    float64        `json:"ratio_max"`
	MemoryRatio float64        `json:"memory_ratio,omitempty"`
}

// compareWith runs the peer and this program in turns. Values that no flag gives are taken from the peer's first result,
// so that both do the same; values that a flag gives must be the peer's.
func (b *bench) compareWith(ctx context.Context, progress io.Writer) (*comparison, error) {
	c := &comparison{Command: b.compare}
	shell := programSpawner("/bin/sh")
	var same map[string]string
	for i := range b.runs {
		out, err := shell(ctx, "-c", b.compare)
		if err != nil {
			return nil, fmt.Errorf("measure the peer: %w", err)
		}
		peer, err := readPeer(out)
		if err != nil {
			return nil, fmt.Errorf("measure the peer %q: %w", b.compare, err)
		}
		if i == 0 {
			if same, err = b.agree(peer); err != nil {
				return nil, fail(exitUsage, err)
			}
		}
		ours, err := b.measured(ctx, same)
		if err != nil {
			return nil, err
		}
		c.add(peer, ours)
		fmt.Fprintf(progress, "run %d of %d: %.1f images/s here, %.1f %s\n", i+1, b.runs, ours.ImagesPerSecond, peer.ImagesPerSecond, peer.Peer)
	}
	c.conclude()
	return c, nil
}

// agree is the peer's values where it tells them. One that contradicts a flag is an error.
func (b *bench) agree(peer *peerResult) (map[string]string, error) {
	for _, name := range slices.Sorted(maps.Keys(b.given)) {
		if theirs, told := peer.values[name]; told && !equalValues(theirs, b.given[name]) {
			return nil, fmt.Errorf("compare with %s: its %s is %s, and --%s %s; leave the flag out, or change the command",
				peer.Peer, name, theirs, name, b.given[name])
		}
	}
	return peer.values, nil
}

// equalValues says whether two texts are the same number or the same word.
func equalValues(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return a == b || errX == nil && errY == nil && x == y
}

// add keeps one pair of runs.
func (c *comparison) add(peer *peerResult, ours *benchResult) {
	c.Peer = peer.Peer
	c.Ours, c.Theirs = append(c.Ours, ours), append(c.Theirs, peer.ImagesPerSecond)
	if peer.PeakRSS != nil {
		c.TheirRSS = append(c.TheirRSS, *peer.PeakRSS)
	}
}

// conclude works out the ratios.
func (c *comparison) conclude() {
	var ours, rss, pairs []float64
	for i, r := range c.Ours {
		ours, rss = append(ours, r.ImagesPerSecond), append(rss, r.PeakRSS)
		pairs = append(pairs, r.ImagesPerSecond/c.Theirs[i])
	}
	c.Ratio, c.RatioMin, c.RatioMax = median(ours)/median(c.Theirs), slices.Min(pairs), slices.Max(pairs)
	if len(c.TheirRSS) > 0 && median(c.TheirRSS) > 0 {
		c.MemoryRatio = median(rss) / median(c.TheirRSS)
	}
}

// text is the comparison for people.
func (c *comparison) text() string {
	var t strings.Builder
	var ours []float64
	for _, r := range c.Ours {
		ours = append(ours, r.ImagesPerSecond)
	}
	r := c.Ours[0]
	fmt.Fprintf(&t, "%s %g at %d×%d, batch %d, %d threads, %d runs of each in turns\n\n", r.Model, r.Width, r.Input, r.Input, r.Batch, r.Threads, len(ours))
	side := func(name string, v []float64) {
		fmt.Fprintf(&t, "%-24s  %9.1f images/s median, %.1f to %.1f\n", name, median(v), slices.Min(v), slices.Max(v))
	}
	side(r.Peer, ours)
	side(c.Peer, c.Theirs)
	fmt.Fprintf(&t, "\n%.2f times as fast (pairs from %.2f to %.2f)", c.Ratio, c.RatioMin, c.RatioMax)
	if c.MemoryRatio > 0 {
		fmt.Fprintf(&t, ", in %.0f %% of the memory", 100*c.MemoryRatio)
	}
	t.WriteString("\n")
	return t.String()
}
