//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// memberKills is how many deaths are measured, unless SHOAL_MEMBER_KILLS says otherwise.
	memberKills = 30
	// deathWithin is how soon all must know of a death, of 99 in 100.
	deathWithin = 10 * time.Second
	// memberJoins is how many agents join at once, and joinWithin how soon they must agree who is there, every time.
	memberJoins = 32
	joinWithin  = 5 * time.Second
	joinTurns   = 5
)

// measuresMembership skips what takes minutes of the whole machine.
func measuresMembership(t *testing.T) {
	t.Helper()
	if os.Getenv(membershipVariable) == "" {
		t.Skip("takes minutes and every core; run it with make membership, or SHOAL_MEMBERSHIP=1")
	}
}

// hogs are n processes that keep a core busy, until rest is called or the test ends.
func (s *shelf) hogs(n int) (rest func()) {
	s.t.Helper()
	var all []*process
	for range n {
		hog := exec.Command(os.Args[0])
		hog.Env = append(os.Environ(), hogVariable+"=1", "GOMAXPROCS=1")
		hog.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		p := &process{cmd: hog, done: make(chan struct{})}
		s.must(s.launch(0, p))
		all = append(all, p)
	}
	rest = func() {
		for _, p := range all {
			p.kill()
		}
	}
	s.t.Cleanup(rest)
	return rest
}

// forms is a run that waits for members and so shows membership alone.
const forms = small + "rounds: {count: 1, expect: 1000, form: 1h}\n"

// A real death under load is known to all soon, and nobody is taken for dead who is not.
func TestMembershipDeaths(t *testing.T) {
	measuresMembership(t)
	kills := memberKills
	if text := os.Getenv("SHOAL_MEMBER_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("SHOAL_MEMBER_KILLS=%q: give a number of kills", text)
		}
		kills = n
	}
	s := loaded(t)
	began := time.Now()
	var took []float64
	for k := range kills {
		victim := k % len(s.agents)
		id := s.id(victim)
		begin := time.Now()
		s.agents[victim].kill()
		for i := range s.agents {
			if i != victim {
				s.until(fmt.Sprintf("%s knows of the death of %s", s.name(i), s.name(victim)), time.Minute, func() bool { return s.state(i, id) == "dead" })
			}
		}
		took = append(took, time.Since(begin).Seconds())
		s.start(victim)
		s.until("all know all again", time.Minute, func() bool { return s.agree(8) })
	}
	p99 := Quantile(took, 0.99)
	fmt.Printf("deaths known to all: %d, median %.1f s, p99 %.1f s\n", len(took), Median(took), p99)
	if p99 > deathWithin.Seconds() {
		t.Errorf("p99 of %d deaths is %.1f s, want at most %v", len(took), p99, deathWithin)
	}
	wrong := max(0, s.deaths()-kills*(len(s.agents)-1))
	fmt.Printf("of the deaths that all agents logged, false: %d\n", wrong)
	if wrong > 0 {
		t.Errorf("%d false deaths were logged", wrong)
	}
	keepFigures(t, func(f *membershipFigures, on recordedOn) {
		f.Deaths = &deaths{on, len(s.agents), took, wrong, time.Since(began).Minutes()}
	})
}

// loaded are eight agents that train on every core, each of which has a hog too.
func loaded(t *testing.T) *shelf {
	t.Helper()
	s := newShelf(t, 8, small+"rounds: {count: 100000, steps: 20, expect: 8}\n")
	s.startAll()
	s.until("all know all", time.Minute, func() bool { return s.agree(8) })
	s.hogs(runtime.NumCPU())
	return s
}

// deaths is how many deaths the agents logged, each its own.
func (s *shelf) deaths() (n int) {
	for _, p := range s.agents {
		n += strings.Count(p.out.String(), `"event":"member_dead"`)
	}
	return n
}

