package configs

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// write puts text into a file of its own and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// problems are those of reading and, where all could be read, of checking the file at path.
func problems(path string) error {
	c, origins, err := Load(path, nil, nil)
	return cmp.Or(err, c.Validate(origins))
}

// Every testdata/X.bad.yaml breaks one rule, and X.bad.txt is what its author reads.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d bad files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			bad := problems(file)
			if bad == nil {
				t.Fatal("accepted")
			}
			got, golden := bad.Error()+"\n", strings.TrimSuffix(file, ".yaml")+".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestLoadNothing(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "comment": "# nothing\n", "mark": "\ufeff", "empty section": "learner:\n  # width: 1\n", "end": "seed: 1\n...\n",
	} {
		c, origins, err := Load(write(t, text), nil, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := Defaults()
		want.Name = c.Name
		if c.Name == "" || origins["name"] != "host name" || !reflect.DeepEqual(c, want) {
			t.Errorf("%s: got %+v, name from %s", name, c, origins["name"])
		}
		if err := c.Validate(origins); err != nil {
			t.Errorf("%s: the defaults are refused: %v", name, err)
		}
	}
}

func TestLoadPrecedence(t *testing.T) {
	path := write(t, "\ufeffpreset: pi4\nname: shelf-1\nlearner:\n  width: 0.25\n  batch: 6\n  sgd: {rate: 5e-4}\n"+
		"gossip:\n  seeds:\n  - 10.0.0.1:7946\n  - \"10.0.0.2:7946\"\nrounds: {form: 90s}\n")
	env := []string{"HOME=/root", "SHOAL_LEARNER_BATCH=7", "SHOAL_LEARNER_SGD_RATE=0.001", "SHOAL_CONFIG=x", "SHOAL_CHAOS=1"}
	flags := map[string]string{"learner.sgd.rate": "0.25", "data.mean": "0.5, 0.25,1"}
	c, origins, err := Load(path, env, flags)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		path   string
		got    any
		want   any
		origin Origin
	}{
		{"keep", c.Keep, 2, "default"},
		{"learner.threads", c.Learner.Threads, 3, "preset pi4"},
		{"learner.width", c.Learner.Width, 0.25, Origin(path + ":4:10")},
		{"learner.batch", c.Learner.Batch, 7, "$SHOAL_LEARNER_BATCH"},
		{"learner.sgd.rate", c.Learner.Optimizer.Rate, 0.25, "--set learner.sgd.rate"},
		{"data.mean", fmt.Sprint(c.Data.Mean), "[0.5 0.25 1]", "--set data.mean"},
		{"gossip.seeds", fmt.Sprint(c.Gossip.Seeds), "[10.0.0.1:7946 10.0.0.2:7946]", Origin(path + ":9:3")},
		{"rounds.form", c.Rounds.Form, 90 * time.Second, Origin(path + ":11:16")},
		{"name", c.Name, "shelf-1", Origin(path + ":2:7")},
	} {
		if v.got != v.want || origins[v.path] != v.origin {
			t.Errorf("%s: got %v from %s, want %v from %s", v.path, v.got, origins[v.path], v.want, v.origin)
		}
	}
}

func TestLoadPreset(t *testing.T) {
	path := write(t, "preset: pi4\nlearner: {batch: 6}\n")
	for name, v := range map[string]struct {
		env     []string
		flags   map[string]string
		threads int
		plan    string
	}{
		"file":        {nil, nil, 3, "ring"},
		"environment": {[]string{"SHOAL_PRESET=papakyriakou-squeezenet"}, nil, 0, "star"},
		"flag":        {[]string{"SHOAL_PRESET=pi4"}, map[string]string{"preset": "papakyriakou-squeezenet"}, 0, "star"},
	} {
		c, _, err := Load(path, v.env, v.flags)
		if err != nil || c.Learner.Batch != 6 || c.Learner.Threads != v.threads || c.Averaging.Plan != v.plan {
			t.Errorf("%s: got batch %d, threads %d, plan %s, %v", name, c.Learner.Batch, c.Learner.Threads, c.Averaging.Plan, err)
		}
	}
	_, _, err := Load("", nil, map[string]string{"preset": "pi44"})
	if err == nil || err.Error() != `--preset: unknown preset "pi44"; did you mean pi4?` {
		t.Errorf("got %v", err)
	}
}

func TestStartFromCircle(t *testing.T) {
	_, _, err := startFrom([]setting{{path: presetKey, texts: []string{"pi4"}, origin: "preset x"}}, []string{"pi4", "x"})
	if err == nil || err.Error() != `preset x: preset: "pi4" starts from itself` {
		t.Errorf("got %v", err)
	}
}

