// Package lab runs experiments: a file says what to vary, every combination is trained on a virtual cluster
// (eval/lab/cluster), and what comes of it are rows (eval/lab/row).
//
//	name: sizes
//	about: How accuracy and time depend on the number of agents.
//	base: {preset: quickstart}            # a configuration as shoal run takes it
//	agents: 4                             # unless an axis says otherwise
//	epochs: 10                            # images seen are epochs × training set, whatever the agents; else rounds.count
//	axes:                                 # every combination is a run; the last axis varies fastest
//	  agents: [1, 2, 4, 8]
//	  averaging.plan: [ring, star]
//	variants:                             # instead of, or besides, axes: named sets of changes
//	- {name: plain}
//	- {name: often, set: {rounds.steps: 8, averaging.momentum: true}}
//	repetitions: 3                        # with seeds seed, seed+1, …
//	score: {every: 1, statistics: [running, reestimated]}   # epochs; 0: at the end only
//	time: {device: raspberry-pi-4, network: {rate: 1Gbit}}  # without it nothing takes any time
//	schedule: {participation: 0.5, churn: [{member: 1, from: 3, to: 5, is: absent}]}   # or pairs: true (gossip)
//
// What axes and variants change is a path of the base (learner.sgd.rate, preset), or one of this file's own keys: agents,
// agents_per_node, epochs, warmup, and what is below score, time and schedule.
package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"shoal/configs"
)

// Limits of an experiment.
const (
	maxFileBytes   = 64 << 10
	maxRuns        = 10_000
	maxRepetitions = 1000
	maxAgents      = 512 // of a plan
)

// Experiment is a file that was read: what it says, and the runs that come of it.
type Experiment struct {
	Name, About string
	Text        string // the file
	Runs        []Run
}

// document is the file as it is decoded. What it says of single runs is in settings.
type document struct {
	Name        string `yaml:"name"`
	About       string `yaml:"about"`
	Repetitions int    `yaml:"repetitions"`
	axes        []axis
	variants    []variant
	own         settings
	base        ast.Node

	file string // name, for messages
	text string
}

// axis is a path and the values it takes.
type axis struct {
	path   string
	values []string
	origin configs.Origin
}

// variant is a named set of changes.
type variant struct {
	name    string
	changes []configs.Override
}

// Load reads the experiment of the file at path.
func Load(path string) (Experiment, error) {
	f, err := os.Open(path)
	if err != nil {
		return Experiment{}, fmt.Errorf("open experiment: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return Experiment{}, fmt.Errorf("read experiment: %w", err)
	}
	return Read(path, string(text))
}

// Read reads an experiment from its text. File is the name that messages give, each as "FILE:LINE:COLUMN: …".
func Read(file, text string) (Experiment, error) {
	if len(text) > maxFileBytes {
		return Experiment{}, fmt.Errorf("%s: larger than %d bytes; is it an experiment?", file, maxFileBytes)
	}
	d := &document{file: file, text: strings.TrimPrefix(text, "\ufeff"), Repetitions: 1, own: ownDefaults()}
	tree, err := parser.ParseBytes([]byte(d.text), 0)
	if err == nil {
		err = d.read(tree)
	}
	if err != nil {
		return Experiment{}, d.located(err)
	}
	e := Experiment{Name: d.Name, About: d.About, Text: text}
	if e.Runs, err = d.runs(); err != nil {
		return e, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

// located puts the file, and where the YAML reader knows it the place, before an error.
func (d *document) located(err error) error {
	var bad yaml.Error
	if errors.As(err, &bad) && bad.GetToken() != nil && bad.GetToken().Position != nil {
		at := bad.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", d.file, at.Line, at.Column, bad.GetMessage())
	}
	return fmt.Errorf("%s: %w", d.file, err)
}

// at is where a node stands.
func (d *document) at(n ast.Node) configs.Origin {
	p := n.GetToken().Position
	return configs.Origin(fmt.Sprintf("%s:%d:%d", d.file, p.Line, p.Column))
}

// wrong is an error at a node.
func (d *document) wrong(n ast.Node, format string, args ...any) error {
	p := n.GetToken().Position
	return fmt.Errorf("%d:%d: %s", p.Line, p.Column, fmt.Sprintf(format, args...))
}

// namePattern is what a name of an experiment or variant may be: it becomes part of file names.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// read takes the keys at the top.
func (d *document) read(tree *ast.File) error {
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return errors.New("not one YAML document; an experiment has name, base and axes at least")
	}
	entries, err := d.entries(tree.Docs[0].Body)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := d.key(e); err != nil {
			return err
		}
	}
	switch {
	case !namePattern.MatchString(d.Name):
		return fmt.Errorf("name: %.80q; give one of letters, digits, dashes, dots and underscores, at most 64", d.Name)
	case d.Repetitions < 1 || d.Repetitions > maxRepetitions:
		return fmt.Errorf("repetitions: %d is outside 1..%d", d.Repetitions, maxRepetitions)
	}
	return nil
}

// entries are the keys and values of a mapping.
func (d *document) entries(n ast.Node) ([]*ast.MappingValueNode, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, nil
	}
	return nil, d.wrong(n, "not keys with values")
}

