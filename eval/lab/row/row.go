// Package row is what an experiment leaves: one JSON object per line (JSONL), whose first is the header, then a line for
// every round of every run, and one for each run at its end. The lab writes them; tables, figures and comparisons read
// nothing else.
//
//	{"kind":"header","name":"quickstart",…}
//	{"kind":"round","run":"agents=2,seed=1","axes":[["agents","2"]],"agents":2,…,"round":1,"images":1024,…}
//	{"kind":"run","run":"agents=2,seed=1",…,"rounds":10,"scores":[{"statistics":"reestimated","test_accuracy":0.61,…}],…}
//
// Two runs of one experiment give the same lines but for the fields that say where and when: those whose names start with
// wall_, and commit, machine and date. All other seconds are virtual: of the machines the experiment describes, not of the
// one that computed it.
package row

// The kinds of a line.
const (
	KindHeader = "header"
	KindRound  = "round"
	KindRun    = "run"
)

// The batch-norm statistics that a score may be taken with.
const (
	Running     = "running"     // as they were averaged with the parameters
	Reestimated = "reestimated" // a plain mean over batches, made anew before the score
)

// Header is the first line: what was run, where, and what its times assume.
type Header struct {
	Kind        string   `json:"kind"`
	Name        string   `json:"name"`
	About       string   `json:"about"`
	Commit      string   `json:"commit"`      // of the sources of the binary; "unknown" if it does not tell
	Machine     string   `json:"machine"`     // that computed it
	Date        string   `json:"date"`        // RFC 3339, UTC
	Assumptions []string `json:"assumptions"` // of the virtual times, one sentence each
	Experiment  string   `json:"experiment"`  // the text of the file
}

// Place says which run a line is of: what every line but the header has.
type Place struct {
	Run        string      `json:"run"`     // unique in the file and readable: "agents=48,seed=1"
	Axes       [][2]string `json:"axes"`    // path and value, in the order of the experiment
	Variant    string      `json:"variant"` // name of the set of overrides; empty: none
	Agents     int         `json:"agents"`
	Repetition int         `json:"repetition"` // from 0
	Seed       uint64      `json:"seed"`
	Model      string      `json:"model"`
	Input      int         `json:"input"` // side of the images, pixels
	Batch      int         `json:"batch"` // of one member
}

// Axis is the value at path as a text, and whether the experiment varies it.
func (p Place) Axis(path string) (value string, ok bool) {
	for _, axis := range p.Axes {
		if axis[0] == path {
			return axis[1], true
		}
	}
	return "", false
}

// Score is one evaluation on the whole test set.
type Score struct {
	Statistics   string `json:"statistics"` // Running or Reestimated
	TestLoss     Number `json:"test_loss"`
	TestAccuracy Number `json:"test_accuracy"` // 0 to 1
}

// ScoreBy is the score of those given with the statistics named.
func ScoreBy(scores []Score, statistics string) (s Score, ok bool) {
	for _, s := range scores {
		if s.Statistics == statistics {
			return s, true
		}
	}
	return Score{}, false
}

// Missing is a member whose work is not in a round's mean.
type Missing struct {
	Rank   int    `json:"rank"`
	Reason string `json:"reason"`
}

// RoundSeconds is where the virtual time of a round went, on the path of the member that was last: their sum is by how
// much the clock advanced.
type RoundSeconds struct {
	Train    float64 `json:"train"`
	Average  float64 `json:"average"`
	Wait     float64 `json:"wait"`
	Evaluate float64 `json:"evaluate"`
}

// Round is the line of one committed round.
type Round struct {
	Kind string `json:"kind"`
	Place
	Round         int          `json:"round"`      // from 1
	Epoch         float64      `json:"epoch"`      // images seen over the size of the training set
	Images        int64        `json:"images"`     // seen by all members so far
	TrainLoss     Number       `json:"train_loss"` // mean over the images of the round
	TrainAccuracy Number       `json:"train_accuracy"`
	Rate          float64      `json:"rate"`         // learning rate of the round's last step
	Contributors  int          `json:"contributors"` // members whose work is in the mean
	Missing       []Missing    `json:"missing"`
	Distance      Number       `json:"distance"`                 // sqrt(mean over members of |delta_i − mean|²) / |mean|; with pairs of parameters after the round
	Pairs         int          `json:"pairs,omitempty"`          // that averaged, each for itself (gossip); 0: all averaged together
	GradientNoise *Number      `json:"gradient_noise,omitempty"` // nil: not estimated
	BytesSent     int64        `json:"bytes_sent"`               // mean over the members
	Seconds       RoundSeconds `json:"seconds"`
	Clock         float64      `json:"clock"`            // virtual seconds since the start of the run
	Hash          string       `json:"hash"`             // SHA-256 of the shared state after the round, with pairs of the mean of the members' states
	Scores        []Score      `json:"scores,omitempty"` // empty: not scored after this round
	WallSeconds   float64      `json:"wall_seconds"`
}

// RunSeconds is where the virtual time of a run went: Total is the sum of the rest.
type RunSeconds struct {
	Start    float64 `json:"start"`
	Train    float64 `json:"train"`
	Average  float64 `json:"average"`
	Wait     float64 `json:"wait"`
	Evaluate float64 `json:"evaluate"`
	Total    float64 `json:"total"`
}

// Run is the line of one finished run.
type Run struct {
	Kind string `json:"kind"`
	Place
	Rounds          int        `json:"rounds"`
	Images          int64      `json:"images"`
	TrainLoss       Number     `json:"train_loss"` // mean over the images of the last epoch
	TrainAccuracy   Number     `json:"train_accuracy"`
	Scores          []Score    `json:"scores"` // of the final state
	Seconds         RunSeconds `json:"seconds"`
	ImagesPerSecond float64    `json:"images_per_second"` // images over virtual training, averaging and waiting
	Hash            string     `json:"hash"`
	Failed          string     `json:"failed,omitempty"` // why it ended before its last round; empty: it did not
	WallSeconds     float64    `json:"wall_seconds"`
	WallPeakRSSMB   float64    `json:"wall_peak_rss_mb"` // of the process that computed it, so far; 0: not known
}
