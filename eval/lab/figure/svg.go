package figure

import (
	"bytes"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// clean replaces what comes before vgsvg's first group: it writes sizes in points and knows no text for those who cannot
// see. Fonts get those that a machine without Liberation has with the same widths.
func clean(svg []byte, f Figure, height float64) []byte {
	i := bytes.Index(svg, []byte("<g "))
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%.0f" viewBox="0 0 %d %.0f" role="img" aria-label="%s">`+"\n",
		Width, height, Width, height, html.EscapeString(f.Title+": "+f.Y+" by "+f.X))
	body := strings.NewReplacer(
		"font-family:Liberation Sans;", "font-family:'Liberation Sans',Arial,Helvetica,sans-serif;",
		"font-variant:none;", "", "font-variant:normal;", "", "font-weight:normal;", "", ";font-style:normal", "", "\n\tstyle", " style",
	).Replace(string(svg[max(i, 0):]))
	return []byte(head + fit(body))
}

// fit tells each text how wide it is in Liberation Sans: where that font is missing, another is pressed into the room that
// was left for it.
func fit(body string) string {
	text := regexp.MustCompile(`<text ([^>]*)>([^<]*)</text>`)
	size := regexp.MustCompile(`font-size:([0-9.]+)px`)
	return text.ReplaceAllStringFunc(body, func(whole string) string {
		m := text.FindStringSubmatch(whole)
		points := size.FindStringSubmatch(m[1])
		if points == nil {
			return whole
		}
		units, err := strconv.ParseFloat(points[1], 64)
		said := html.UnescapeString(m[2])
		if err != nil || utf8.RuneCountInString(said) < 3 {
			return whole
		}
		width := style(units, strings.Contains(m[1], "font-weight:bold"), nil).Width(said)
		return fmt.Sprintf(`<text textLength="%.1f" lengthAdjust="spacingAndGlyphs" %s>%s</text>`, width.Points(), m[1], m[2])
	})
}

// Inline is an SVG of this package as a part of a page: its colours are CSS variables, which Palette gives values, so
// that the figure follows the page from light to dark.
func Inline(svg []byte) string {
	var pairs []string
	for _, s := range shades() {
		for _, of := range []string{"fill:", "stroke:"} {
			value := of + "var(--" + s.name + ")"
			pairs = append(pairs, of+hex(s.light), value, of+hex(faint(s.light)), value)
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(svg))
}

// Adaptive is an SVG of this package as a file that is dark where its reader's system is: a rule for each colour, which
// programs without media queries leave out.
func Adaptive(svg []byte) []byte {
	var rules strings.Builder
	for _, s := range shades() {
		for _, of := range []string{"fill", "stroke"} {
			match := fmt.Sprintf(`[style*="%s:%s"]`, of, hex(s.light))
			if f := hex(faint(s.light)); f != hex(s.light) {
				match += fmt.Sprintf(`,[style*="%s:%s"]`, of, f)
			}
			fmt.Fprintf(&rules, "%s{%s:#%02x%02x%02x!important}", match, of, s.dark.R, s.dark.G, s.dark.B)
		}
	}
	head := bytes.IndexByte(svg, '>') + 1
	style := "\n<style>@media (prefers-color-scheme:dark){" + rules.String() + "}</style>"
	return slices.Concat(svg[:head], []byte(style), svg[head:])
}

// Palette is the CSS that sets the variables of Inline: "--ink:#1b1f24;…".
func Palette(dark bool) string {
	var b strings.Builder
	for _, s := range shades() {
		c := s.light
		if dark {
			c = s.dark
		}
		fmt.Fprintf(&b, "--%s:#%02x%02x%02x;", s.name, c.R, c.G, c.B)
	}
	return b.String()
}
