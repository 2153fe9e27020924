package configs

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// Origin says where a value came from, in words that lead there: "default", "host name", "preset pi4",
// "pi4.yaml:12:9", "$SHOAL_LEARNER_WIDTH", "--set learner.width", or "auto" if it was chosen by scaling.auto.
type Origin string

const (
	fromDefault    Origin = "default"
	fromHost       Origin = "host name"
	fromPresetFlag Origin = "--preset"
)

// Origins says for every path where its value came from. A path that is missing was not loaded, but has its default.
type Origins map[string]Origin

// Load builds a configuration from the file at path (none if it is empty), the environment as os.Environ gives it, and
// flags, which map paths to values (a list is comma-separated). The key preset, in any of the three, names the preset to
// start from. The error joins everything that cannot be read; call Validate for what cannot be.
func Load(path string, env []string, flags map[string]string) (Config, Origins, error) {
	c, origins := Defaults(), Origins{}
	for _, f := range fields() {
		origins[f.path] = fromDefault
	}
	var layers []setting
	if path != "" {
		text, err := readFile(path)
		if err != nil {
			return c, origins, err
		}
		layers, err = decode(text, func(line, column int) Origin { return Origin(fmt.Sprintf("%s:%d:%d", path, line, column)) })
		if err != nil {
			return c, origins, err
		}
	}
	fromEnv, errEnv := environment(env)
	fromFlags, errFlags := flagged(flags)
	layers = slices.Concat(layers, fromEnv, fromFlags)
	base, layers, errPreset := startFrom(layers, nil)
	errs := []error{errEnv, errFlags, errPreset}
	for _, s := range slices.Concat(base, layers) {
		errs = append(errs, s.apply(&c, origins))
	}
	c.scale(origins)
	if c.Name == "" {
		c.Name, origins["name"] = hostName(), fromHost
	}
	return c, origins, errors.Join(errs...)
}

// hostName is the name of this host, or that of the program where it has none.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "shoal"
	}
	return cmp.Or(name, "shoal")
}

// apply checks the setting against its field and gives the field of c its value.
func (s setting) apply(c *Config, origins Origins) error {
	f, ok := find(s.path)
	if !ok {
		panic("configs: apply a setting of no field: " + s.path)
	}
	if err := s.suits(f); err != nil {
		return problem{s.origin, s.path, err.Error(), s.excerpt}
	}
	if err := f.set(c, s.texts); err != nil {
		return problem{s.origin, s.path, err.Error(), s.excerpt}
	}
	origins[s.path] = s.origin
	return nil
}

// suits refuses a value of YAML whose kind is not the field's: a number where a text is wanted and the reverse.
// Settings of flags and environment have no kind and are taken as the field wants them.
func (s setting) suits(f field) error {
	isText := f.typ.Kind() == reflect.String
	quoted := s.kind == token.SingleQuoteType || s.kind == token.DoubleQuoteType
	literal := s.kind == token.LiteralType || s.kind == token.FoldedType
	switch {
	case s.list || s.kind == token.UnknownType:
		return nil
	case isText && !quoted && !literal && s.kind != token.StringType:
		return fmt.Errorf("%s is not a text; put it in quotes to make it one", s.texts[0])
	case !isText && (quoted || literal):
		return fmt.Errorf("%q is a text; take the quotes away", s.texts[0])
	}
	return nil
}

// environment reads the SHOAL_… variables. One that begins like ours but is not is an error; others, SHOAL_CONFIG among
// them, are somebody else's.
func environment(env []string) ([]setting, error) {
	paths := map[string]string{variable(presetKey): presetKey}
	for _, f := range fields() {
		paths[variable(f.path)] = f.path
	}
	known := slices.Sorted(maps.Keys(paths))
	var list []setting
	var errs []error
	for _, line := range slices.Sorted(slices.Values(env)) {
		name, value, _ := strings.Cut(line, "=")
		path, ok := paths[name]
		if ok {
			list = append(list, textSetting(path, value, Origin("$"+name)))
			continue
		}
		if message, wrong := misspelt(name, known); wrong {
			errs = append(errs, problem{origin: Origin("$" + name), message: message})
		}
	}
	return list, errors.Join(errs...)
}

