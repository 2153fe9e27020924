package eval

import (
	"cmp"
	"slices"

	"shoal/gossip/roster"
)

// AgentSummary is what an agent says of itself at the end.
type AgentSummary struct {
	ID              roster.ID `json:"id"`
	Name            string    `json:"name"`
	ModelHash       string    `json:"model_hash"` // of its shared state
	ImagesPerSecond float64   `json:"images_per_second"`
	PeakRSSMB       float64   `json:"peak_rss_mb"`        // largest resident size, in 2^20 bytes
	Warnings        []string  `json:"warnings,omitempty"` // of its accuracy guard, in force at the end
}

// Report is what a run leaves. Everything is what one agent knows: train loss and accuracy, seconds and bytes are its
// own unless a peer had to tell.
type Report struct {
	Rounds          int            `json:"rounds"`        // the last round committed
	Ranks           int            `json:"ranks"`         // largest roster that took part in a round
	Nodes           int            `json:"nodes"`         // machines; as many as agents unless whoever started them knows better
	Epochs          float64        `json:"epochs"`        // passes over the training data; as many as rounds unless …
	TestAccuracy    *float64       `json:"test_accuracy"` // of the last round that was scored; null: none was
	TestLoss        *float64       `json:"test_loss"`
	TrainAccuracy   float64        `json:"train_accuracy"` // in the last round
	TrainLoss       float64        `json:"train_loss"`
	Lineage         string         `json:"lineage"` // of the last round
	StateHash       string         `json:"state_hash"`
	Seconds         float64        `json:"seconds"` // of all rounds, all phases
	Phases          PhaseSeconds   `json:"phases"`
	Images          int64          `json:"images"`            // trained on, by all members
	ImagesPerSecond float64        `json:"images_per_second"` // Images per second of training, waiting and averaging
	Sent            int64          `json:"bytes_sent"`
	Received        int64          `json:"bytes_received"`
	ModelsEqual     bool           `json:"models_equal"` // all agents hold the same bits
	Agents          []AgentSummary `json:"agents"`       // by name, then ID
	Rows            []Row          `json:"rows"`         // by round
	Files           []File         `json:"files,omitempty"`
	Model           string         `json:"model,omitempty"` // path of the final model
}

// File is where something of the run can be found.
type File struct {
	What string `json:"what"`
	Path string `json:"path"`
}

// Row is one round of a report.
type Row struct {
	Round         int            `json:"round"`
	Lineage       string         `json:"lineage"`
	Aside         bool           `json:"aside,omitempty"` // of another side of a partition than the final model
	TestAccuracy  *float64       `json:"test_accuracy"`   // null: not scored
	TestLoss      *float64       `json:"test_loss"`
	TrainAccuracy float64        `json:"train_accuracy"`
	TrainLoss     float64        `json:"train_loss"`
	Evaluator     roster.ID      `json:"evaluator,omitempty"`
	Contributors  []Contribution `json:"contributors"`
	Missing       []Absence      `json:"missing"`
	Seconds       PhaseSeconds   `json:"seconds"`
	Sent          int64          `json:"bytes_sent"`
	Received      int64          `json:"bytes_received"`
	Images        int64          `json:"images"` // of all contributors
	Plan          string         `json:"plan"`
	Attempts      int            `json:"attempts"`
	StateHash     string         `json:"state_hash"`
}

// Total is the time of a round. Its evaluation is not in it: that runs beside the next round, on the evaluator alone.
func (p PhaseSeconds) Total() float64 { return p.Train + p.Wait + p.Average }

