package chaos

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what docs/membership.md prints of the record")

const (
	membershipVariable = "SHOAL_MEMBERSHIP" // names the file that measured figures are added to
	membershipRecord   = "../../docs/membership/record.json"
	membershipPage     = "../../docs/membership.md"
)

type (
	// deaths are how long real deaths took to be known to all, of agents that train on every core beside hogs.
	deaths struct {
		recordedOn
		Agents  int       `json:"agents"`
		Seconds []float64 `json:"seconds"`
		False   int       `json:"false"`
		Minutes float64   `json:"minutes"` // in which that happened
	}
	// joins are how long agents that start at once take, by repetition.
	joins struct {
		recordedOn
		Agents int       `json:"agents"`
		Up     []float64 `json:"up_seconds"`     // until the last of them was up
		Agreed []float64 `json:"agreed_seconds"` // and from then until all saw all
	}
	// calm is a time under load in which nobody died.
	calm struct {
		recordedOn
		Agents int     `json:"agents"`
		Hours  float64 `json:"hours"`
		False  int     `json:"false"`
	}
	// membershipFigures is the record; what was not measured is nil.
	membershipFigures struct {
		Deaths *deaths `json:"deaths,omitempty"`
		Joins  *joins  `json:"joins,omitempty"`
		Calm   *calm   `json:"calm,omitempty"`
	}
)

func readFigures(t *testing.T, path string) (f membershipFigures) {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f
	}
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// keepFigures adds to the record that SHOAL_MEMBERSHIP names what set fills in.
func keepFigures(t *testing.T, set func(f *membershipFigures, on recordedOn)) {
	t.Helper()
	path := os.Getenv(membershipVariable)
	if !strings.HasSuffix(path, ".json") {
		return
	}
	f := readFigures(t, path)
	set(&f, here(t))
	text, err := json.MarshalIndent(f, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// text is the part of the page that is of the record.
func (f membershipFigures) text() string {
	var s strings.Builder
	s.WriteString("| what | figure | held to | measured at |\n| --- | --- | --- | --- |\n")
	spread := func(x []float64) string {
		return fmt.Sprintf("median %.1f s, p99 %.1f s, at most %.1f s, of %d", Median(x), Quantile(x, 0.99), Quantile(x, 1), len(x))
	}
	if d := f.Deaths; d != nil {
		fmt.Fprintf(&s, "| a death is known to all of %d agents | %s | p99 10 s | %v |\n", d.Agents, spread(d.Seconds), d.recordedOn)
		fmt.Fprintf(&s, "| taken for dead wrongly meanwhile | %d in %.1f minutes | 0 | the same |\n", d.False, d.Minutes)
	}
	if c := f.Calm; c != nil {
		fmt.Fprintf(&s, "| taken for dead wrongly, of %d agents of which none dies | %d in %.2g h | 0 | %v |\n", c.Agents, c.False, c.Hours, c.recordedOn)
	}
	if j := f.Joins; j != nil {
		fmt.Fprintf(&s, "| %d agents that start at once are of one view | %s, after the last was up | 5 s | %v |\n", j.Agents, spread(j.Agreed), j.recordedOn)
		fmt.Fprintf(&s, "| and all are up | %s | – | the same |\n", spread(j.Up))
	}
	return s.String()
}

// TestMembershipPage compares docs/membership.md with its record.
func TestMembershipPage(t *testing.T) {
	page, err := os.ReadFile(membershipPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- figures -->\n", "<!-- end -->\n"
	head, rest, ok := strings.Cut(string(page), begin)
	was, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/membership.md has no part for figures")
	}
	want := readFigures(t, membershipRecord).text()
	if *update {
		err = os.WriteFile(membershipPage, []byte(head+begin+want+end+tail), 0o644)
	} else if was != want {
		t.Errorf("docs/membership.md: run go test ./agent/chaos -run MembershipPage -update; its figures should be\n%s", want)
	}
	if err != nil {
		t.Fatal(err)
	}
}
