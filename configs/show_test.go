package configs

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What YAML writes is what Load reads, awkward texts among them.
func TestYAMLReadsBack(t *testing.T) {
	for _, name := range []string{
		"pi", "12", "true", "null", "~", "", "a: b", "- a", "a #b", `"q"`, "'q'", "ключ", "5e-4", "\tx\r\n", "<<", "&a", "{}", "<b>&", "\u2028", "😀",
	} {
		c := Defaults()
		c.Name, c.State, c.Seed = name, name, math.MaxUint64
		c.Gossip.Seeds = []string{name, "10.0.0.1:7946"}
		c.Data.Mean = []float64{0.1, 1e-30, math.MaxFloat64}
		origins := Origins{"name": "a\nb.yaml:1:2", "state": "default"}
		back, _, err := Load(write(t, c.YAML(origins)), nil, nil)
		if name == "" {
			back.Name = "" // Load gives the host's
		}
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%q: %v\n%s", name, err, c.YAML(origins))
		}
	}
}

func TestYAMLLooks(t *testing.T) {
	c, origins, err := Load("", []string{"SHOAL_LEARNER_WIDTH=1"}, map[string]string{"preset": "pi4", "name": "pi-1"})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(c.YAML(origins), "\n"), "\n")
	columns := map[int]bool{}
	for i, line := range lines {
		if at := strings.Index(line, "  # "); at >= 0 {
			columns[at] = true
			text, note, _ := strings.Cut(line, "  # ")
			lines[i] = strings.TrimRight(text, " ") + " # " + note
		}
	}
	if len(columns) != 1 {
		t.Errorf("comments in columns %v, want one", columns)
	}
	for _, want := range []string{
		"name: pi-1 # --set name", "  set: data/cifar-10-binary.tar.gz # preset pi4", "  schedule:", "  sgd:", "    rate: 0.01 # default",
		"learner:", "  model: mobilenet_v2 # preset pi4", "  width: 1 # $SHOAL_LEARNER_WIDTH",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

func TestValuesAreJSON(t *testing.T) {
	c := Defaults()
	values := c.Values(Origins{"seed": "default"})
	if len(values) != len(fields()) {
		t.Fatalf("%d values of %d fields", len(values), len(fields()))
	}
	byPath := map[string]string{}
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		byPath[v.Path] = string(text)
	}
	for path, want := range map[string]string{
		"seed": `{"path":"seed","value":1,"origin":"default"}`, "rounds.form": `{"path":"rounds.form","value":"1m0s"}`,
		"gossip.seeds": `{"path":"gossip.seeds","value":[]}`, "learner.width": `{"path":"learner.width","value":0.5}`,
		"averaging.momentum": `{"path":"averaging.momentum","value":false}`,
	} {
		if byPath[path] != want {
			t.Errorf("%s: got %s, want %s", path, byPath[path], want)
		}
	}
}

// The list is written out so that whoever adds a key decides whether members must share it.
func TestAgreementPaths(t *testing.T) {
	got := slices.Sorted(maps.Keys(Defaults().Agreement()))
	for _, path := range []string{
		"seed", "data.partition", "data.alpha", "data.labels", "data.flip", "data.crop", "data.limit", "data.test_limit", "data.mean", "data.std",
		"learner.model", "learner.width", "learner.input", "learner.batch", "learner.init", "learner.sgd.rate", "learner.sgd.momentum",
		"learner.schedule.kind", "learner.schedule.warmup", "learner.batch_norm.decay", "rounds.count", "rounds.steps",
		"averaging.plan", "averaging.weights", "averaging.momentum", "eval.every", "eval.reestimate",
	} {
		if !slices.Contains(got, path) {
			t.Errorf("%s is not shared", path)
		}
	}
	for _, path := range []string{
		"name", "state", "keep", "data.set", "learner.threads", "rounds.deadline", "gossip.listen", "gossip.seeds", "p2p.listen", "http.listen",
		"log.level", "averaging.deadline",
	} {
		if slices.Contains(got, path) {
			t.Errorf("%s is shared", path)
		}
	}
	for _, path := range own() {
		if _, ok := find(path); !ok && !isSection(path) && path != "eval.batch" { // which eval may do without
			t.Errorf("%s is no path", path)
		}
	}
}

