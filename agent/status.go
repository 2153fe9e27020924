// Package agent is the life of one agent: join, train rounds, leave.
package agent

// API numbers the interface under /v1. It is raised when an answer changes its meaning; new fields do not raise it.
const API = 1

// Status is what an agent says of itself at /v1/status. Times are in seconds, sizes in bytes.
type Status struct {
	API             int            `json:"api"` // see API
	Name            string         `json:"name"`
	ID              string         `json:"id"`
	Version         string         `json:"version"`
	Lineage         string         `json:"lineage"`
	Generation      uint64         `json:"generation"`
	Round           int            `json:"round"`  // the round at work on, counted from 1; 0 before the first
	Rounds          int            `json:"rounds"` // how many the run has
	Phase           string         `json:"phase"`  // form | train | wait | average | evaluate | pause | done | leave
	Paused          bool           `json:"paused"` // rests on request, see POST /v1/pause
	Role            string         `json:"role"`   // member | coordinator | evaluator
	Step            int            `json:"step"`   // steps done in this round
	Steps           int            `json:"steps"`  // steps this round has for this agent
	Loss            float64        `json:"loss"`   // mean training loss over the last steps; 0 before the first
	ImagesPerSecond float64        `json:"images_per_second"`
	Images          int            `json:"images"`     // trained on since its start
	Sent            int64          `json:"bytes_sent"` // in exchanges since its start
	Received        int64          `json:"bytes_received"`
	Started         string         `json:"started"`    // RFC 3339
	StateHash       string         `json:"state_hash"` // of the last committed shared state
	PeakRSSBytes    uint64         `json:"peak_rss_bytes"`
	Gossip          string         `json:"gossip"`  // host:port of membership
	Streams         []string       `json:"streams"` // multiaddresses of streams
	Members         []MemberStatus `json:"members"`
	Score           *ScoreStatus   `json:"score,omitempty"` // the newest score heard of
	Warnings        []Warning      `json:"warnings"`        // what accuracy suffers from now, as this agent sees it
}

// MemberStatus is a member as this agent sees it.
type MemberStatus struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	State    string `json:"state"` // alive | suspect | dead | left
	InRoster bool   `json:"in_roster"`
	Addr     string `json:"addr"`              // host:port of its membership
	Samples  int64  `json:"samples"`           // of its shards that are in the shared state, counted each time
	Refused  string `json:"refused,omitempty"` // in what it differs from this agent, which therefore leaves it out
}

// ScoreStatus is the newest score of the shared model.
type ScoreStatus struct {
	Round        int     `json:"round"`
	TestAccuracy float64 `json:"test_accuracy"` // 0..1
	TestLoss     float64 `json:"test_loss"`
}
