// Package agent is the life of one agent: join, train rounds, leave.
package agent

// Status is what an agent says of itself at /v1/status. Times are in seconds, sizes in bytes.
type Status struct {
	Name            string         `json:"name"`
	ID              string         `json:"id"`
	Version         string         `json:"version"`
	Lineage         string         `json:"lineage"`
	Generation      uint64         `json:"generation"`
	Round           int            `json:"round"`  // the round at work on, counted from 1; 0 before the first
	Rounds          int            `json:"rounds"` // how many the run has
	Phase           string         `json:"phase"`  // form | train | wait | average | evaluate | done | leave
	Role            string         `json:"role"`   // member | coordinator | evaluator
	Step            int            `json:"step"`   // steps done in this round
	Steps           int            `json:"steps"`  // steps this round has for this agent
	Loss            float64        `json:"loss"`   // mean training loss over the last steps; 0 before the first
	ImagesPerSecond float64        `json:"images_per_second"`
	StateHash       string         `json:"state_hash"` // of the last committed shared state
	PeakRSSBytes    uint64         `json:"peak_rss_bytes"`
	Gossip          string         `json:"gossip"`  // host:port of membership
	Streams         []string       `json:"streams"` // multiaddresses of streams
	Members         []MemberStatus `json:"members"`
	Score           *ScoreStatus   `json:"score,omitempty"` // the newest score heard of
}

// MemberStatus is a member as this agent sees it.
type MemberStatus struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	State    string `json:"state"` // alive | suspect | dead | left
	InRoster bool   `json:"in_roster"`
}

// ScoreStatus is the newest score of the shared model.
type ScoreStatus struct {
	Round        int     `json:"round"`
	TestAccuracy float64 `json:"test_accuracy"` // 0..1
	TestLoss     float64 `json:"test_loss"`
}
