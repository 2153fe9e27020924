package lab

import (
	"embed"
	"fmt"
	"os"
	"slices"
	"strings"
)

//go:embed experiments/*.yaml
var builtin embed.FS

// Names are the experiments that are built in, sorted.
func Names() []string {
	files, err := builtin.ReadDir("experiments")
	if err != nil {
		panic("lab: list the experiments: " + err.Error())
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	return names
}

// Builtin is the text of a built-in experiment.
func Builtin(name string) (string, error) {
	if !slices.Contains(Names(), name) {
		return "", fmt.Errorf("no experiment %q is built in; there are %s, or give the path of a file", name, strings.Join(Names(), ", "))
	}
	text, err := builtin.ReadFile("experiments/" + name + ".yaml")
	return string(text), err
}

// Find reads the experiment of a file, or if there is no such file the one that is built in by that name.
func Find(name string) (Experiment, error) {
	if _, err := os.Stat(name); err == nil || strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".yaml") {
		return Load(name)
	}
	text, err := Builtin(name)
	if err != nil {
		return Experiment{}, err
	}
	return Read(name+".yaml", text)
}