func TestLoadWrongEnvironmentAndFlags(t *testing.T) {
	for _, v := range []struct {
		env   string
		flag  string
		value string
		want  string
	}{
		{"SHOAL_LEARNER_WIDHT=1", "", "", "$SHOAL_LEARNER_WIDHT: unknown variable; did you mean SHOAL_LEARNER_WIDTH?"},
		{"SHOAL_LEARNER_X=1", "", "", "$SHOAL_LEARNER_X: unknown variable; those of learner are SHOAL_LEARNER_…, then one of its keys"},
		{"SHOAL_KEEP=", "", "", `$SHOAL_KEEP: keep: "" is not a whole number; give one such as 12`},
		{"", "learner.widht", "1", "--set learner.widht: unknown key; did you mean learner.width?"},
		{"", "learner", "1", "--set learner: a section, not a value; give one of its keys, such as learner.model"},
		{"", "width", "1", "--set width: unknown key; did you mean learner.width?"},
		{"", "", "1", "--set : unknown key; the keys at the top are " +
			"preset, name, state, seed, keep, scaling, data, learner, rounds, averaging, gossip, p2p, eval, http, log"},
		{"", "rounds.form", "5", `--set rounds.form: "5" is not a duration; give a number with its unit, such as 200ms or 1m30s`},
		{"", "data.mean", "0.5,x", `--set data.mean: "x" is not a number; give one such as 0.5 or 5e-4`},
	} {
		var flags map[string]string
		if v.env == "" {
			flags = map[string]string{v.flag: v.value}
		}
		_, _, err := Load("", []string{v.env}, flags)
		if err == nil || err.Error() != v.want {
			t.Errorf("%s %s=%s: got %v, want %s", v.env, v.flag, v.value, err, v.want)
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	if _, _, err := Load("testdata/absent.yaml", nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if _, _, err := Load("testdata", nil, nil); err == nil {
		t.Error("a directory was read")
	}
	_, _, err := Load(write(t, strings.Repeat("# padding\n", maxFileBytes/10+1)), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "larger than 32768 bytes") {
		t.Errorf("oversize file: %v", err)
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	_, _, err := Load(write(t, strings.Repeat("bad: 1\n", 1000)), nil, nil)
	if n := len(flatten(err)); n != maxProblems {
		t.Errorf("%d problems told, want %d", n, maxProblems)
	}
}

// Keys contain underscores, which also stand for dots: the variables must be told apart all the same.
func TestVariablesDiffer(t *testing.T) {
	paths := map[string]string{variable(presetKey): presetKey, "SHOAL_CONFIG": "the file's name"}
	for _, f := range fields() {
		if other, twice := paths[variable(f.path)]; twice {
			t.Errorf("%s is the variable of %s and %s", variable(f.path), f.path, other)
		}
		paths[variable(f.path)] = f.path
		if strings.ToLower(f.path) != f.path || strings.HasSuffix(f.path, ".") || f.path == "" {
			t.Errorf("%q is no path: does the field lack its yaml tag?", f.path)
		}
	}
}

// Each field is read from all sources: its own text gives its own value.
func TestFieldsReadBack(t *testing.T) {
	c := Defaults()
	for _, f := range fields() {
		var back Config
		if err := f.set(&back, f.texts(&c)); err != nil {
			t.Errorf("%s: %v", f.path, err)
		}
		if !reflect.DeepEqual(f.texts(&back), f.texts(&c)) {
			t.Errorf("%s: %v became %v", f.path, f.texts(&c), f.texts(&back))
		}
	}
}

func TestPresets(t *testing.T) {
	for _, name := range []string{
		"quickstart", "pi4", "papakyriakou-mobilenetv2", "papakyriakou-mobilenetv2-128", "papakyriakou-squeezenet",
	} {
		if !slices.Contains(Presets(), name) {
			t.Errorf("no preset %s", name)
		}
	}
	for _, name := range Presets() {
		text, err := Preset(name)
		if err != nil || !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s: begins without a comment that says what it is for, %v", name, err)
		}
		c, origins, err := Load("", nil, map[string]string{"preset": name})
		if err = errors.Join(err, c.Validate(origins)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Contains(slices.Collect(maps.Values(origins)), Origin("preset "+name)) {
			t.Errorf("%s: sets nothing", name)
		}
	}
}

// The papers' presets are the papers' hyperparameters.
func TestPaperPresets(t *testing.T) {
	for name, want := range map[string]string{
		"papakyriakou-mobilenetv2":     "mobilenet_v2 32",
		"papakyriakou-mobilenetv2-128": "mobilenet_v2 128",
		"papakyriakou-squeezenet":      "squeezenet1_1 32",
	} {
		c, _, err := Load("", nil, map[string]string{"preset": name})
		if err != nil {
			t.Fatal(err)
		}
		l := c.Learner
		if got := fmt.Sprint(l.Model, " ", l.Input); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		got := fmt.Sprint(l.Batch, l.Optimizer, l.Schedule.Kind, l.Schedule.Warmup, l.BatchNorm,
			c.Data.Partition, c.Data.Flip, c.Data.Crop, c.Rounds.Count, c.Rounds.Steps, c.Averaging.Plan, c.Averaging.Weights, c.Eval.Reestimate)
		if want := "12{0.0005 0.9 false 0 0}constant0{0.999 0.001}strided false0 10 0star equal0"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
