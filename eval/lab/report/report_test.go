package report

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"shoal/eval/lab/row"
	"shoal/eval/tensorboard"
)

// made is rows as an experiment over agents, partitions and repetitions leaves them: loss falls, accuracy rises, more
// agents take less time and learn less.
func made(agents []int, partitions []string, repetitions, rounds int) row.File {
	f := file{row.File{Header: row.Header{
		Kind: row.KindHeader, Name: "scaling", About: "How speed and accuracy depend on the number of agents, for two ways to part the data.", Commit: "0123456789ab",
		Machine: "linux/amd64, 2 CPUs", Date: "2025-01-02T03:04:05Z", Assumptions: []string{"Devices are Raspberry Pi 4B.", "The network is a switch of 1 Gb/s."},
		Experiment: "name: scaling\naxes:\n  agents: [1, 2, 4, 8, 24, 48]\n",
	}}}
	for _, n := range agents {
		for i, partition := range partitions {
			for rep := range repetitions {
				f.addRun(n, i, partition, rep, rounds)
			}
		}
	}
	return f.File
}

// file is rows that grow.
type file struct{ row.File }

func (f *file) addRun(n, i int, partition string, rep, rounds int) {
	rng := rand.New(rand.NewPCG(uint64(n*100+i*10+rep), 1))
	place := row.Place{
		Run: fmt.Sprintf("agents=%d,shards.partition=%s,seed=%d", n, partition, rep+1), Axes: [][2]string{{"agents", fmt.Sprint(n)}, {"shards.partition", partition}},
		Agents: n, Repetition: rep, Seed: uint64(rep + 1), Model: "mobilenetv2", Input: 32, Batch: 12,
	}
	var last row.Round
	for r := 1; r <= rounds; r++ {
		epoch := 10 * float64(r) / float64(rounds)
		right := (0.75 - 0.05*math.Log2(float64(n))*float64(i+1)/2) * (1 - math.Exp(-epoch/4)) * (1 + 0.04*rng.NormFloat64())
		last = row.Round{
			Place: place, Round: r, Epoch: epoch, Images: int64(5000 * epoch), TrainLoss: row.Number(2.3 * (1 - right)), TrainAccuracy: row.Number(right), Rate: 0.01, Contributors: n,
			Distance: row.Number(0.02 * float64(n-1) * math.Exp(-epoch/8)), Clock: 900 * epoch / math.Pow(float64(n), 0.8), Seconds: row.RoundSeconds{Train: 90 / float64(n), Average: 0.5, Wait: 0.1, Evaluate: 1},
		}
		if r%2 == 0 || r == rounds {
			collapsed := math.Max(0.1, right-0.1*math.Log2(float64(n)))
			last.Scores = []row.Score{{Statistics: row.Running, TestLoss: 2.3, TestAccuracy: row.Number(collapsed)}, {Statistics: row.Reestimated, TestLoss: 1, TestAccuracy: row.Number(0.95 * right)}}
		}
		f.Rounds = append(f.Rounds, last)
	}
	s := row.RunSeconds{Start: 2, Train: 9000 / float64(n), Average: 6 * math.Log2(float64(2*n)), Wait: 3, Evaluate: 20}
	s.Total = s.Start + s.Train + s.Average + s.Wait + s.Evaluate
	f.Runs = append(f.Runs, row.Run{
		Place: place, Rounds: rounds, Images: 50000, TrainLoss: last.TrainLoss, TrainAccuracy: last.TrainAccuracy, Scores: last.Scores, Seconds: s,
		ImagesPerSecond: 50000 / s.Total, WallSeconds: 3,
	})
}

// theirs is a reference with holes.
func theirs() Reference {
	v := func(x float64) *float64 { return &x }
	return Reference{Name: "published 2025", Points: []ReferencePoint{
		{Agents: 2, Seconds: v(9900), Speedup: v(1), Efficiency: v(1), TrainLoss: v(1.2), TrainAccuracy: v(0.6), TestAccuracy: v(0.4843)},
		{Agents: 48, Seconds: v(991), Speedup: v(9.99), Efficiency: v(0.416), TrainLoss: v(1.9), TestAccuracy: v(0.1)},
	}}
}

