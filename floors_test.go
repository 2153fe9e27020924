// Package shoal_test holds the house rules that a reviewer would otherwise have to remember: the floors of DESIGN.md §2,
// the budgets of STYLE.md, and a reason for every dependency. It reads the sources and imports none of them.
package shoal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "shoal"

// floor is one row of DESIGN.md §2: where a package stands, what it may import of ours, and why no more than that.
type floor struct {
	pkg     string
	level   int
	imports []string
	why     string
}

// below is everything that an agent is wired from.
var below = []string{
	"configs", "eval", "gossip", "gossip/collective", "gossip/p2p", "gossip/roster",
	"learner", "learner/graph", "learner/kernel", "learner/safetensors", "learner/tile", "shards",
}

// floors is the only list of packages: a package without a row here may not exist.
var floors = []floor{
	{"cmd/shoal", 6, slices.Concat(below, []string{"agent", "eval/lab", "eval/lab/compare", "eval/lab/papers", "eval/lab/report", "eval/lab/row", "eval/lab/timing", "learner/onnx"}), "wires flags to everything, and nothing imports it"},
	{"eval/lab/row", 0, nil, "the form of an experiment's results; whoever reads them needs nothing else"},
	{"eval/lab/papers", 1, []string{"eval/lab/row"}, "published numbers beside rows; knows no lab"},
	{"eval/lab/spread", 1, []string{"eval/lab/row"}, "repetitions of a measurement, for whoever tells of rows"},
	{"eval/lab/compare", 2, []string{"eval/lab/row", "eval/lab/spread"}, "reads the rows of two experiments; runs nothing"},
	{"eval/lab/figure", 0, nil, "draws numbers; knows no experiment"},
	{"eval/lab/report", 2, []string{"eval/lab/figure", "eval/lab/papers", "eval/lab/row", "eval/lab/spread", "eval/tensorboard"}, "reads rows and writes files; runs nothing"},
	{"eval/tensorboard", 0, nil, "a file format"},
	{"eval/lab/timing", 3, []string{"gossip/collective", "learner", "shards"}, "times that work would take elsewhere; runs none of it but to measure this machine"},
	{
		"eval/lab/cluster", 4,
		[]string{"agent/part", "eval", "eval/lab/row", "gossip/collective", "gossip/roster", "learner", "shards"},
		"computes what agents compute, in one process; declares the clock that it needs, and knows no file",
	},
	{"eval/lab", 5, slices.Concat(below, []string{"agent/part", "eval/lab/cluster", "eval/lab/row", "eval/lab/timing"}), "runs whole agents on one machine; an agent knows nothing of it"},
	{
		"agent/part", 3,
		[]string{"gossip/collective", "gossip/roster", "learner", "shards"},
		"what a member computes is the same for an agent and in a virtual cluster; it sends nothing and reads no clock",
	},
	{"agent", 5, slices.Concat(below, []string{"agent/part", "eval/tensorboard"}), "the one place where the parts meet"},
	{"agent/chaos", 6, slices.Concat(below, []string{"agent"}), "a developer's scenarios with real processes; nothing imports it"},
	{
		"configs", 4,
		[]string{"eval", "gossip", "gossip/collective", "gossip/p2p", "gossip/roster", "learner", "shards"},
		"composes the packages' Config; a package never reads the composition",
	},
	{"eval", 3, []string{"gossip/roster", "learner", "shards"}, "scores a model and names members; sends nothing"},
	{
		"learner", 2,
		[]string{"learner/graph", "learner/kernel", "learner/safetensors", "learner/tile", "shards"},
		"trains the same whether alone or in a cluster, so it knows no member and no wire",
	},
	{"gossip", 2, []string{"gossip/roster", "gossip/p2p"}, "publishes views; what a view leads to is decided in gossip/roster"},
	{"gossip/collective", 1, []string{"gossip/roster", "learner/kernel"}, "plans and sums vectors over a Link that it declares"},
	{"gossip/p2p", 1, []string{"gossip/roster"}, "moves bytes between named members, and does not know what they mean"},
	{"learner/graph", 1, []string{"learner/kernel", "learner/tile"}, "models and their executor; no data, no files"},
	{"learner/onnx", 1, []string{"learner/safetensors"}, "writes a checkpoint in another format; needs no model that runs"},
	{"gossip/roster", 0, nil, "pure state machines, so that a simulation can own time and the wire"},
	{"shards", 0, nil, "pure partitions and data; knows ranks as ints only"},
	{"learner/kernel", 0, nil, "inner loops over slices"},
	{"learner/kernel/gen", 6, nil, "a developer's command that writes the kernels' assembly; nothing imports it"},
	{"docs/performance/gen", 6, nil, "a developer's command that records benchmarks and writes a document; nothing imports it"},
	{"docs/averaging/gen", 6, nil, "a developer's command that measures averaging against MPI and writes a document; nothing imports it"},
	{
		"docs/experiments/gen", 6,
		[]string{"eval/lab", "eval/lab/figure", "eval/lab/papers", "eval/lab/report", "eval/lab/row", "eval/lab/spread"},
		"a developer's command that runs experiments and writes a page of each; nothing imports it",
	},
	{"learner/tile", 0, nil, "integer maths and a cost model"},
	{"learner/safetensors", 0, nil, "a file format"},
}

