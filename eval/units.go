package eval

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// printable is s without what could move a terminal's cursor: names and reasons come from peers.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func percent(x *float64) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100**x)
}

func loss(x *float64) string {
	switch {
	case x == nil:
		return "-"
	case *x >= Diverged:
		return "diverged"
	}
	return fmt.Sprintf("%.4f", *x)
}

// span is a time for people: 0 s, 12 ms, 3.4 s, 2m05s, 1h02m03s.
func span(seconds float64) string {
	switch {
	case seconds == 0:
		return "0 s"
	case seconds < 0.9995:
		return fmt.Sprintf("%.0f ms", 1000*seconds)
	case seconds < 59.95:
		return fmt.Sprintf("%.1f s", seconds)
	}
	d := time.Duration(seconds+0.5) * time.Second
	return d.String()
}

// size is a number of bytes for people, in powers of 1024.
func size(n int64) string {
	const units = "kMGT"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	x, unit := float64(n)/(1<<10), 0
	for x >= 999.5 && unit < len(units)-1 {
		x, unit = x/(1<<10), unit+1
	}
	return fmt.Sprintf("%.3g %ciB", x, units[unit])
}

// thousands groups digits: 25 000.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + " " + s[at:]
	}
	return s
}

// table aligns columns: to the right, but those listed in left.
type table struct {
	left []int
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *strings.Builder) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for c, cell := range row {
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	left := map[int]bool{}
	for _, c := range t.left {
		left[c] = true
	}
	for _, row := range t.rows {
		var line strings.Builder
		for c, cell := range row {
			if c > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
			if left[c] {
				line.WriteString(cell + pad)
			} else {
				line.WriteString(pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
