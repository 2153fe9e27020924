package roster

import (
	"errors"
	"fmt"
	"time"
)

// Config says how long a run is and who must be there for it.
type Config struct {
	Count      int           `yaml:"count"`       // rounds to train; the run ends after this many commits
	Steps      int           `yaml:"steps"`       // local steps per round; 0: one pass over the shard (a round is an epoch)
	Expect     int           `yaml:"expect"`      // members awaited before the first round; 0: whoever is there after Form
	MinMembers int           `yaml:"min_members"` // a round commits only with at least this many members
	Form       time.Duration `yaml:"form"`        // how long the first round waits for Expect members
	Backoff    time.Duration `yaml:"backoff"`     // a waiting member becomes coordinator after rank·Backoff
	Gather     time.Duration `yaml:"gather"`      // least time a coordinator waits for an answer to its poll
	Deadline   time.Duration `yaml:"deadline"`    // longest time a round waits for a straggler; 0: adaptive, median + k·MAD
	Durable    string        `yaml:"durable"`     // round: promises are on the disk before they are given | relaxed: they need not survive a loss of power, after which this member must begin anew
}

// Durable names when what a machine persists is on the disk.
const (
	DurableRound   = "round"   // before any word that rests on it, so that a loss of power breaks no promise
	DurableRelaxed = "relaxed" // in the system at once, on the disk later: a process may die, a machine may not
)

// Defaults are the values of an absent configuration.
func Defaults() Config {
	return Config{
		Count: 10, MinMembers: 1, Form: time.Minute, Backoff: 200 * time.Millisecond, Gather: 2 * time.Second,
		Durable: DurableRound,
	}
}

// Validate reports every impossible value, each error as "key: value, and what to do".
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Count < 1, "count: %d rounds; give at least 1", c.Count)
	bad(c.Steps < 0, "steps: %d is negative; give 0 for one pass over the shard", c.Steps)
	bad(c.Expect < 0, "expect: %d is negative; give 0 to start with whoever is there", c.Expect)
	bad(c.MinMembers < 1, "min_members: %d; give at least 1", c.MinMembers)
	bad(c.Expect > 0 && c.Expect < c.MinMembers, "expect: %d members is less than min_members %d", c.Expect, c.MinMembers)
	bad(c.Form <= 0, "form: %v; give a positive duration such as 1m", c.Form)
	bad(c.Backoff <= 0, "backoff: %v; give a positive duration such as 200ms", c.Backoff)
	bad(c.Gather <= 0, "gather: %v; give a positive duration such as 2s", c.Gather)
	bad(c.Deadline < 0, "deadline: %v is negative; give 0 for an adaptive one", c.Deadline)
	bad(c.Durable != DurableRound && c.Durable != DurableRelaxed, "durable: %q is unknown; give %s or %s", c.Durable, DurableRound, DurableRelaxed)
	return errors.Join(errs...)
}
