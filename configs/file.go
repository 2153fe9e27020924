package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxFileBytes    = 32 << 10 // a configuration with every key is 2 KiB; the parser is slow on large files that are no YAML
	maxProblems     = 20       // of one file; the rest would scroll the first ones away
	maxExcerptRunes = 120      // of a source line shown in a problem
)

// setting is one value as a source gives it, before it is checked against the field at its path.
type setting struct {
	path    string
	texts   []string // one, unless list
	list    bool     // given as a list
	kind    token.Type
	origin  Origin
	excerpt string // the source line with a mark, or empty
}

// problem is one thing wrong with a source.
type problem struct {
	origin  Origin
	path    string // may be empty
	message string
	excerpt string // may be empty
}

// Error is the problem as "origin: path: message", with the excerpt below.
func (p problem) Error() string {
	text := printable(located(p.origin, p.path) + p.message)
	if p.excerpt != "" {
		text += "\n" + p.excerpt
	}
	return text
}

// located is the "origin: path: " that begins a message. A flag's origin has the path in it already.
func located(origin Origin, path string) string {
	if path == "" || origin == "--set "+Origin(path) || origin == fromPresetFlag && path == presetKey {
		return string(origin) + ": "
	}
	return string(origin) + ": " + path + ": "
}

// readFile reads a configuration file, refusing what is too large to be one.
func readFile(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("read configuration %s: larger than %d bytes; is it the right file?", path, maxFileBytes)
	}
	return text, nil
}

// document reads the settings of one YAML text, in the order of their lines.
type document struct {
	origin   func(line, column int) Origin
	lines    []string
	seen     map[string]string // path → LINE:COLUMN where it was given first
	settings []setting
	problems []error
}

func newDocument(text string, origin func(line, column int) Origin) *document {
	return &document{origin: origin, lines: strings.Split(text, "\n"), seen: map[string]string{}}
}

// decode reads the settings of a YAML text. The error joins every problem found in it.
func decode(text []byte, origin func(line, column int) Origin) ([]setting, error) {
	source := strings.TrimPrefix(string(text), "\ufeff") // the byte order mark that some editors write
	d := newDocument(source, origin)
	file, err := parser.ParseBytes([]byte(source), 0, parser.AllowDuplicateMapKey())
	var bad yaml.Error
	switch {
	case errors.As(err, &bad):
		d.refuse(bad.GetToken(), "", "not YAML: %s; check indentation, quotes and colons, here and on the line before", bad.GetMessage())
	case err != nil:
		d.problems = append(d.problems, problem{origin: origin(1, 1), message: err.Error()})
	case len(file.Docs) > 1:
		d.refuse(file.Docs[1].Start, "", "a second document or a directive; give one YAML document without directives")
	case len(file.Docs) == 1 && file.Docs[0].Body != nil:
		d.section("", file.Docs[0].Body)
	}
	return d.settings, errors.Join(d.problems[:min(len(d.problems), maxProblems)]...)
}

// refuse notes a problem at a token.
func (d *document) refuse(at *token.Token, path, format string, args ...any) {
	p := problem{origin: d.origin(1, 1), path: path, message: fmt.Sprintf(format, args...)}
	if at != nil && at.Position != nil {
		p.origin = d.origin(at.Position.Line, at.Position.Column)
		p.excerpt = d.excerpt(at.Position.Line, at.Position.Column)
	}
	d.problems = append(d.problems, p)
}

// excerpt shows the line with a mark under the column.
func (d *document) excerpt(line, column int) string {
	if line < 1 || line > len(d.lines) {
		return ""
	}
	runes := []rune(strings.TrimRight(d.lines[line-1], "\r"))
	if column < 1 || len(runes) > maxExcerptRunes {
		return ""
	}
	margin := fmt.Sprintf("%5d | ", line)
	pad := []rune(strings.Repeat(" ", column-1))
	for i := range min(len(pad), len(runes)) {
		if runes[i] == '\t' {
			pad[i] = '\t'
		}
	}
	return margin + printable(string(runes)) + "\n" + strings.Repeat(" ", len(margin)-2) + "| " + string(pad) + "^"
}

// printable is text that a terminal can show: what has no shape, as in a file that is no text, becomes �, so that nothing
// moves the cursor, and columns stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// section reads the keys below path.
func (d *document) section(path string, node ast.Node) {
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			d.entry(path, v)
		}
	case *ast.MappingValueNode:
		d.entry(path, n)
	case *ast.NullNode: // a section whose keys are all commented out
	default:
		d.refuse(node.GetToken(), path, "not a section; give keys with values, such as %s: …", children(path)[0])
	}
}

// entry reads one key and what it holds.
func (d *document) entry(section string, n *ast.MappingValueNode) {
	at := n.Key.GetToken()
	if n.Key.Type() == ast.MergeKeyType || n.Key.Type() == ast.MappingKeyType {
		d.refuse(at, section, "a %q key; write the keys and values out", at.Value)
		return
	}
	path := strings.TrimPrefix(section+"."+at.Value, ".")
	f, isField := find(path)
	if above, key := cutLast(at.Value); above != "" && (isField || isSection(path)) {
		d.refuse(at, path, "a dotted key; write %s: and below it, further to the right, %s", above, key)
		return
	}
	if !isField && path != presetKey && !isSection(path) || at.Value == "" {
		d.refuse(at, path, "%s", unknown(path))
		return
	}
	if first, twice := d.seen[path]; twice {
		d.refuse(at, path, "given twice, first at %s; keep one", first)
		return
	}
	d.seen[path] = fmt.Sprintf("%d:%d", at.Position.Line, at.Position.Column)
	if isSection(path) {
		d.section(path, n.Value)
		return
	}
	d.value(path, isField && f.isList(), n.Value)
}

// value reads what stands for a field.
func (d *document) value(path string, list bool, node ast.Node) {
	at := node.GetToken()
	s := setting{path: path, kind: at.Type}
	s.origin, s.excerpt = d.origin(at.Position.Line, at.Position.Column), d.excerpt(at.Position.Line, at.Position.Column)
	switch n := node.(type) {
	case *ast.NullNode:
		d.refuse(at, path, "no value; give one, or take the line away")
		return
	case *ast.SequenceNode:
		s.list = true
		for _, v := range n.Values {
			text, ok := d.scalar(path, v)
			if !ok {
				return
			}
			s.texts = append(s.texts, text)
		}
	default:
		text, ok := d.scalar(path, node)
		if !ok {
			return
		}
		s.texts = []string{text}
	}
	if s.list != list {
		d.refuse(at, path, "%s", map[bool]string{
			true: "one value; give a list such as [a, b]", false: "a list; give one value",
		}[list])
		return
	}
	d.settings = append(d.settings, s)
}

// scalar is the text of one plain or quoted value.
func (d *document) scalar(path string, node ast.Node) (string, bool) {
	at := node.GetToken()
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return at.Value, true
	case *ast.MappingNode, *ast.MappingValueNode:
		d.refuse(at, path, "keys below what is one value; give the value alone")
	case *ast.NullNode:
		d.refuse(at, path, "an empty value; give one, or take it away")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.refuse(at, path, "an anchor, alias or tag; write the value out")
	default:
		d.refuse(at, path, "a value in a value; give plain ones")
	}
	return "", false
}