func TestDifferences(t *testing.T) {
	a, b := Defaults(), Defaults()
	b.Learner.Width, b.Data.Mean, b.Name, b.Learner.Threads = 1, []float64{0.5, 0.5, 0.5}, "other", 7
	if got := Differences(a.Agreement(), a.Agreement()); len(got) != 0 {
		t.Errorf("differs from itself: %v", got)
	}
	got := Differences(a.Agreement(), b.Agreement())
	want := []string{"data.mean: [] here, [0.5, 0.5, 0.5] there", "learner.width: 0.5 here, 1 there"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got = Differences(map[string]string{"a": "1"}, map[string]string{"b": ""})
	want = []string{"a: 1 here, not known there", "b: not known here,  there"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNearest(t *testing.T) {
	for _, v := range []struct {
		word, want string
		list       []string
	}{
		{"wdith", "width", []string{"model", "width"}},
		{"WIDTH", "width", []string{"model", "width"}},
		{"w", "", []string{"model", "width"}},
		{"", "", []string{"model", "width"}},
		{"rign", "ring", []string{"ring", "tree"}},
		{"cat", "car", []string{"dog", "car", "bat"}},
		{strings.Repeat("x", 1<<20), "", []string{strings.Repeat("x", 1<<20)}},
	} {
		got, ok := nearest(v.word, v.list)
		if got != v.want || ok != (v.want != "") {
			t.Errorf("%.20s: got %q, want %q", v.word, got, v.want)
		}
	}
}

// distance against its definition, on all short words of two letters.
func TestDistance(t *testing.T) {
	words := []string{""}
	for i := 0; len(words[i]) < 4; i++ {
		words = append(words, words[i]+"a", words[i]+"b")
	}
	for _, a := range words {
		for _, b := range words {
			if got, want := distance(a, b), slowDistance(a, b); got != want {
				t.Errorf("%q to %q: got %d, want %d", a, b, got, want)
			}
		}
	}
}

func slowDistance(a, b string) int {
	if a == "" || b == "" {
		return len(a) + len(b)
	}
	change := 1
	if a[0] == b[0] {
		change = 0
	}
	d := min(slowDistance(a[1:], b)+1, slowDistance(a, b[1:])+1, slowDistance(a[1:], b[1:])+change)
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		d = min(d, slowDistance(a[2:], b[2:])+1)
	}
	return d
}

// No text makes decode panic or take long; what it accepts, Load applies or refuses in words, and YAML writes back.
func FuzzDecode(f *testing.F) {
	for _, name := range Presets() {
		text, err := Preset(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		"", "a", "learner: {width: [1, {a: b}], sgd: }", "? a\n: b\n", "seed: &x 1\nkeep: *x\n<<: *x", "name: |\n  a\n", "\ufeff%YAML 1.2\n---\n",
		"seed: !!int 1\nseed: '", "name: \"\\ud800\"", "gossip:\n  seeds:\n  -\n  - a\n", "learner:\n\twidth: 1\r\n...\n---\n", "name: >-\n\n x",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4<<10 { // the parser takes more than the square of the length in time
			return
		}
		settings, err := decode(text, func(int, int) Origin { return "x" })
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		c, origins := Defaults(), Origins{}
		for _, s := range settings {
			if s.path != presetKey {
				err = errors.Join(err, s.apply(&c, origins))
			}
		}
		if err != nil {
			return
		}
		again, err := decode([]byte(c.YAML(nil)), func(int, int) Origin { return "y" })
		if err != nil {
			t.Fatalf("YAML writes what it does not read: %v\n%s", err, c.YAML(nil))
		}
		back := Config{}
		for _, s := range again {
			if err := s.apply(&back, origins); err != nil {
				t.Fatal(err)
			}
		}
		if back.YAML(nil) != c.YAML(nil) {
			t.Fatalf("got\n%s\nwant\n%s", back.YAML(nil), c.YAML(nil))
		}
	})
}