// Nobody is taken for dead who trains beside hogs for SHOAL_MEMBERSHIP_HOURS.
func TestMembershipCalm(t *testing.T) {
	measuresMembership(t)
	text := os.Getenv("SHOAL_MEMBERSHIP_HOURS")
	if text == "" {
		t.Skip("takes hours; run it with make membership HOURS=1")
	}
	hours, err := strconv.ParseFloat(text, 64)
	if err != nil || !(hours > 0 && hours <= 1000) {
		t.Fatalf("SHOAL_MEMBERSHIP_HOURS=%q: give a number of hours, such as 1 or 0.1", text)
	}
	s := loaded(t)
	time.Sleep(time.Duration(hours * float64(time.Hour)))
	wrong := s.deaths()
	fmt.Printf("of %d agents, in %.2g hours, taken for dead wrongly: %d\n", len(s.agents), hours, wrong)
	if !s.agree(len(s.agents)) {
		t.Error("not all agents see all in the end")
	}
	if wrong > 0 {
		t.Errorf("%d false deaths were logged", wrong)
	}
	keepFigures(t, func(f *membershipFigures, on recordedOn) { f.Calm = &calm{on, len(s.agents), hours, wrong} })
}

// id is the peer ID of agent i, which must answer.
func (s *shelf) id(i int) (id string) {
	s.t.Helper()
	s.until(s.name(i)+" says who it is", time.Minute, func() bool {
		st, ok := s.status(i)
		id = st.ID
		return ok && id != ""
	})
	return id
}

// state is how agent i sees a member; "" if it does not know it or does not answer.
func (s *shelf) state(i int, id string) string {
	st, _ := s.status(i)
	for _, m := range st.Members {
		if m.ID == id {
			return m.State
		}
	}
	return ""
}

// logged are the times at which agent i logged an event, at least one.
func (s *shelf) logged(i int, event string) (at []time.Time) {
	s.t.Helper()
	for line := range strings.Lines(s.agents[i].out.String()) {
		var l struct {
			Event string    `json:"event"`
			Time  time.Time `json:"time"`
		}
		if strings.Contains(line, event) && json.Unmarshal([]byte(line), &l) == nil && l.Event == event {
			at = append(at, l.Time)
		}
	}
	if len(at) == 0 {
		s.t.Fatalf("%s logged no %s", s.name(i), event)
	}
	return at
}

// agree reports whether every agent sees n alive.
func (s *shelf) agree(n int) bool {
	for i := range s.agents {
		st, ok := s.status(i)
		alive := 0
		for _, m := range st.Members {
			if m.State == "alive" {
				alive++
			}
		}
		if !ok || alive != n {
			return false
		}
	}
	return true
}

// Agents that start at the same instant agree soon who is there. The time is from the moment when the last of them is up,
// since what one machine takes to start so many processes is not membership's, to the last member that one of them sees.
func TestMembershipJoins(t *testing.T) {
	measuresMembership(t)
	var ups, agrees []float64
	for turn := range joinTurns {
		t.Run(fmt.Sprint(turn), func(t *testing.T) {
			up, agreed := joinAtOnce(t)
			fmt.Printf("%d agents up after %.1f s, and of one view %.1f s later\n", memberJoins, up.Seconds(), agreed.Seconds())
			if agreed > joinWithin {
				t.Errorf("%d agents agree after %v, want at most %v", memberJoins, agreed, joinWithin)
			}
			ups, agrees = append(ups, up.Seconds()), append(agrees, agreed.Seconds())
		})
	}
	keepFigures(t, func(f *membershipFigures, on recordedOn) { f.Joins = &joins{on, memberJoins, ups, agrees} })
}

// joinAtOnce is one turn.
func joinAtOnce(t *testing.T) (up, agreed time.Duration) {
	t.Helper()
	s := newShelf(t, memberJoins, forms)
	begin := time.Now()
	s.startAll()
	s.until("all are up", 5*time.Minute, func() bool {
		for _, p := range s.agents {
			if !strings.Contains(p.out.String(), `"event":"agent_started"`) {
				return false
			}
		}
		return true
	})
	s.until("all know all", 2*time.Minute, func() bool { return s.agree(memberJoins) })
	var last, seen time.Time
	for i := range s.agents {
		started := s.logged(i, "agent_started")
		if started[0].After(last) {
			last = started[0]
		}
		if alive := s.logged(i, "member_alive"); alive[len(alive)-1].After(seen) {
			seen = alive[len(alive)-1]
		}
	}
	return last.Sub(begin), max(0, seen.Sub(last))
}
