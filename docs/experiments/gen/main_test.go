package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"shoal/eval/lab"
	"shoal/eval/lab/row"
	"shoal/eval/lab/spread"
)

// fewer makes of a built-in experiment one of seconds: fewer agents, and below fewer images in a smaller model.
func fewer(text string) string {
	text = strings.NewReplacer(
		"agents: [2, 4, 8, 16, 24, 32, 40, 48]", "agents: [2, 6]", "agents: [48, 2]", "agents: [6, 2]", "\nagents: 48", "\nagents: 6",
		"\nagents: 16", "\nagents: 4", "\nagents: 24", "\nagents: 6", "\nagents: 10", "\nagents: 5", "[4, 8, 12, 16, 24, 32, 64]", "[4, 8]",
		"\n- {name: tree, set: {averaging.plan: tree}}\n- {name: star, set: {averaging.plan: star}}", "", "\n- {name: mesh, set: {averaging.plan: mesh}}", "", "[4, 16, 64]", "[2, 4]", "repetitions: 3", "repetitions: 1", "repetitions: 2", "repetitions: 1", "device: raspberry-pi-4", "device: {profile: raspberry-pi-4, images_per_second: 100}",
	).Replace(text)
	const axes = "\n  data.set: [builtin]\n  data.limit: [60]\n  data.test_limit: [20]\n  learner.width: [0.1]\n  learner.threads: [1]\n  eval.reestimate: [2]\n  epochs: [1]\n"
	if head, tail, ok := strings.Cut(text, "\naxes:\n"); ok {
		return head + "\naxes:" + axes + tail
	}
	return text + "\naxes:" + axes
}

// computed are the rows of all experiments that have a page, made by the lab, as the directories that it leaves.
func computed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range pages() {
		text, err := lab.Builtin(p.name)
		if err != nil {
			t.Fatal(err)
		}
		small := fewer(text)
		if p.name == "churn" {
			small = strings.Replace(small, "repetitions: 1", "repetitions: 2", 1)
		}
		e, err := lab.Read(p.name+".yaml", small)
		if err == nil {
			err = lab.Do(t.Context(), e, lab.Options{Out: filepath.Join(dir, p.name), Commit: "0123456789ab", Machine: "a machine"})
		}
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
	}
	return dir
}

// TestPages makes the pages of rows that the lab computed; with SHOAL_PAGES naming a directory, it leaves them there to be
// looked at.
func TestPages(t *testing.T) {
	results, dir := computed(t), t.TempDir()
	if out := os.Getenv("SHOAL_PAGES"); out != "" {
		dir = out
	}
	var names []string
	for _, p := range pages() {
		names = append(names, filepath.Join(results, p.name))
	}
	if err := run(t.Context(), options{dir: dir, keep: true, names: names}); err != nil {
		t.Fatal(err)
	}
	index := read(t, dir, "README")
	for _, p := range pages() {
		if linked := strings.Contains(index, "("+p.name+".md)"); linked == p.part {
			t.Errorf("the index links to %s: %v", p.name, linked)
		}
		if !p.part {
			checkPage(t, dir, p.name)
		}
	}
	checkPage(t, dir, "README")
	text := checkPage(t, dir, "collapse")
	for _, want := range []string{"48.43 %", "10.00 %", "9.99 times", "ln 10 = 2.3026", "On the same 6 Raspberry Pis", "MobileNetV2: 6 agents get", "SqueezeNet 1.1: 6 agents get"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of the collapse does not say %q", want)
		}
	}
	t.Run("numbers", func(t *testing.T) { checkNumbers(t, results, dir) })
	t.Run("absent", func(t *testing.T) { checkAbsent(t, dir) })
	t.Run("unfinished", func(t *testing.T) { checkUnfinished(t, results) })
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkPage holds a page to what every page keeps: each number is one, each link leads somewhere, each table has as many cells
// in each line.
func checkPage(t *testing.T, dir, name string) string {
	t.Helper()
	text := read(t, dir, name)
	for _, never := range []string{"NaN", "Inf", "%!", "<no value>", "<nil>"} {
		if strings.Contains(text, never) {
			t.Errorf("page %s has %q in it", name, never)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], "../") {
			continue // of the repository, not of this directory
		}
		if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
			t.Errorf("page %s links to what is not there: %v", name, err)
		}
	}
	cells := 0
	for line := range strings.Lines(text) {
		n := strings.Count(line, "|")
		if !strings.HasPrefix(line, "|") {
			n = 0
		}
		if n != 0 && cells != 0 && n != cells {
			t.Errorf("page %s: a table's line has %d cells after one of %d: %s", name, n-1, cells-1, line)
		}
		cells = n
	}
	return text
}