// fence keeps a library where its quirks are known. A blank import uses nothing and passes.
type fence struct {
	prefix string
	only   []string
	why    string
}

var fences = []fence{
	{"github.com/libp2p/", []string{"gossip/p2p", "gossip"}, "streams and pubsub are hidden behind Link and Announcer"},
	{"github.com/multiformats/", []string{"gossip/p2p"}, "part of libp2p's interface"},
	{"github.com/hashicorp/memberlist", []string{"gossip"}, "views are the only form in which membership leaves gossip"},
	{"gorgonia.org/", []string{"learner/graph"}, "the executor can be replaced only while nobody else knows the graph"},
	{"github.com/chewxy/", []string{"learner/graph"}, "part of Gorgonia's Op interface"},
	{"go4.org/", []string{"learner/graph"}, "Gorgonia needs it at start"},
	{"github.com/nlpodyssey/gopickle", []string{"shards"}, "pickles come only from CIFAR-10's python distribution"},
	{"github.com/goccy/go-yaml", []string{"configs", "cmd/shoal", "eval/lab", "eval/lab/compare", "eval/lab/papers", "eval/lab/timing"}, "YAML is what a person writes, nothing else"},
	{"github.com/spf13/cobra", []string{"cmd/shoal"}, "commands live at the top"},
	{"github.com/charmbracelet/", []string{"cmd/shoal"}, "the terminal belongs to the command"},
	{"gonum.org/v1/plot", []string{"eval/lab/figure"}, "what is drawn is data until there"},
	{"google.golang.org/protobuf", []string{"eval/tensorboard"}, "four messages are written by hand, in one place"},
	{"github.com/rs/zerolog", []string{"agent", "cmd/shoal"}, "log at the edge"},
	{"github.com/prometheus/", []string{"agent", "cmd/shoal"}, "metrics are served at the edge"},
}

// source is one parsed Go file of the module.
type source struct {
	path   string // slash-separated, from the repository root
	pkg    string // directory, "." for the root
	test   bool
	lines  int
	syntax *ast.File
	fset   *token.FileSet
}

// sources parses every Go file of the module, whatever its build tags.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, ".") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(fset, file, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		slashed := filepath.ToSlash(file)
		all = append(all, source{
			path: slashed, pkg: path.Dir(slashed), test: strings.HasSuffix(name, "_test.go"),
			lines: strings.Count(string(text), "\n"), syntax: syntax, fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatalf("read the module's sources: %v", err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d Go files; is the test running in the repository root?", len(all))
	}
	return all
}

// at is the place of a node as "file:line".
func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

func TestImportsGoDown(t *testing.T) {
	rows := map[string]floor{}
	for _, row := range floors {
		rows[row.pkg] = row
	}
	unknown := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		row, known := rows[s.pkg]
		if !known {
			if !unknown[s.pkg] {
				t.Errorf("package %s has no floor; add a row with its reason to floors in floors_test.go and to DESIGN.md §2", s.pkg)
			}
			unknown[s.pkg] = true
			continue
		}
		for _, spec := range s.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: import %s: %v", s.at(spec), spec.Path.Value, err)
			}
			checkImport(t, s, spec, row, imported)
		}
	}
}

// checkImport reports an import of ours that does not go down, and a library outside its fence.
func checkImport(t *testing.T, s source, spec *ast.ImportSpec, row floor, imported string) {
	t.Helper()
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
		if !slices.Contains(row.imports, ours) {
			t.Errorf("%s: %s (floor %d) may not import %s: %s", s.at(spec), row.pkg, row.level, ours, row.why)
		}
		return
	}
	if spec.Name != nil && spec.Name.Name == "_" {
		return
	}
	for _, f := range fences {
		if strings.HasPrefix(imported, f.prefix) && !slices.Contains(f.only, row.pkg) {
			t.Errorf("%s: only %s may import %s: %s", s.at(spec), strings.Join(f.only, ", "), imported, f.why)
		}
	}
}

func TestFloorsThemselvesGoDown(t *testing.T) {
	level := map[string]int{}
	for _, row := range floors {
		if _, twice := level[row.pkg]; twice {
			t.Errorf("package %s has two rows", row.pkg)
		}
		if row.why == "" {
			t.Errorf("package %s has no reason", row.pkg)
		}
		level[row.pkg] = row.level
	}
	for _, row := range floors {
		for _, imported := range row.imports {
			under, known := level[imported]
			if !known || under >= row.level {
				t.Errorf("%s on floor %d allows %s on floor %d (known: %v); imports only go down", row.pkg, row.level, imported, under, known)
			}
		}
	}
}

func TestFloorsMatchDesign(t *testing.T) {
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	level := map[string]int{}
	for _, row := range floors {
		level[row.pkg] = row.level
	}
	found := regexp.MustCompile("(?m)^\\| (\\d) \\| `([a-z0-9/]+)` \\|").FindAllStringSubmatch(string(text), -1)
	if len(found) < 10 {
		t.Fatalf("DESIGN.md §2 lists %d packages; has its table changed its form?", len(found))
	}
	for _, row := range found {
		if got, known := level[row[2]]; !known || strconv.Itoa(got) != row[1] {
			t.Errorf("DESIGN.md puts %s on floor %s, floors_test.go on %d (known: %v)", row[2], row[1], got, known)
		}
	}
}
