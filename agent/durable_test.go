package agent

import (
	"errors"
	"strings"
	"testing"
)

// What a relaxed agent wrote is believed as long as the machine ran through, and after an end in good order; else the
// member is no more, whatever the next one wants.
func TestRelaxedStore(t *testing.T) {
	for _, c := range []struct {
		name           string
		boot           string
		ended          bool // in good order
		later          string
		laterRelaxed   bool
		refused, stays bool
	}{
		{name: "the process died", boot: "b1", later: "b1", laterRelaxed: true, stays: true},
		{name: "the process died, and the next one waits for the disk", boot: "b1", later: "b1"},
		{name: "the machine died", boot: "b1", later: "b2", laterRelaxed: true, refused: true},
		{name: "the machine died, and the next one waits for the disk", boot: "b1", later: "b2", refused: true},
		{name: "nobody knows whether the machine died", laterRelaxed: true, refused: true},
		{name: "a good end, then another boot", boot: "b1", ended: true, later: "b2", laterRelaxed: true, stays: true},
		{name: "a good end on a machine without names", ended: true},
	} {
		dir := t.TempDir()
		s := openTestStore(t, dir)
		if err := errors.Join(s.settle(true, c.boot), s.write(stableFile, []byte("{}"))); err != nil || !s.exists(relaxedFile) {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !c.ended {
			s.relaxed = false // as a process that is killed: only the lock goes
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s = openTestStore(t, dir)
		err := s.settle(c.laterRelaxed, c.later)
		if got := errors.Is(err, ErrState) && strings.Contains(err.Error(), dir); got != c.refused || err != nil && !got {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := s.exists(relaxedFile); got != (c.refused || c.stays) {
			t.Errorf("%s: the mark is there: %v", c.name, got)
		}
		if c.refused {
			if err := s.settle(false, c.later); err == nil {
				t.Errorf("%s: a second start forgets what happened", c.name)
			}
			s.relaxed = false
		}
		if b, err := s.stable(); err != nil || b.Next != 0 {
			t.Errorf("%s: what it wrote: %+v, %v", c.name, b, err)
		}
	}
}
