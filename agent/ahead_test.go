package agent

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"shoal/agent/part"
	"shoal/gossip/roster"
	"shoal/learner"
)

// ledger is a member whose every step adds one to the element of each sample that it trains on, in whole numbers, which
// float32 adds without loss: what a state holds says which samples entered it, and how often.
type ledger struct {
	*testing.T
	a         *Agent
	taken     [40]int // times that each sample was trained on
	counted   [40]int // of these, in the committed state
	forgotten [40]int // of these, dropped since others may have counted them
	after     int     // steps until something comes between; 0: nothing
	between   func()
	last      roster.Record
}

func newLedger(t *testing.T, delayed bool) *ledger {
	l := &ledger{T: t}
	tr := tinyTrainer(t, false)
	tr.cfg.Rounds.Count = 1 << 20
	tr.delayed = delayed
	l.a = &Agent{trainer: tr, store: openTestStore(t, t.TempDir()), log: zerolog.Nop()}
	clear(tr.learner.Shared(true))
	clear(tr.base)
	l.hook()
	l.commit(0)
	return l
}

func (l *ledger) hook() {
	t := l.a.trainer
	t.step = func(indices []int32, _ part.Batch, _ float64) (learner.Result, error) {
		for _, i := range indices {
			t.local()[i]++
			l.taken[i]++
		}
		if l.after--; l.after == 0 {
			l.between()
		}
		return learner.Result{N: len(indices)}, nil
	}
}

// commit notes that the trainer's base is the state of a round.
func (l *ledger) commit(round uint64) {
	l.last = roster.Record{Round: round, Hash: part.Hash(l.a.trainer.base), Roster: roster.Roster{Generation: l.last.Roster.Generation}}
}

// train is a round of the machine's, cut after some steps; 0: never.
func (l *ledger) train(rank, size, cut int) {
	l.Helper()
	t := l.a.trainer
	t.cut.Store(false)
	l.after, l.between = cut, t.stop
	from := l.a.round.resumeStep
	l.a.round.resumeStep = 0
	n, err := t.train(l.Context(), int(l.last.Round)+1, rank, size, from)
	if _, told := t.work(); err != nil || n != told || n != t.samples {
		l.Fatalf("round %d: %d samples of %d, %v", l.last.Round+1, n, t.samples, err)
	}
	l.after = 0
	l.check()
}

// ahead lets so many steps be taken before a job comes.
func (l *ledger) ahead(steps int) {
	t := l.a.trainer
	job := func() { t.jobs <- func() {} }
	if steps == 0 {
		job()
	}
	l.after, l.between = steps, job
	t.goAhead(l.Context())
	l.after = 0
	for len(t.jobs) > 0 {
		<-t.jobs
	}
	l.check()
}

// offer is what an exchange takes.
func (l *ledger) offer() []float32 {
	l.Helper()
	delta, state := make([]float32, len(l.a.trainer.local())), make([]float32, len(l.a.trainer.base))
	if err := l.a.trainer.offer(delta, state); err != nil {
		l.Fatal(err)
	}
	sum := float32(0)
	for _, d := range delta[:40] {
		sum += d
	}
	if _, n := l.a.trainer.work(); sum != float32(n) {
		l.Fatalf("%v samples are offered, %d were told", sum, n)
	}
	return delta
}

// adopt makes the state of the next round the shared one: with what this member offered in it or not, and something of
// others in it, further up.
func (l *ledger) adopt(mine []float32) {
	t := l.a.trainer
	state := slices.Clone(t.base)
	state[50]++
	for i := range mine {
		state[i] += mine[i]
	}
	for i := range l.counted {
		if mine != nil {
			l.counted[i] += int(mine[i])
		}
	}
	t.adopt(state, mine != nil)
	l.commit(l.last.Round + 1)
	l.check()
}

// restart is the next process's start after this one left in good order.
func (l *ledger) restart(offered bool) {
	l.Helper()
	t := l.a.trainer
	if offered {
		for i, x := range l.offer()[:40] {
			l.forgotten[i] += int(x)
		}
	}
	if err := l.a.saveLocal(l.last, offered); err != nil {
		l.Fatal(err)
	}
	fresh := newTrainer(t.cfg, t.learner, t.set)
	fresh.delayed = t.delayed
	copy(fresh.base, t.base)
	copy(fresh.local(), t.base)
	l.a.trainer = fresh
	l.hook()
	l.a.round.resumeStep = l.a.resumeLocal(roster.Stable{Next: l.last.Round + 1, Last: l.last})
	l.check()
}

// check holds that every step taken is in the committed state, in the local work or known to be dropped, and once.
func (l *ledger) check() {
	l.Helper()
	t := l.a.trainer
	sum := 0
	for i := range l.taken {
		local := int(t.local()[i] - t.base[i])
		sum += local
		if l.taken[i] != l.counted[i]+l.forgotten[i]+local || int(t.base[i]) != l.counted[i] {
			l.Fatalf("round %d: sample %d was trained on %d times; %d are committed (%v in the state), %d local, %d dropped",
				l.last.Round, i, l.taken[i], l.counted[i], t.base[i], local, l.forgotten[i])
		}
	}
	if int64(sum) != t.samples {
		l.Fatalf("round %d: the local work holds %d samples, %d are counted", l.last.Round, sum, t.samples)
	}
	if t.local()[50] != t.base[50] {
		l.Fatalf("round %d: what others did is taken for local work", l.last.Round)
	}
}

// Whatever happens to a round, every sample's gradient enters once: counted, cut, carried over, offered with an end that
// is not known, trained ahead, resumed after a restart.
func TestEveryGradientOnce(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := newLedger(t, seed%4 > 0)
		for range 30 {
			l.train(rng.IntN(2), 2, rng.IntN(3))
			l.ahead(rng.IntN(4))
			mine := l.offer()
			l.ahead(rng.IntN(2))
			if !slices.Equal(mine, l.offer()) {
				t.Fatalf("seed %d: an offer changed while training went on", seed)
			}
			switch rng.IntN(5) {
			case 0, 1:
				l.adopt(mine)
			case 2: // the others went on without it
				l.adopt(nil)
			case 3: // the same, and the end of an exchange is not known: the work is brought again, and counts
				l.adopt(nil)
				l.ahead(rng.IntN(4))
				l.adopt(l.offer())
			case 4:
				l.restart(rng.IntN(2) == 0)
			}
		}
	}
}

// Rounds that nothing disturbs train on every sample once an epoch, and exchanges beside training change nothing in that;
// nor does a restart.
func TestEpochsOfDelayedRounds(t *testing.T) {
	l := newLedger(t, true)
	const epochs = 6
	l.a.trainer.cfg.Rounds.Count = epochs
	for epoch := range epochs {
		l.train(0, 1, 0)
		l.ahead(epoch)
		if epoch == 2 {
			l.restart(false)
			l.train(0, 1, 0)
		}
		l.adopt(l.offer())
		l.ahead(1)
	}
	for i, n := range l.counted {
		if n != epochs || l.taken[i] != epochs {
			t.Errorf("sample %d entered %d times and was trained on %d times in %d epochs", i, n, l.taken[i], epochs)
		}
	}
}
