package shoal_test

import (
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The budgets of STYLE.md: the smaller number is asked about in review, the larger one fails.
const (
	functionLines    = 40
	functionLinesMax = 70
	fileLines        = 300
	fileLinesMax     = 400
	packageFiles     = 8
)

func TestSizesStayInBudget(t *testing.T) {
	files := map[string]int{}
	for _, s := range sources(t) {
		if s.test || ast.IsGenerated(s.syntax) {
			continue
		}
		files[s.pkg]++
		switch {
		case s.lines > fileLinesMax:
			t.Errorf("%s has %d lines; a file ends at %d (budget %d): split it by noun", s.path, s.lines, fileLinesMax, fileLines)
		case s.lines > fileLines:
			t.Logf("over budget: %s has %d lines of %d", s.path, s.lines, fileLines)
		}
		for _, decl := range s.syntax.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			switch {
			case n > functionLinesMax:
				t.Errorf("%s: %s has %d lines; a function ends at %d (budget %d)", s.at(f), f.Name.Name, n, functionLinesMax, functionLines)
			case n > functionLines:
				t.Logf("over budget: %s: %s has %d lines of %d", s.at(f), f.Name.Name, n, functionLines)
			}
		}
	}
	for pkg, n := range files {
		if n > packageFiles {
			t.Logf("over budget: package %s has %d files of %d", pkg, n, packageFiles)
		}
	}
}

func TestNamesSayWhat(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "types", "base", "stuff", "shared"}
	for _, s := range sources(t) {
		for _, name := range []string{path.Base(s.pkg), strings.TrimSuffix(path.Base(s.path), ".go"), s.syntax.Name.Name} {
			if slices.Contains(vague, strings.TrimSuffix(name, "_test")) {
				t.Errorf("%s: %q says nothing of what is in it; name it for its noun", s.path, name)
			}
		}
	}
}

// TestNothingHidden holds STYLE.md §5: wiring in one place, no environment, no global rand and no exit inside a library.
func TestNothingHidden(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, spec := range s.syntax.Imports {
			if spec.Path.Value == `"math/rand"` {
				t.Errorf("%s: math/rand has global state; use a *rand.Rand of math/rand/v2 made from the configured seed", s.at(spec))
			}
		}
		command := s.syntax.Name.Name == "main"
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: init runs unasked; call it from where the parts are wired", s.at(n))
				}
			case *ast.SelectorExpr:
				pkg, ok := n.X.(*ast.Ident)
				if !ok {
					return true
				}
				switch what := pkg.Name + "." + n.Sel.Name; what {
				case "os.Getenv", "os.LookupEnv", "os.Environ", "os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln":
					if !command {
						t.Errorf("%s: %s belongs in cmd/shoal; take a value, return an error", s.at(n), what)
					}
				case "rand.IntN", "rand.Int32N", "rand.Int64N", "rand.N", "rand.Uint32", "rand.Uint64", "rand.Float32", "rand.Float64",
					"rand.NormFloat64", "rand.Perm", "rand.Shuffle":
					t.Errorf("%s: %s is the global generator; pass a *rand.Rand", s.at(n), what)
				}
			}
			return true
		})
	}
}

// direct lists the modules that go.mod requires for our own imports, with their versions. In go.mod each has its reason in
// a few words behind it; the comment of an indirect one is "indirect" alone.
func direct(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	line := regexp.MustCompile(`^\t([^\s()]+) (v\S+)(?: // (.*))?$`)
	for row := range strings.SplitSeq(string(text), "\n") {
		if m := line.FindStringSubmatch(row); m != nil && m[3] != "indirect" {
			found[m[1]] = m[2]
			if m[3] == "" {
				t.Errorf("go.mod requires %s without a reason; put it behind the version", m[1])
			}
		}
	}
	if len(found) == 0 {
		t.Fatal("go.mod requires nothing directly; has its form changed?")
	}
	return found
}

func TestEveryDependencyHasAReason(t *testing.T) {
	text, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(string(text), -1) {
		reasons[m[1]] = strings.TrimSpace(m[2])
	}
	modules := direct(t)
	for name := range modules {
		if len(reasons[name]) < 20 {
			t.Errorf("go.mod requires %s; say in docs/dependencies.md what for, and why not without it", name)
		}
	}
	for name := range reasons {
		if _, required := modules[name]; !required && name != "honnef.co/go/tools" { // a tool, which go.mod marks indirect
			t.Errorf("docs/dependencies.md explains %s, which go.mod does not require; take the row out", name)
		}
	}
}

func TestMovingCollectorPin(t *testing.T) {
	const name, want = "go4.org/unsafe/assume-no-moving-gc", "v0.0.0-20231121144256-b99613f794b6"
	if got := direct(t)[name]; got != want {
		t.Errorf("go.mod requires %s %q; it must be %s, because an older one panics at start under this Go", name, got, want)
	}
}

// TestBuildNeedsOnlyGo keeps cgo out: one static binary is what is copied to a node.
func TestBuildNeedsOnlyGo(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.syntax.Imports {
			if name, err := strconv.Unquote(spec.Path.Value); err == nil && name == "C" {
				t.Errorf("%s: cgo would make the binary depend on the machine it was built on", s.at(spec))
			}
		}
	}
}
