package configs

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// Override is one value that takes the place of a file's: the text of the value at Path (a list is comma-separated), or of
// the key preset, and where it was given, for messages.
type Override struct {
	Path, Text string
	Origin     Origin
}

// LoadBelow builds a configuration from a part of a larger YAML document of somebody else: node, the mapping below one of
// its keys, or nil for none. Text is the whole document and file its name, for messages with line and column. Overrides
// are applied in their order. The environment is not asked. The error joins everything that cannot be read; call Validate
// for what cannot be.
func LoadBelow(file, text string, node ast.Node, overrides []Override) (Config, Origins, error) {
	c, origins := Defaults(), Origins{}
	for _, f := range fields() {
		origins[f.path] = fromDefault
	}
	at := func(line, column int) Origin { return Origin(fmt.Sprintf("%s:%d:%d", file, line, column)) }
	d := newDocument(text, at)
	if node != nil {
		d.section("", node)
	}
	errs, layers := d.problems[:min(len(d.problems), maxProblems)], d.settings
	for _, o := range overrides {
		if !Known(o.Path) {
			errs = append(errs, problem{origin: o.Origin, path: o.Path, message: unknown(o.Path)})
			continue
		}
		layers = append(layers, textSetting(o.Path, o.Text, o.Origin))
	}
	base, layers, err := startFrom(layers, nil)
	errs = append(errs, err)
	for _, s := range append(base, layers...) {
		errs = append(errs, s.apply(&c, origins))
	}
	c.scale(origins)
	c.Name = cmp.Or(c.Name, hostName())
	return c, origins, errors.Join(errs...)
}

// Known reports whether path names a value, or is the key preset.
func Known(path string) bool {
	_, ok := find(path)
	return ok || path == presetKey
}
