package agent_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
)

// killsVariable makes an agent of this test binary kill itself at a step of the protocol: it holds the directory that says
// at which.
const killsVariable = "SHOAL_TEST_KILLS"

// orderFile names the step at which somebody is to die, as "7 coordinator after send begin"; claims go to claim-7.
const orderFile = "order"

// suicide ends its own process at the step that is ordered, if no other agent did.
type suicide struct {
	dir     string
	settled atomic.Bool // it took part in an exchange since it was started
}

func (s *suicide) at(step string, coordinates bool) {
	role := "other"
	switch {
	case !s.settled.Load():
		role = "newcomer"
	case coordinates:
		role = "coordinator"
	}
	if step == "after exchange" {
		defer s.settled.Store(true)
	}
	b, err := os.ReadFile(filepath.Join(s.dir, orderFile))
	number, order, ok := strings.Cut(string(b), " ")
	if err != nil || !ok || order != role+" "+step {
		return
	}
	if s.claim(number) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// claim reports whether nobody did before.
func (s *suicide) claim(number string) bool {
	f, err := os.OpenFile(filepath.Join(s.dir, "claim-"+number), os.O_CREATE|os.O_EXCL, 0o600)
	return err == nil && f.Close() == nil
}

// stepsOf are the steps of a round that a member takes in each role, in a cluster where nothing else goes wrong: before and
// after each of them one is killed.
var stepsOf = map[string][]string{
	"coordinator": {
		"take trained", "persist promise", "send poll", "deliver poll", "receive ready", "send begin", "deliver begin", "reduce",
		"exchange", "store state", "take reduced", "persist prepared", "send done", "deliver done", "receive done", "persist commit",
		"adopt", "write journal", "load state", "take adopted", "train",
	},
	"other": {
		"take trained", "receive poll", "persist promise", "send ready", "deliver ready", "receive begin", "reduce", "exchange",
		"store state", "take reduced", "persist prepared", "send done", "deliver done", "receive done", "persist commit", "adopt",
		"write journal", "load state", "take adopted", "train",
	},
	"newcomer": {"send ask", "receive head", "fetch", "get state", "keep state", "take fetched", "persist commit", "adopt", "write journal", "load state", "take adopted"},
}

// killCase is one death.
type killCase struct {
	role, step string
	away       bool // it comes back when the others have gone on, not at once
}

// killCases are all deaths there are, in random order.
func killCases(rng *rand.Rand) (all []killCase) {
	for _, role := range []string{"coordinator", "other", "newcomer"} {
		for _, step := range stepsOf[role] {
			for _, side := range []string{"before ", "after "} {
				all = append(all, killCase{role, side + step, rng.IntN(2) == 0})
			}
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
