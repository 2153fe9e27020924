package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// humanBytes is a number of bytes for people.
func humanBytes(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}

// Between two signs of progress there is at least this long: often enough to be seen to move on a terminal, seldom
// enough for a log elsewhere.
const (
	meterOnTerminal = 200 * time.Millisecond
	meterElsewhere  = 5 * time.Second
)

// meter shows how far a download is: one line that is rewritten on a terminal, a line now and then elsewhere. One
// goroutine may use it at a time.
type meter struct {
	w        io.Writer
	name     string
	now      func() time.Time
	terminal bool
	every    time.Duration
	shown    time.Time // when a line was last written
	begun    time.Time
	first    int64 // bytes that were there at the first update
	open     bool  // a line on the terminal waits for its end
}

// newMeter shows progress on w by the clock now.
func newMeter(w io.Writer, name string, now func() time.Time) *meter {
	p := &meter{w: w, name: name, now: now, every: meterElsewhere}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal, p.every = true, meterOnTerminal
	}
	return p
}

// update tells that done of total bytes are there; total is negative or 0 when unknown.
func (p *meter) update(done, total int64) {
	now := p.now()
	if p.begun.IsZero() {
		p.begun, p.first = now, done
	}
	if now.Sub(p.shown) < p.every && done != total {
		return
	}
	p.shown = now
	line := p.name + " " + humanBytes(done)
	if total > 0 {
		line = fmt.Sprintf("%s %3d%% of %s", p.name, 100*done/total, humanBytes(total))
	}
	if spent := now.Sub(p.begun).Seconds(); spent > 0 && done > p.first {
		line += fmt.Sprintf(", %s/s", humanBytes(int64(float64(done-p.first)/spent)))
	}
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r%s\x1b[K", line)
	p.open = true
}

// end finishes the line on a terminal.
func (p *meter) end() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}