// misspelt reports whether a variable that is not ours was meant to be.
func misspelt(name string, known []string) (string, bool) {
	rest, ours := strings.CutPrefix(name, "SHOAL_")
	if !ours {
		return "", false
	}
	if meant, ok := nearest(name, known); ok {
		return fmt.Sprintf("unknown variable; did you mean %s?", meant), true
	}
	for _, section := range children("") {
		if isSection(section) && strings.HasPrefix(rest, strings.ToUpper(section)+"_") {
			return fmt.Sprintf("unknown variable; those of %s are %s…, then one of its keys", section, variable(section)+"_"), true
		}
	}
	return "", false
}

// flagged reads the flags' values.
func flagged(flags map[string]string) ([]setting, error) {
	var list []setting
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		origin := Origin("--set " + path)
		if path == presetKey {
			origin = fromPresetFlag
		}
		if _, ok := find(path); !ok && path != presetKey {
			message := unknown(path)
			if path != "" && isSection(path) {
				message = fmt.Sprintf("a section, not a value; give one of its keys, such as %s.%s", path, children(path)[0])
			}
			errs = append(errs, problem{origin: origin, message: message})
			continue
		}
		list = append(list, textSetting(path, flags[path], origin))
	}
	return list, errors.Join(errs...)
}

// textSetting is a setting of one text, split at commas where the field is a list.
func textSetting(path, text string, origin Origin) setting {
	s := setting{path: path, texts: []string{text}, origin: origin}
	if f, ok := find(path); ok && f.isList() {
		s.list, s.texts = true, nil
		for _, part := range strings.Split(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				s.texts = append(s.texts, part)
			}
		}
	}
	return s
}

//go:embed *.yaml
var presetFiles embed.FS

// Presets are the names of the presets, sorted.
func Presets() []string {
	files, err := presetFiles.ReadDir(".")
	if err != nil {
		panic("configs: list the presets: " + err.Error())
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(f.Name(), ".yaml")
	}
	slices.Sort(names)
	return names
}

// Preset is the YAML text of a preset; its first line is a comment that says what it is for.
func Preset(name string) ([]byte, error) {
	if slices.Contains(Presets(), name) {
		return presetFiles.ReadFile(name + ".yaml")
	}
	hint := "the presets are " + strings.Join(Presets(), ", ")
	if meant, ok := nearest(name, Presets()); ok {
		hint = fmt.Sprintf("did you mean %s?", meant)
	}
	return nil, fmt.Errorf("unknown preset %q; %s", name, hint)
}

// startFrom takes the preset keys out of layers and gives the settings of the preset that the last of them names, with
// those of the preset that it starts from itself before them. Open are the presets being read, to find a circle.
func startFrom(layers []setting, open []string) (base, rest []setting, err error) {
	var start *setting
	for _, s := range layers {
		if s.path == presetKey {
			start = &s
			continue
		}
		rest = append(rest, s)
	}
	if start == nil {
		return nil, rest, nil
	}
	name := start.texts[0]
	if slices.Contains(open, name) {
		return nil, rest, problem{start.origin, presetKey, fmt.Sprintf("%q starts from itself", name), start.excerpt}
	}
	text, err := Preset(name)
	if err != nil {
		return nil, rest, problem{start.origin, presetKey, err.Error(), start.excerpt}
	}
	own, err := decode(text, func(int, int) Origin { return Origin("preset " + name) })
	if err != nil {
		return nil, rest, fmt.Errorf("read preset %s: %w", name, err)
	}
	base, own, err = startFrom(own, append(open, name))
	return slices.Concat(base, own), rest, err
}