// checkNumbers finds every score of the lab's own rows, put together by hand, on the page of its study.
func checkNumbers(t *testing.T, results, dir string) {
	f, err := row.Open(filepath.Join(results, "churn", lab.RowsFile))
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, dir, "churn")
	sums := map[string]float64{}
	for _, r := range f.Runs {
		sums[r.Variant] += float64(r.Scores[0].TestAccuracy) / 2
	}
	for variant, mean := range sums {
		if want := fmt.Sprintf("| `%s` | %.2f %%", variant, 100*mean); !strings.Contains(text, want) {
			t.Errorf("the page of churn does not have %q", want)
		}
	}
	kept, err := row.Open(filepath.Join(dir, rowsDir, "churn.jsonl"))
	if err != nil || len(kept.Runs) != len(f.Runs) || len(kept.Rounds) > len(f.Rounds) {
		t.Errorf("kept %d runs of %d and %d rounds of %d: %v", len(kept.Runs), len(f.Runs), len(kept.Rounds), len(f.Rounds), err)
	}
	checkApart(t, results, dir)
}

// checkApart finds on the page of exchanges how far the members are apart where they average in pairs, and nowhere else.
func checkApart(t *testing.T, results, dir string) {
	f, err := row.Open(filepath.Join(results, "exchanges", lab.RowsFile))
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, dir, "exchanges")
	for _, r := range f.Runs {
		rounds := f.RoundsOf(r.Run)
		end := rounds[len(rounds)-1]
		want := "–"
		if strings.HasPrefix(r.Variant, "pairs") {
			want = fmt.Sprintf("%.2g", float64(end.Distance))
		}
		if (end.Pairs == 2) != (want != "–") {
			t.Errorf("run %s has %d pairs of 4 agents", r.Run, end.Pairs)
		}
		if !regexp.MustCompile("(?m)^\\| `" + r.Variant + "`.* " + regexp.QuoteMeta(want) + " \\|$").MatchString(text) {
			t.Errorf("the page of exchanges does not say that the members of %s are %s apart", r.Run, want)
		}
	}
}