// key takes one key at the top.
func (d *document) key(e *ast.MappingValueNode) error {
	switch name := e.Key.GetToken().Value; name {
	case "name":
		return yaml.NodeToValue(e.Value, &d.Name, yaml.Strict())
	case "about":
		return yaml.NodeToValue(e.Value, &d.About, yaml.Strict())
	case "repetitions":
		return yaml.NodeToValue(e.Value, &d.Repetitions, yaml.Strict())
	case "base":
		d.base = e.Value
		return nil
	case "axes":
		return d.readAxes(e.Value)
	case "variants":
		return d.readVariants(e.Value)
	default:
		if known, err := d.own.take(name, e.Value); known {
			return err
		}
		return d.wrong(e.Key, "%s: unknown key; the keys are name, about, base, axes, variants, repetitions, %s",
			name, strings.Join(ownKeys(), ", "))
	}
}

// readAxes takes the axes in their order.
func (d *document) readAxes(n ast.Node) error {
	entries, err := d.entries(n)
	if err != nil {
		return err
	}
	for _, e := range entries {
		a := axis{path: e.Key.GetToken().Value, origin: d.at(e.Value)}
		list, ok := e.Value.(*ast.SequenceNode)
		if !ok || len(list.Values) == 0 {
			return d.wrong(e.Value, "axes.%s: not a list of values; give such as [1, 2, 4]", a.path)
		}
		if err := knownPath(a.path); err != nil {
			return d.wrong(e.Key, "axes.%s: %v", a.path, err)
		}
		for _, v := range list.Values {
			text, err := d.value(a.path, v)
			if err != nil {
				return err
			}
			a.values = append(a.values, text)
		}
		d.axes = append(d.axes, a)
	}
	return nil
}

// readVariants takes the variants: of each a name, and what it sets.
func (d *document) readVariants(n ast.Node) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return d.wrong(n, "variants: not a list; give such as - {name: often, set: {rounds.steps: 8}}")
	}
	for _, item := range list.Values {
		entries, err := d.entries(item)
		if err != nil {
			return err
		}
		var v variant
		for _, e := range entries {
			switch key := e.Key.GetToken().Value; key {
			case "name":
				err = yaml.NodeToValue(e.Value, &v.name, yaml.Strict())
			case "set":
				v.changes, err = d.changes(e.Value)
			default:
				err = d.wrong(e.Key, "variants: unknown key %s; a variant has name and set", key)
			}
			if err != nil {
				return err
			}
		}
		if !namePattern.MatchString(v.name) {
			return d.wrong(item, "variants: name %.80q; give one of letters, digits, dashes, dots and underscores", v.name)
		}
		d.variants = append(d.variants, v)
	}
	return nil
}

// changes are paths and values.
func (d *document) changes(n ast.Node) ([]configs.Override, error) {
	entries, err := d.entries(n)
	if err != nil {
		return nil, err
	}
	var list []configs.Override
	for _, e := range entries {
		path := e.Key.GetToken().Value
		if err := knownPath(path); err != nil {
			return nil, d.wrong(e.Key, "variants: %s: %v", path, err)
		}
		text, err := d.value(path, e.Value)
		if err != nil {
			return nil, err
		}
		list = append(list, configs.Override{Path: path, Text: text, Origin: d.at(e.Value)})
	}
	return list, nil
}

// value is the text of what path is to be: a plain value, a list of them with commas, or for one of this file's own keys
// keys with values, as JSON, which is YAML too.
func (d *document) value(path string, n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.SequenceNode:
		if path == "schedule.churn" || path == "schedule.shares" {
			return d.json(n)
		}
		var parts []string
		for _, v := range n.Values {
			text, err := d.value(path, v)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), nil
	case *ast.MappingNode, *ast.MappingValueNode:
		if isOwn(path) {
			return d.json(n)
		}
	}
	return "", d.wrong(n, "neither a value nor a list of values; give such as 0.5 or [1, 2]")
}

// json is a node as JSON.
func (d *document) json(n ast.Node) (string, error) {
	var v any
	if err := yaml.NodeToValue(n, &v); err != nil {
		return "", err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", d.wrong(n, "%v", err)
	}
	return string(text), nil
}