// TestWritten writes a whole report; with SHOAL_REPORT naming a directory, it leaves it there to be looked at.
func TestWritten(t *testing.T) {
	dir := t.TempDir()
	if out := os.Getenv("SHOAL_REPORT"); out != "" {
		dir = out
	}
	rows := made([]int{1, 2, 4, 8, 24, 48}, []string{"strided", "shuffled"}, 3, 20)
	if err := Write(dir, rows, theirs()); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{
		"<h1>scaling</h1>", "prefers-color-scheme: dark", "The network is a switch of 1 Gb/s.", "published 2025", "n = 3", "0123456789ab", "shoal lab experiment.yaml",
		"agents=48, partition=strided", "Mean of 3 repetitions", "partition=shuffled: 48 agents are 35.84 times as fast as 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, never := range []string{"<script", "src=", "@import", "url(", "http://www.w3.org/1999/xlink", "NaN", "+Inf", "ZgotmplZ"} {
		if strings.Contains(text, never) {
			t.Errorf("the page contains %q", never)
		}
	}
	for _, name := range []string{
		"speed-up", "efficiency", "train-accuracy", "train-loss", "total-time", "test-accuracy", "curve-train-loss", "curve-train-accuracy",
		"curve-test-accuracy-running", "curve-test-accuracy-reestimated", "phases", "distance",
	} {
		for _, suffix := range []string{".svg", ".png"} {
			if info, err := os.Stat(filepath.Join(dir, FiguresDir, name+suffix)); err != nil || info.Size() < 1000 {
				t.Errorf("figure %s%s is not there, or empty: %v", name, suffix, err)
			}
		}
		if !strings.Contains(text, `<figure id="`+name+`">`) {
			t.Errorf("figure %s is not on the page", name)
		}
	}
	events, err := filepath.Glob(filepath.Join(dir, TensorBoardDir, "*", tensorboard.FileName))
	if err != nil || len(events) != 36 {
		t.Errorf("%d event files for 36 runs (%v)", len(events), err)
	}
}

// figuresOf are the names of the figures of rows.
func figuresOf(rows row.File) string {
	var names []string
	for _, f := range newExperiment(rows, nil).figures() {
		names = append(names, f.Name)
	}
	return strings.Join(names, " ")
}

func TestFiguresGoByWhatVaries(t *testing.T) {
	alone := made([]int{4}, []string{"strided", "shuffled"}, 2, 4)
	if got := figuresOf(alone); strings.Contains(got, "speed-up") || strings.Contains(got, "total-time") || !strings.Contains(got, "curve-train-loss") {
		t.Errorf("with one size of cluster, figures are: %s", got)
	}
	rates := made([]int{4}, []string{"0.1", "0.2", "0.8"}, 1, 4)
	if got := figuresOf(rates); strings.Contains(got, "speed-up") || !strings.Contains(got, "total-time") {
		t.Errorf("over a number that is not agents, figures are: %s", got)
	}
	open := made([]int{1, 2}, []string{"strided"}, 1, 4)
	open.Runs = nil
	if got := figuresOf(open); !strings.HasPrefix(got, "curve-train-loss") {
		t.Errorf("while nothing has ended, figures are: %s", got)
	}
	if err := Write(t.TempDir(), open); err != nil {
		t.Errorf("while nothing has ended: %v", err)
	}
	if err := Write(t.TempDir(), row.File{}); err == nil || !strings.Contains(err.Error(), "no runs and no rounds") {
		t.Errorf("without rows: error %v", err)
	}
}

// TestSpeedupIsTimeOverTime holds the figure against the division done by hand.
func TestSpeedupIsTimeOverTime(t *testing.T) {
	rows := made([]int{2, 8}, []string{"strided"}, 2, 2)
	e := newExperiment(rows, nil)
	var one, eight float64
	for _, r := range rows.Runs {
		if r.Agents == 2 {
			one += r.Seconds.Total / 2
		} else {
			eight += r.Seconds.Total / 2
		}
	}
	figures := e.figures()
	at := func(name string) float64 {
		for _, f := range figures {
			if f.Name == name {
				return f.Series[0].Points[1].Y
			}
		}
		return math.NaN()
	}
	if got, want := at("speed-up"), one/eight; math.Abs(got-want) > 1e-9 {
		t.Errorf("speed-up %g, want %g", got, want)
	}
	if got, want := at("efficiency"), 100*one/eight/4; math.Abs(got-want) > 1e-9 {
		t.Errorf("efficiency %g, want %g", got, want)
	}
}

// TestDivergedRunsAreSaid: what left the numbers is counted, and drawn nowhere.
func TestDivergedRunsAreSaid(t *testing.T) {
	rows := made([]int{1, 2}, []string{"strided"}, 2, 3)
	rows.Runs[1].TrainLoss, rows.Runs[1].Scores, rows.Runs[1].Failed = row.Number(math.NaN()), nil, "loss is not finite after round 2"
	rows.Rounds[4].TrainLoss = row.Number(math.Inf(1))
	dir := t.TempDir()
	if err := Write(dir, rows); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Runs that ended early", "loss is not finite after round 2", "(1 not finite)", "1 run ended early"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestRowsAreOnlyText gives every text of the rows markup, and the run a name that leads out of the directory.
func TestRowsAreOnlyText(t *testing.T) {
	const bad = `<script>x</script>"'&`
	rows := made([]int{1, 2}, []string{bad}, 1, 2)
	rows.Header = row.Header{Name: bad, About: bad, Commit: bad, Machine: bad, Date: bad, Assumptions: []string{bad}, Experiment: bad}
	for i := range rows.Runs {
		rows.Runs[i].Failed = bad
	}
	for i := range rows.Rounds {
		rows.Rounds[i].Run = "../../" + rows.Rounds[i].Run
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := Write(dir, rows); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(page), "<script>") {
		t.Error("a text of the rows is markup on the page")
	}
	if found, err := os.ReadDir(filepath.Dir(filepath.Dir(dir))); err != nil || len(found) != 1 {
		t.Errorf("beside the report there is %v (%v)", found, err)
	}
}

// TestThePageIsWellFormed reads the page's body as XML, which the template keeps to: a tag that is not closed shows.
func TestThePageIsWellFormed(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, made([]int{1, 2}, []string{"strided"}, 1, 2)); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(page), "<body>")
	body, _, _ = strings.Cut(body, "</body>")
	d := xml.NewDecoder(strings.NewReader("<body>" + body + "</body>"))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnotherReportReplacesTheFirst leaves no figure and no events of rows that are gone.
func TestAnotherReportReplacesTheFirst(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, made([]int{1, 2}, []string{"a"}, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, made([]int{4}, []string{"b"}, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, FiguresDir, "speed-up.svg")); err == nil {
		t.Error("the figure of the first report is still there")
	}
	runs, err := os.ReadDir(filepath.Join(dir, TensorBoardDir))
	if err != nil || len(runs) != 1 {
		t.Errorf("%d directories of events for one run (%v)", len(runs), err)
	}
}

func TestPickTakesBothEnds(t *testing.T) {
	for _, c := range []struct {
		total, n int
		want     []int
	}{{0, 6, []int{}}, {1, 6, []int{0}}, {3, 6, []int{0, 1, 2}}, {13, 4, []int{0, 4, 8, 12}}, {5, 1, []int{0}}} {
		if got := pick(c.total, c.n); !slices.Equal(got, c.want) {
			t.Errorf("pick %d of %d: %v, want %v", c.n, c.total, got, c.want)
		}
	}
}