// checkAbsent takes rows away: their page and its link go, and what is left does not change.
func checkAbsent(t *testing.T, dir string) {
	before := read(t, dir, "outer")
	for _, name := range []string{"churn", "papers-mobilenetv2", "shoal-48"} {
		if err := os.Rename(filepath.Join(dir, rowsDir, name+".jsonl"), filepath.Join(t.TempDir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t.Context(), options{dir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "churn.md")); err == nil || strings.Contains(read(t, dir, "README"), "churn") {
		t.Error("the page of churn is there without its rows, or linked to")
	}
	if text := checkPage(t, dir, "collapse"); !strings.Contains(text, "## Why") || strings.Contains(text, "## The same here") || strings.Contains(text, "## What shoal-48 does") {
		t.Error("the page of the collapse has sections without rows, or lacks those with rows")
	}
	if read(t, dir, "outer") != before {
		t.Error("the page of outer changed with the rows of others")
	}
}

// checkUnfinished takes the last run away, as if the lab had been interrupted.
func checkUnfinished(t *testing.T, results string) {
	f, err := row.Open(filepath.Join(results, "outer", lab.RowsFile))
	if err != nil {
		t.Fatal(err)
	}
	last := f.Runs[len(f.Runs)-1].Run
	f.Runs = f.Runs[:len(f.Runs)-1]
	text, err := encode(f)
	from := t.TempDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(from, lab.RowsFile), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := keep(from, t.TempDir()); err == nil || !strings.Contains(err.Error(), last) {
		t.Errorf("rows without run %s are kept: %v", last, err)
	}
}

func TestWrongRequestsSayWhatToDo(t *testing.T) {
	ctx, empty := context.Background(), t.TempDir()
	for _, c := range []struct {
		o    options
		want string
	}{
		{options{record: true, keep: true, names: []string{"churn"}}, "one of them"},
		{options{record: true}, "name experiments"},
		{options{names: []string{"churn"}}, "-record"},
		{options{record: true, names: []string{"quickstart"}}, "there are pages of"},
		{options{record: true, names: []string{"nothing"}}, "is built in"},
		{options{keep: true, names: []string{empty}}, "shoal lab wrote to"},
	} {
		c.o.dir, c.o.lab = t.TempDir(), t.TempDir()
		if err := run(ctx, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.o, err, c.want)
		}
	}
}

// of makes runs of one configuration with these accuracies.
func of(variant string, agents int, accuracies ...float64) []row.Run {
	var runs []row.Run
	for i, a := range accuracies {
		runs = append(runs, row.Run{
			Place:  row.Place{Variant: variant, Agents: agents, Axes: [][2]string{{"agents", fmt.Sprint(agents)}}, Repetition: i, Seed: uint64(i), Model: mobilenet},
			Scores: []row.Score{{Statistics: row.Running, TestAccuracy: row.Number(a)}, {Statistics: row.Reestimated, TestAccuracy: row.Number(a)}},
		})
	}
	return runs
}

func studyOf(runs ...[]row.Run) *study {
	f := row.File{Runs: slices.Concat(runs...)}
	return &study{File: f, Groups: spread.Groups(f.Runs)}
}

// TestWordsGoByTheRows: what is said of 48 agents beside 2 turns with the numbers.
func TestWordsGoByTheRows(t *testing.T) {
	for _, c := range []struct {
		most, fewest []float64
		want         string
	}{
		{[]float64{0.5, 0.52}, []float64{0.6, 0.62}, "do not reach what so few do: −10.00 points"},
		{[]float64{0.6, 0.62}, []float64{0.61, 0.63}, "reach what so few do: repetitions"},
		{[]float64{0.7, 0.72}, []float64{0.6, 0.62}, "get more than so few do, by +10.00 points"},
		{[]float64{0.5}, []float64{0.6}, "do not reach it, by −10.00 points, in runs too few"},
		{[]float64{0.6}, []float64{0.5}, "48 agents reach it, in runs too few"},
	} {
		said := collapse{Shoal: studyOf(of("", 48, c.most...), of("", 2, c.fewest...))}.Reached()
		if len(said) != 1 || !strings.Contains(said[0], c.want) {
			t.Errorf("%v against %v: %q, want %q", c.most, c.fewest, said, c.want)
		}
	}
	for _, c := range []struct {
		running float64
		want    string
	}{{0.1, "which is what guessing gets"}, {0.3, "more than guessing gets"}} {
		s := studyOf(of("", 48, c.running), of("", 2, 0.6))
		if said := strings.Join(collapse{Papers: s}.Same(), " "); !strings.Contains(said, c.want) || !strings.Contains(said, "the statistics hide nothing here") {
			t.Errorf("with %v: %s", c.running, said)
		}
	}
	why := func(alone float64) string {
		return strings.Join(collapse{Causes: studyOf(of("papers", 48, 0.1), of("rate", 48, alone), of("shoal-48", 48, 0.6), of("shoal-48-period", 48, 0.4))}.Why(), " ")
	}
	if said := why(0.3); !strings.Contains(said, "None of these") || !strings.Contains(said, "a higher one*: +20.00 points") || !strings.Contains(said, "once per epoch*: −20.00 points") {
		t.Errorf("with a cause that helps: %s", said)
	}
	if said := why(0.7); !strings.Contains(said, "One of these") {
		t.Errorf("with a cause that is all: %s", said)
	}
	if said := why(0.05); !strings.Contains(said, "no single change helps") {
		t.Errorf("with a cause that harms: %s", said)
	}
}

// TestPagesAreOfTheirRows: nobody edited a page, or rows without their page.
func TestPagesAreOfTheirRows(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, rowsDir), os.DirFS("../"+rowsDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := run(t.Context(), options{dir: dir}); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*.md", figuresDir + "/*.svg"} {
		for _, names := range [][]string{glob(t, dir, pattern), glob(t, "..", pattern)} {
			for _, name := range names {
				got, _ := os.ReadFile(filepath.Join("..", name))
				want, _ := os.ReadFile(filepath.Join(dir, name))
				if string(got) != string(want) || len(want) == 0 {
					t.Errorf("docs/experiments/%s is not what the rows make; run go run ./docs/experiments/gen", name)
				}
			}
		}
	}
}

// glob are the files of a pattern, relative to dir.
func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if files[i], err = filepath.Rel(dir, files[i]); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
