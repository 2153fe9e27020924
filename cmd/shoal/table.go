package main

import (
	"strings"
	"unicode"

	"github.com/charmbracelet/lipgloss"
)

// table aligns columns of text for people: to the left, but those listed in right.
type table struct {
	right []int
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// width is that of the widest line.
func (t *table) width() int {
	widest := 0
	for _, line := range t.lines() {
		widest = max(widest, lipgloss.Width(line))
	}
	return widest
}

// lines are the rows, columns two blanks apart.
func (t *table) lines() []string {
	var widths []int
	for _, row := range t.rows {
		for c, cell := range row {
			if c == len(widths) {
				widths = append(widths, 0)
			}
			widths[c] = max(widths[c], lipgloss.Width(cell))
		}
	}
	right := map[int]bool{}
	for _, c := range t.right {
		right[c] = true
	}
	var lines []string
	for _, row := range t.rows {
		var line strings.Builder
		for c, cell := range row {
			if c > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[c]-lipgloss.Width(cell))
			if right[c] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// printable is s without what could move a terminal's cursor: names and reasons come from peers.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// clipped is s in at most n columns, its end replaced by an ellipsis where it is longer.
func clipped(s string, n int) string {
	s = printable(s)
	if lipgloss.Width(s) <= n {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && lipgloss.Width(string(r))+1 > n {
		r = r[:len(r)-1]
	}
	return string(r) + "…"
}

// shortID is the end of an ID, which tells members apart; its beginning is the same for all.
func shortID(id string) string {
	r := []rune(printable(id))
	return string(r[max(0, len(r)-8):])
}

// shortHash is the beginning of a hash or lineage, as far as people compare it.
func shortHash(s string) string {
	r := []rune(printable(s))
	return string(r[:min(len(r), 12)])
}
