package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"shoal/configs"
	"shoal/eval/lab/cluster"
	"shoal/eval/lab/row"
	"shoal/eval/lab/timing"
)

// settings are what an experiment says of a run beside its configuration.
type settings struct {
	Agents        int              `yaml:"agents"`
	AgentsPerNode int              `yaml:"agents_per_node"`
	Epochs        float64          `yaml:"epochs"` // 0: as rounds.count says
	Warmup        float64          `yaml:"warmup"` // epochs, in place of learner.schedule.warmup; 0: that
	Score         Score            `yaml:"score"`
	Time          timing.Config    `yaml:"time"`
	Schedule      cluster.Schedule `yaml:"schedule"`
	timed         bool             // time is given
}

// Score says when a run is scored, and by which statistics. It is always scored at its end.
type Score struct {
	Every      float64  `yaml:"every"`      // epochs; 0: at the end only
	Statistics []string `yaml:"statistics"` // row.Running, row.Reestimated; empty: as eval.reestimate says
}

func ownDefaults() settings {
	return settings{Agents: 1, AgentsPerNode: 1, Score: Score{Every: 1}, Time: timing.Defaults()}
}

// ownKeys are the keys of settings.
func ownKeys() []string {
	return []string{"agents", "agents_per_node", "epochs", "warmup", "score", "time", "schedule"}
}

// isOwn reports whether path is one of settings rather than of the base.
func isOwn(path string) bool {
	key, _, _ := strings.Cut(path, ".")
	return slices.Contains(ownKeys(), key)
}

// knownPath refuses a path that nothing has. What is below an own key is checked when it is set.
func knownPath(path string) error {
	switch {
	case path == "seed":
		return errors.New("repetitions vary the seed")
	case isOwn(path) || configs.Known(path):
		return nil
	}
	return fmt.Errorf("unknown path; give one of a configuration, such as learner.sgd.rate (shoal config show lists them), or %s", strings.Join(ownKeys(), ", "))
}

// take decodes the value of an own key at the top of a file.
func (s *settings) take(key string, n ast.Node) (known bool, err error) {
	var into any
	switch key {
	case "agents":
		into = &s.Agents
	case "agents_per_node":
		into = &s.AgentsPerNode
	case "epochs":
		into = &s.Epochs
	case "warmup":
		into = &s.Warmup
	case "score":
		into = &s.Score
	case "time":
		into, s.timed = &s.Time, true
	case "schedule":
		into = &s.Schedule
	default:
		return false, nil
	}
	return true, yaml.NodeToValue(n, into, yaml.Strict())
}

// set changes the value at an own path. Lists within are replaced as a whole.
func (s *settings) set(o configs.Override) error {
	keys := strings.Split(o.Path, ".")
	text := o.Text
	if o.Path == "score.statistics" {
		text = "[" + text + "]"
	}
	for i := len(keys) - 1; i >= 0; i-- {
		text = "{" + keys[i] + ": " + text + "}"
	}
	s.timed = s.timed || keys[0] == "time"
	s.Schedule.Churn, s.Score.Statistics = slices.Clone(s.Schedule.Churn), slices.Clone(s.Score.Statistics)
	if err := yaml.UnmarshalWithOptions([]byte(text), s, yaml.Strict()); err != nil {
		var bad yaml.Error
		if errors.As(err, &bad) {
			return fmt.Errorf("%s: %s: %s", o.Origin, o.Path, bad.GetMessage())
		}
		return fmt.Errorf("%s: %s: %w", o.Origin, o.Path, err)
	}
	return nil
}

// validate reports what cannot be, each error as "key: value, and what to do".
func (s settings) validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(s.Agents < 1 || s.Agents > maxAgents, "agents: %d is outside 1..%d", s.Agents, maxAgents)
	bad(s.AgentsPerNode < 1, "agents_per_node: %d; give at least 1", s.AgentsPerNode)
	bad(!(s.Epochs >= 0 && s.Epochs <= maxEpochs), "epochs: %v is outside 0..%d; 0 leaves it to rounds.count", s.Epochs, maxEpochs)
	bad(!(s.Warmup >= 0 && s.Warmup <= maxEpochs), "warmup: %v is outside 0..%d epochs", s.Warmup, maxEpochs)
	bad(!(s.Score.Every >= 0), "score.every: %v epochs; give 0 for the end only, or 1", s.Score.Every)
	for _, name := range s.Score.Statistics {
		bad(name != row.Running && name != row.Reestimated, "score.statistics: %q is unknown; give %s or %s", name, row.Running, row.Reestimated)
	}
	if s.Agents >= 1 {
		if err := s.Schedule.Validate(s.Agents); err != nil {
			errs = append(errs, fmt.Errorf("schedule.%w", err))
		}
	}
	if s.timed {
		if err := s.Time.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("time.%w", err))
		}
	}
	return errors.Join(errs...)
}

// maxEpochs is more than anybody trains.
const maxEpochs = 1_000_000
