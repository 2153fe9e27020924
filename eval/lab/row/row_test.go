package row

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
)

func sample() (Header, Round, Run) {
	place := Place{
		Run: "agents=2,seed=7", Axes: [][2]string{{"agents", "2"}}, Agents: 2, Seed: 7,
		Model: "mobilenetv2", Input: 32, Batch: 12,
	}
	scores := []Score{{Running, 2.25, 0.125}, {Reestimated, Number(math.Inf(1)), 0.5}}
	noise := Number(3)
	return Header{Name: "quickstart", Assumptions: []string{"none"}, Experiment: "name: quickstart\n"},
		Round{
			Place: place, Round: 1, Epoch: 0.5, Images: 512, TrainLoss: Number(math.NaN()), TrainAccuracy: 0.25, Rate: 0.01,
			Contributors: 1, Missing: []Missing{{1, "absent"}}, Distance: 0.75, GradientNoise: &noise, BytesSent: 12,
			Seconds: RoundSeconds{1, 2, 3, 4}, Clock: 10, Hash: "00", Scores: scores, WallSeconds: 0.5,
		},
		Run{Place: place, Rounds: 1, Images: 512, TrainLoss: 2, Scores: scores, Seconds: RunSeconds{Total: 10}, Hash: "00"}
}

func lines(t *testing.T, all ...any) []byte {
	t.Helper()
	var b []byte
	for _, l := range all {
		line, err := Encode(l)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, line...)
	}
	return b
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	h, r, run := sample()
	text := lines(t, h, r, r, run)
	f, err := Read(bytes.NewReader(append(text, `{"kind":"rou`...)))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Rounds) != 2 || len(f.Runs) != 1 || len(f.RoundsOf(r.Run)) != 2 {
		t.Fatalf("read %d rounds and %d runs of 2 and 1", len(f.Rounds), len(f.Runs))
	}
	if !math.IsNaN(float64(f.Rounds[0].TrainLoss)) || f.Rounds[0].Scores[1].TestLoss.Finite() {
		t.Errorf("what is not finite came back as %v and %v", f.Rounds[0].TrainLoss, f.Rounds[0].Scores[1].TestLoss)
	}
	if again := lines(t, f.Header, f.Rounds[0], f.Rounds[1], f.Runs[0]); !bytes.Equal(again, text) {
		t.Errorf("written again:\n%swas:\n%s", again, text)
	}
	if v, ok := f.Rounds[0].Axis("agents"); v != "2" || !ok {
		t.Errorf("axis agents is %q, %v", v, ok)
	}
	if s, ok := ScoreBy(f.Rounds[0].Scores, Running); !ok || s.TestAccuracy != 0.125 {
		t.Errorf("score with running statistics is %v, %v", s, ok)
	}
	if f.Header.Kind = ""; !reflect.DeepEqual(f.Header, h) {
		t.Errorf("header %+v, want %+v", f.Header, h)
	}
}

func TestABadLineIsNamed(t *testing.T) {
	h, r, _ := sample()
	head := string(lines(t, h))
	for name, c := range map[string]struct{ text, want string }{
		"no header":     {string(lines(t, r)), `line 1: kind "round" where the header has to be`},
		"two headers":   {head + head, "line 2: a second header"},
		"no JSON":       {head + "x\n", "line 2: not JSON"},
		"unknown kind":  {head + `{"kind":"dance"}` + "\n", `line 2: kind "dance"`},
		"unknown field": {head + `{"kind":"run","tempo":1}` + "\n", `unknown field "tempo"`},
		"long":          {head + strings.Repeat(" ", maxLineBytes) + "\n", "line 2: longer than"},
	} {
		if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	h, r, run := sample()
	for _, l := range []any{h, r, run} {
		line, err := Encode(l)
		if err != nil {
			f.Fatal(err)
		}
		head, err := Encode(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(head, line...))
	}
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, r := range got.Rounds {
			if _, err := Encode(r); err != nil {
				t.Fatalf("a round that was read cannot be written: %v", err)
			}
		}
	})
}
