// Package eval scores the shared model and keeps the record of a run: who evaluates, what came out, and what a report says.
package eval

import "shoal/gossip/roster"

// Commit is the journal's line for one round: what was averaged, from whom, and how long each phase took here.
type Commit struct {
	Round        int            `json:"round"` // counted from 1
	Lineage      string         `json:"lineage"`
	Generation   uint64         `json:"generation"`
	Ballot       string         `json:"ballot"`
	Roster       []roster.ID    `json:"roster"`       // who took part in the exchange
	Contributors []Contribution `json:"contributors"` // whose samples are in the mean
	Missing      []Absence      `json:"missing"`      // who was expected and is not in the mean, and why
	StateHash    string         `json:"state_hash"`   // of the shared state after the round, see part.Hash
	Plan         string         `json:"plan"`
	Chosen       string         `json:"chosen,omitempty"` // text of the plan, if the coordinator chose it by what was measured
	Wire         string         `json:"wire,omitempty"`
	Attempts     int            `json:"attempts"`
	TrainLoss    float64        `json:"train_loss"` // mean over this agent's steps
	TrainRight   float64        `json:"train_accuracy"`
	Images       int            `json:"images"` // this agent trained on
	Sent         int64          `json:"bytes_sent"`
	Received     int64          `json:"bytes_received"`
	Seconds      PhaseSeconds   `json:"seconds"`
	Exchange     float64        `json:"exchange_seconds,omitempty"` // of averaging: the exchange that was committed
	Store        float64        `json:"store_seconds,omitempty"`    // of averaging: hashing and storing the next state
	Agent        roster.ID      `json:"agent"`                      // who wrote the line
	Time         string         `json:"time"`                       // RFC 3339
}

// Contribution is one member's share of a mean.
type Contribution struct {
	ID      roster.ID `json:"id"`
	Samples int64     `json:"samples"`
	Norm    float64   `json:"norm,omitempty"`  // L2 norm of what it changed; 0: not known
	Scale   *float64  `json:"scale,omitempty"` // what it was scaled by, since its norm was over the bound; nil: 1
}

// Absence names a member that is not in a mean, and the rule that left it out.
type Absence struct {
	ID     roster.ID `json:"id"`
	Reason string    `json:"reason"`
}

// PhaseSeconds is where the time of a round went.
type PhaseSeconds struct {
	Train    float64 `json:"train"`
	Wait     float64 `json:"wait"`
	Average  float64 `json:"average"`
	Evaluate float64 `json:"evaluate"`
}

// Score is the journal's line for one evaluation, as the evaluator announced it.
type Score struct {
	Round        int       `json:"round"`
	Lineage      string    `json:"lineage"`
	StateHash    string    `json:"state_hash"` // of the state that was scored
	Evaluator    roster.ID `json:"evaluator"`
	TestAccuracy float64   `json:"test_accuracy"` // 0..1
	TestLoss     float64   `json:"test_loss"`     // mean cross-entropy
	Images       int       `json:"images"`
	Reestimated  int       `json:"reestimated"` // batches the batch-norm statistics were re-estimated from; 0: running ones
	Seconds      float64   `json:"seconds"`
	Time         string    `json:"time"` // RFC 3339
}