// Assemble makes the report of a run from what the journal holds and what the agents say of themselves. The same lines in
// another order give the same report.
func Assemble(commits []Commit, scores []Score, agents []AgentSummary) Report {
	r := Report{Agents: slices.Clone(agents), Rows: []Row{}, Nodes: len(agents)}
	slices.SortFunc(r.Agents, func(a, b AgentSummary) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	if r.Agents == nil {
		r.Agents = []AgentSummary{}
	}
	r.ModelsEqual = equalModels(agents)
	commits = slices.SortedFunc(slices.Values(commits), func(a, b Commit) int {
		return cmp.Or(cmp.Compare(a.Round, b.Round), cmp.Compare(a.Lineage, b.Lineage))
	})
	scored := byState(scores)
	main := final(commits, agents)
	onMain := map[int]bool{}
	for _, c := range commits {
		onMain[c.Round] = onMain[c.Round] || c.Lineage == main.Lineage
	}
	counted := map[int]bool{}
	for _, c := range commits {
		row := newRow(c, scored)
		row.Aside = onMain[c.Round] && c.Lineage != main.Lineage || counted[c.Round]
		r.Rows = append(r.Rows, row)
		if !row.Aside {
			counted[c.Round] = true
			r.count(row)
			r.Ranks = max(r.Ranks, len(c.Roster))
		}
	}
	r.Rounds, r.Epochs, r.Lineage, r.StateHash = main.Round, float64(main.Round), main.Lineage, main.StateHash
	if busy := r.Phases.Total(); busy > 0 {
		r.ImagesPerSecond = float64(r.Images) / busy
	}
	return r
}

// count adds a round of the final model's history to the sums.
func (r *Report) count(row Row) {
	r.Phases.Train += row.Seconds.Train
	r.Phases.Wait += row.Seconds.Wait
	r.Phases.Average += row.Seconds.Average
	r.Phases.Evaluate += row.Seconds.Evaluate
	r.Seconds += row.Seconds.Total()
	r.Images += row.Images
	r.Sent += row.Sent
	r.Received += row.Received
	r.TrainAccuracy, r.TrainLoss = row.TrainAccuracy, row.TrainLoss
	if row.TestAccuracy != nil {
		r.TestAccuracy, r.TestLoss = row.TestAccuracy, row.TestLoss
	}
}

func newRow(c Commit, scored map[stateKey]Score) Row {
	row := Row{
		Round: c.Round, Lineage: c.Lineage, TrainAccuracy: c.TrainRight, TrainLoss: c.TrainLoss,
		Contributors: append([]Contribution{}, c.Contributors...), Missing: append([]Absence{}, c.Missing...),
		Seconds: c.Seconds, Sent: c.Sent, Received: c.Received, Plan: c.Plan, Attempts: c.Attempts, StateHash: c.StateHash,
	}
	for _, x := range c.Contributors {
		row.Images += x.Samples
	}
	if s, ok := scored[stateKey{c.Round, c.StateHash}]; ok {
		row.TestAccuracy, row.TestLoss, row.Evaluator = &s.TestAccuracy, &s.TestLoss, s.Evaluator
		row.Seconds.Evaluate = s.Seconds
	}
	return row
}

// stateKey is what a score is of.
type stateKey struct {
	round int
	hash  string
}

// byState picks one score for each state: the earliest, and of two at once the one of the smaller ID.
func byState(scores []Score) map[stateKey]Score {
	picked := map[stateKey]Score{}
	for _, s := range scores {
		key := stateKey{s.Round, s.StateHash}
		old, ok := picked[key]
		if !ok || cmp.Or(cmp.Compare(s.Time, old.Time), cmp.Compare(s.Evaluator, old.Evaluator)) < 0 {
			picked[key] = s
		}
	}
	return picked
}

// final is the commit that the run ended with, the zero Commit if there is none: of the last round, the state that most
// agents hold, and among equals the one of the smallest lineage. Commits are sorted by round and lineage.
func final(commits []Commit, agents []AgentSummary) Commit {
	var best Commit
	most := -1
	for _, c := range commits {
		holders := 0
		for _, a := range agents {
			if a.ModelHash == c.StateHash {
				holders++
			}
		}
		if c.Round > best.Round || holders > most {
			best, most = c, holders
		}
	}
	return best
}

// equalModels reports whether every agent holds the same model; no agent holds none.
func equalModels(agents []AgentSummary) bool {
	for _, a := range agents {
		if a.ModelHash != agents[0].ModelHash || a.ModelHash == "" {
			return false
		}
	}
	return len(agents) > 0
}
