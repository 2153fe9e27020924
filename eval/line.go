package eval

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Limits of the journal, against a damaged file or a peer gone wrong.
const (
	maxLineBytes = 4 << 20 // a commit that names maxMembers three times has about 1 MB
	maxMembers   = 4096
	maxLines     = 1 << 20 // a thousand members' worth of a thousand rounds
	maxNameBytes = 256     // of a lineage, a hash, an ID
)

// line is one line of the journal: {"commit":{…}} or {"score":{…}}.
type line struct {
	Commit *Commit `json:"commit,omitempty"`
	Score  *Score  `json:"score,omitempty"`
}

// decodeLine reads one line without its newline.
func decodeLine(b []byte) (line, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return line{}, err
	}
	if (l.Commit == nil) == (l.Score == nil) {
		return line{}, errors.New("a line holds one commit or one score")
	}
	if l.Commit != nil {
		return l, l.Commit.check()
	}
	return l, l.Score.check()
}

// encodeLine is a line with its newline.
func encodeLine(l line) ([]byte, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if len(b) >= maxLineBytes {
		return nil, fmt.Errorf("a line of %d bytes, at most %d are read again", len(b), maxLineBytes)
	}
	return append(b, '\n'), nil
}

// check refuses a commit that no agent writes.
func (c Commit) check() error {
	if err := checkRound(c.Round, c.Lineage, c.StateHash, string(c.Agent)); err != nil {
		return fmt.Errorf("commit of round %d: %w", c.Round, err)
	}
	for _, n := range []int{len(c.Roster), len(c.Contributors), len(c.Missing)} {
		if n > maxMembers {
			return fmt.Errorf("commit of round %d: %d members, at most %d", c.Round, n, maxMembers)
		}
	}
	for _, x := range c.Contributors {
		if x.Samples < 0 {
			return fmt.Errorf("commit of round %d: %d samples of %q", c.Round, x.Samples, x.ID)
		}
		if x.Scale != nil && !(*x.Scale >= 0 && *x.Scale <= 1) {
			return fmt.Errorf("commit of round %d: work of %q scaled by %v, outside 0..1", c.Round, x.ID, *x.Scale)
		}
	}
	return nil
}

// check refuses a score that no evaluator announces.
func (s Score) check() error {
	if err := checkRound(s.Round, s.Lineage, s.StateHash, string(s.Evaluator)); err != nil {
		return fmt.Errorf("score of round %d: %w", s.Round, err)
	}
	if !(s.TestAccuracy >= 0 && s.TestAccuracy <= 1) {
		return fmt.Errorf("score of round %d: test accuracy %v is outside 0..1", s.Round, s.TestAccuracy)
	}
	return nil
}

func checkRound(round int, lineage, hash, id string) error {
	if round < 1 || round > math.MaxInt32 {
		return errors.New("rounds count from 1")
	}
	for _, name := range []string{lineage, hash, id} {
		if name == "" || len(name) > maxNameBytes {
			return fmt.Errorf("a name of %d bytes where 1..%d are expected", len(name), maxNameBytes)
		}
	}
	return nil
}

// Diverged is how a loss that is not finite is kept, since JSON has no word for it.
const Diverged = math.MaxFloat64

// finite is x, or Diverged.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return Diverged
	}
	return x
}
