package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"shoal/eval"
)

// Explanation is everything that this agent knows of one round, at /v1/rounds/N: one account for each lineage that
// committed it.
type Explanation struct {
	Round    int               `json:"round"`
	Agent    string            `json:"agent"` // name of the agent that was asked
	ID       string            `json:"id"`
	Names    map[string]string `json:"names"`    // ID → name, of everybody known here
	Accounts []Account         `json:"accounts"` // that of this agent's own lineage first
}

// Account is how one lineage came through a round.
type Account struct {
	Commit  eval.Commit `json:"commit"`
	Score   *eval.Score `json:"score"`   // null: not scored, or not heard of here
	Current bool        `json:"current"` // of the lineage that this agent follows
	Unknown []string    `json:"unknown"` // what this agent cannot know, and why
}

// lastRound is how a request names the last round that is committed.
const lastRound = "last"

// explain tells all of the round that text names, or which rounds it could tell of.
func (a *Agent) explain(text string) (Explanation, error) {
	s := a.shown.snapshot()
	e := Explanation{Agent: s.Name, ID: s.ID, Names: a.names(), Accounts: []Account{}}
	first, last, ok := a.journal.Span()
	if !ok {
		return e, fmt.Errorf("no round is committed yet; this agent is in phase %s", s.Phase)
	}
	round, err := strconv.Atoi(text)
	if text == lastRound {
		round, err = last, nil
	}
	if err != nil {
		return e, fmt.Errorf("%q is no round; give one of %d to %d, or %s", text, first, last, lastRound)
	}
	e.Round = round
	commits, err := a.journal.Round(round)
	if err != nil {
		return e, err
	}
	for _, c := range commits {
		e.Accounts = append(e.Accounts, a.account(c, s))
	}
	if len(e.Accounts) == 0 {
		return e, fmt.Errorf("round %d is not in this agent's journal, which has rounds %d to %d; give one of them, or ask another agent", round, first, last)
	}
	slices.SortStableFunc(e.Accounts, func(x, y Account) int {
		if x.Current != y.Current {
			return map[bool]int{true: -1, false: 1}[x.Current]
		}
		return cmp.Compare(x.Commit.Lineage, y.Commit.Lineage)
	})
	return e, nil
}

// account is one commit with its score, and what is not known of it here.
func (a *Agent) account(c eval.Commit, s Status) Account {
	account := Account{Commit: c, Current: c.Lineage == s.Lineage, Unknown: unknown(c, s.ID)}
	for _, score := range a.journal.Scores() {
		if score.StateHash == c.StateHash && score.Round == c.Round {
			account.Score = &score
			break
		}
	}
	return account
}

// unknown is what the agent called self cannot know of a commit in its journal: attempts, bytes and times are only what
// the writer of a line saw itself.
func unknown(c eval.Commit, self string) []string {
	list := []string{}
	switch {
	case string(c.Agent) != self:
		list = append(list, fmt.Sprintf("this agent was not there: attempts, bytes, times and training loss are those of %s, which wrote this line", c.Agent))
	case c.Attempts == 0:
		list = append(list, "this agent took no part in the exchange and fetched the state afterwards: attempts, bytes and times of the exchange are not known here; ask a contributor")
	}
	return list
}
