package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDocumentIsGenerated holds the document to its records: run go generate ./docs/performance/gen when it fails.
func TestDocumentIsGenerated(t *testing.T) {
	want, err := document("..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/performance.md is not what its records make; run go generate ./docs/performance/gen")
	}
	for _, wrong := range []string{"NaN", "Inf", "%!", "| 0.00 |"} {
		if strings.Contains(strings.Split(want, "## Layers")[0], wrong) {
			t.Errorf("the document has %q in it", wrong)
		}
	}
}

// TestRecordsAreBenchmarks: every record can be repeated, and says where it comes from.
func TestRecordsAreBenchmarks(t *testing.T) {
	files, err := filepath.Glob("../*.json")
	files = slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) == accuracyName+".json" })
	if want := len(benchmarks()) + len(countings()); err != nil || len(files) != want {
		t.Errorf("%d records of %d benchmarks and counts, %v", len(files), want, err)
	}
	r := &records{dir: ".."}
	if _, err := document(".."); err != nil {
		t.Fatal(err)
	}
	for _, b := range benchmarks() {
		var kept record
		text, err := os.ReadFile(filepath.Join("..", b.name+".json"))
		if err == nil {
			err = json.Unmarshal(text, &kept)
		}
		if err != nil || !strings.HasPrefix(kept.Command, "shoal bench ") || len(kept.Date) < len("2006-01-02T15:04:05Z") || kept.Others < 0 || kept.Others > 1 {
			t.Errorf("%s: %v, %q on %q", b.name, err, kept.Command, kept.Date)
		}
	}
	for _, c := range []comparison{r.comparison("torch-mobilenet-128"), r.comparison("torch-squeezenet-32")} {
		o := first(c.Ours)
		if (o.commit() == "" || o.commit() == "(devel)") || o.Machine.CPUs < 1 || len(c.Ours) < 5 || len(c.Theirs) != len(c.Ours) {
			t.Errorf("%s: %d and %d runs of commit %q on %d CPUs", c.Peer, len(c.Ours), len(c.Theirs), o.commit(), o.Machine.CPUs)
		}
	}
	if r.err != nil {
		t.Error(r.err)
	}
}

func TestAccuracyTable(t *testing.T) {
	dir := t.TempDir()
	row := func(accuracy float64) string {
		return fmt.Sprintf(`{"train_loss": 1.5, "accuracy": %v, "peer": "torch 9"}`, accuracy)
	}
	text := fmt.Sprintf(`{"command": "x", "result": {"seeds": [{"seed": 1, "ours": [%s], "theirs": [%s]}, {"seed": 2, "ours": [%s], "theirs": [%s]}]}}`,
		row(0.5), row(0.25), row(0.75), row(0.5))
	if err := os.WriteFile(filepath.Join(dir, accuracyName+".json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, b := &records{dir: dir}, &strings.Builder{}
	if l := r.accuracy(); r.err == nil {
		writeAccuracy(b, l)
	}
	for _, want := range []string{"| mean | **62.50 %** | 37.50 % |", "| 1 | 62.5 % | 37.5 % |", "The peer is Torch 9."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %q, %v", want, b, r.err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, accuracyName+".json"), []byte(strings.Replace(text, row(0.5)+"]}]", "]}]", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _ = r.accuracy(); r.err == nil {
		t.Error("a seed without the peer's epochs is taken")
	}
}

// program is a stand-in for shoal that prints its arguments.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shoal")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecordAll(t *testing.T) {
	dir := t.TempDir()
	if err := recordAll(t.Context(), dir, program(t, `printf '{"batch": %d, "args": "%s"}' $# "$*"`), 0, []string{"set-generic", "torch-mobilenet-32"}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	r := &records{dir: dir}
	if got := r.single("set-generic"); got.Batch != 5 || r.err != nil {
		t.Errorf("%+v, %v", got, r.err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "torch-mobilenet-32.json"))
	want := `"command":"shoal bench --compare 'python3 docs/performance/torch_train.py --model mobilenet_v2 --input=32'"`
	if err != nil || !strings.Contains(string(text), want) || !strings.Contains(string(text), `"args":"bench --json --compare python3 `) {
		t.Errorf("%v: %s", err, text)
	}
}

func TestRecordAllRefuses(t *testing.T) {
	for name, v := range map[string]struct{ script, want string }{
		"set-sse":     {"echo {}", `record "set-sse": there is no such benchmark`},
		"set-avx2":    {"exit 7", "record set-avx2: run shoal bench --input=128 --peaks=false --cpu=avx2: exit status 7"},
		"set-generic": {"echo x", "record set-generic: json: "},
	} {
		if err := recordAll(t.Context(), t.TempDir(), program(t, v.script), 0, []string{name}); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDocumentNeedsEveryRecord(t *testing.T) {
	for name, text := range map[string]string{"absent": "", "damaged": `{"result": 3}`} {
		dir := t.TempDir()
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, "torch-mobilenet-128.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := document(dir); err == nil || !strings.Contains(err.Error(), "read record torch-mobilenet-128: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadTimes(t *testing.T) {
	busy, all, err := readTimes("cpu  1 2 4 1000 2000 8 16 32 64 128")
	if err != nil || busy != 630*time.Millisecond || all != 30630*time.Millisecond {
		t.Errorf("busy %v of %v, %v", busy, all, err)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 x 6 7 8"} {
		if _, _, err := readTimes(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWriteProducts(t *testing.T) {
	for _, v := range []struct {
		of   peaks
		want string
	}{
		{peaks{GFLOPS: 200, Products: []peakProduct{{256, 150, 200, 0.75}}}, "| multiply-adds in registers | 200 | |\n| products of 256×256 matrices | 150 | 75 % |\n\n"},
		{peaks{GFLOPS: 200, Of: "gemm"}, "| multiply-adds in registers | - | |\n| products of 256×256 matrices | 200 | - |\n\n"},
	} {
		var got strings.Builder
		if writeProducts(&got, v.of); !strings.HasSuffix(got.String(), v.want) {
			t.Errorf("got\n%s, want\n%s", &got, v.want)
		}
	}
}

func TestGroup(t *testing.T) {
	lines := []line{
		{Layer: "features.7.conv.0.1", Measured: 1, FLOPs: 2}, {Layer: "loss", Measured: 4}, {Layer: "features.7.conv.2", Measured: 8, FLOPs: 3},
	}
	got := group(lines, block)
	want := []part{{name: "features.7", measured: 9, flops: 5}, {name: "loss", measured: 4}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 1.234: "1.23", 9.999: "10.00", 12.34: "12.3", 123.6: "124", 6543.2: "6543"} {
		if got := short(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
	if got := spread([]float64{3, 1, 2}); got != "2.00 (1.00 to 3.00)" || spread(nil) != "-" || median([]float64{1, 4}) != 2.5 {
		t.Errorf("spread %q", got)
	}
}
