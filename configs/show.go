package configs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Value is one value of a Config as it is shown.
type Value struct {
	Path   string `json:"path"`
	Value  any    `json:"value"` // a string (durations too), bool, number or list of those
	Origin Origin `json:"origin,omitempty"`
}

// Values lists every value of c in the order of its declaration, with its origin where origins has one.
func (c Config) Values(origins Origins) []Value {
	var list []Value
	for _, f := range fields() {
		v := Value{Path: f.path, Value: f.in(&c).Interface(), Origin: origins[f.path]}
		switch {
		case f.isList() && f.in(&c).IsNil():
			v.Value = reflect.MakeSlice(f.typ, 0, 0).Interface()
		case f.in(&c).CanInt() && f.typ.Kind() != reflect.Int: // a duration
			v.Value = format(f.in(&c))
		}
		list = append(list, v)
	}
	return list
}

// YAML is c as a file that Load reads back to the same values, each with its origin as a comment where origins has one.
func (c Config) YAML(origins Origins) string {
	return c.yaml(origins, func(field) bool { return true })
}

// yaml is the fields that are wanted.
func (c Config) yaml(origins Origins, want func(field) bool) string {
	var lines, notes []string
	var open []string
	for _, f := range fields() {
		if !want(f) {
			continue
		}
		keys := strings.Split(f.path, ".")
		sections, key := keys[:len(keys)-1], keys[len(keys)-1]
		for i, s := range sections {
			if i >= len(open) || open[i] != s {
				lines, notes = append(lines, strings.Repeat("  ", i)+s+":"), append(notes, "")
				open = append(slices.Clone(open[:i]), s)
			}
		}
		open = open[:len(sections)]
		lines = append(lines, strings.Repeat("  ", len(sections))+key+": "+yamlValue(f, &c))
		notes = append(notes, string(origins[f.path]))
	}
	return align(lines, notes)
}

// align writes each note as a comment after its line, all in one column as far as the lines are not too long.
func align(lines, notes []string) string {
	const furthest = 48
	width := 0
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); notes[i] != "" && n <= furthest {
			width = max(width, n)
		}
	}
	var b strings.Builder
	for i, line := range lines {
		if notes[i] != "" {
			line = fmt.Sprintf("%-*s  # %s", width, line, strings.Join(strings.Fields(notes[i]), " "))
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// yamlValue is a field's value as YAML, in one line.
func yamlValue(f field, c *Config) string {
	texts := f.texts(c)
	if kind := f.typ; kind.Kind() == reflect.String || f.isList() && kind.Elem().Kind() == reflect.String {
		for i, text := range texts {
			texts[i] = yamlString(text)
		}
	}
	if f.isList() {
		return "[" + strings.Join(texts, ", ") + "]"
	}
	return texts[0]
}

// yamlString is text as a YAML scalar: plain where no reader can take it for something else, else in JSON's quotes,
// which YAML reads too.
func yamlString(text string) string {
	plain := text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/.", r)
	})
	first := strings.IndexAny(text, "0123456789-.") == 0
	word := slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(text))
	if plain && !first && !word {
		return text
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic("configs: quote a string: " + err.Error())
	}
	return string(quoted)
}
