package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"shoal/eval"
	"shoal/gossip/roster"
)

// Cluster is the whole cluster as one agent sees it, at /v1/cluster: what membership says of each member, and what the
// member said of itself last.
type Cluster struct {
	Agent      string          `json:"agent"` // name of the agent that was asked
	ID         string          `json:"id"`
	Version    string          `json:"version"`
	Lineage    string          `json:"lineage"`
	Generation uint64          `json:"generation"`
	Round      int             `json:"round"` // as in Status
	Rounds     int             `json:"rounds"`
	Members    []ClusterMember `json:"members"` // by name, then ID
	Scores     []ScoreStatus   `json:"scores"`  // the last ones known here, by round
	Last       *RoundOutline   `json:"last"`    // the last committed round; null before the first
}

// ClusterMember is one member, with the last news of it.
type ClusterMember struct {
	MemberStatus
	Self         bool      `json:"self"`
	SecondsSince *float64  `json:"seconds_since"` // its last news; null: none was heard
	Progress     *Progress `json:"progress"`      // its last news
}

// RoundOutline is a committed round in short; /v1/rounds has the rest.
type RoundOutline struct {
	Round        int             `json:"round"`
	Contributors int             `json:"contributors"`
	Missing      []MissingMember `json:"missing"`
	Seconds      float64         `json:"seconds"` // as the agent that wrote the journal's line measured them
	Attempts     int             `json:"attempts"`
	Plan         string          `json:"plan"`
}

// MissingMember is who was left out of a round, and by which rule.
type MissingMember struct {
	ID     string `json:"id"`
	Name   string `json:"name"` // empty: not known here
	Reason string `json:"reason"`
}

// shownScores bounds the scores that Cluster has: as many as a sparkline on a wide terminal has columns.
const shownScores = 64

// cluster is what this agent knows of everybody now.
func (a *Agent) cluster(now time.Time) Cluster {
	s := a.shown.snapshot()
	c := Cluster{
		Agent: s.Name, ID: s.ID, Version: s.Version, Lineage: s.Lineage, Generation: s.Generation, Round: s.Round, Rounds: s.Rounds,
		Members: a.clusterMembers(s, now), Scores: lastScores(a.journal.Scores(), shownScores),
	}
	commit, ok, err := a.journal.Last(s.Lineage)
	if err != nil {
		a.log.Warn().Str("event", "journal_unreadable").Err(err).Msg("the last round is not shown")
	}
	if ok {
		c.Last = a.outline(commit)
	}
	return c
}

// clusterMembers puts the news of members to what membership says of them.
func (a *Agent) clusterMembers(s Status, now time.Time) []ClusterMember {
	news := a.shown.news()
	own := heard{a.shown.progress(), now}
	if told, ok := news[roster.ID(s.ID)]; ok {
		own.progress.CPU, own.progress.Celsius = told.progress.CPU, told.progress.Celsius
	}
	news[roster.ID(s.ID)] = own
	list := make([]ClusterMember, 0, len(s.Members))
	for _, m := range s.Members {
		member := ClusterMember{MemberStatus: m, Self: m.ID == s.ID}
		if n, ok := news[roster.ID(m.ID)]; ok {
			since := max(now.Sub(n.at).Seconds(), 0)
			member.SecondsSince, member.Progress = &since, &n.progress
		}
		list = append(list, member)
	}
	slices.SortFunc(list, func(x, y ClusterMember) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.ID, y.ID))
	})
	return list
}

// outline is a commit in short.
func (a *Agent) outline(c eval.Commit) *RoundOutline {
	names := a.names()
	o := &RoundOutline{
		Round: c.Round, Contributors: len(c.Contributors), Missing: []MissingMember{},
		Seconds: c.Seconds.Total(), Attempts: c.Attempts, Plan: c.Plan,
	}
	for _, m := range c.Missing {
		o.Missing = append(o.Missing, MissingMember{ID: string(m.ID), Name: names[string(m.ID)], Reason: m.Reason})
	}
	return o
}

// names maps the IDs of the members known here to their names.
func (a *Agent) names() map[string]string {
	names := map[string]string{}
	for _, s := range a.shown.summaries() {
		names[string(s.ID)] = s.Name
	}
	for _, m := range a.shown.snapshot().Members {
		names[m.ID] = m.Name
	}
	return names
}

// lastScores are the newest n rounds' scores, by round.
func lastScores(scores []eval.Score, n int) []ScoreStatus {
	byRound := map[int]ScoreStatus{}
	for _, s := range scores {
		byRound[s.Round] = ScoreStatus{Round: s.Round, TestAccuracy: s.TestAccuracy, TestLoss: s.TestLoss}
	}
	list := make([]ScoreStatus, 0, len(byRound))
	for _, s := range byRound {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b ScoreStatus) int { return cmp.Compare(a.Round, b.Round) })
	return list[max(0, len(list)-n):]
}
