package lab_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"shoal/agent"
	"shoal/configs"
	"shoal/eval"
	"shoal/eval/lab"
	"shoal/eval/lab/row"
	"shoal/gossip"
)

// small is what a base needs for rounds of a fraction of a second.
const small = `
  data: {set: builtin, limit: 120, test_limit: 200, flip: true}
  learner: {model: mobilenet_v2, width: 0.1, input: 32, batch: 10, threads: 1, sgd: {rate: 0.01, momentum: 0.9}}
  eval: {reestimate: 12}
`

// The virtual cluster commits in every round the state that agents on a network do: same bits, same scores.
func TestRealAgentsCommitTheSameStates(t *testing.T) {
	for name, base := range map[string]string{
		"epochs by ring": `
  rounds: {count: 3}
`,
		"everything": `
  rounds: {count: 4, steps: 3}
  averaging: {plan: tree, wire: int8, momentum: true, outer: {kind: slowmo, rate: 1, momentum: 0.5}}
`,
		"star, skewed": `
  rounds: {count: 3, steps: 2}
  averaging: {plan: star, weights: equal, wire: fp16, bound: 1}
  data: {set: builtin, limit: 120, test_limit: 200, partition: dirichlet, alpha: 0.3}
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(base, "data:") {
				base = small + base
			} else {
				base = small[strings.Index(small, "\n  learner"):] + base
			}
			real := agents(t, 3, base)
			file := perform(t, "name: x\nagents: 3\nbase:\n"+base, lab.Options{}).Rounds
			if len(file) != len(real.Rows) {
				t.Fatalf("%d virtual rounds, %d real ones", len(file), len(real.Rows))
			}
			for i, r := range real.Rows {
				if len(r.Missing) > 0 {
					t.Fatalf("round %d: members are missing: %+v", i+1, r.Missing)
				}
				if r.StateHash != file[i].Hash {
					t.Errorf("round %d: agents committed %.12s, the virtual cluster %.12s", i+1, r.StateHash, file[i].Hash)
				}
			}
			score, ok := row.ScoreBy(file[len(file)-1].Scores, row.Reestimated)
			if real.TestAccuracy == nil || !ok || float64(score.TestAccuracy) != *real.TestAccuracy || float64(score.TestLoss) != *real.TestLoss {
				t.Errorf("agents together score %v, the virtual cluster %v", real.TestAccuracy, score)
			}
		})
	}
}

// agents runs real agents over loopback to their end, and returns the report of one.
func agents(t *testing.T, n int, base string) eval.Report {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "cluster.key")
	secret, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(key, secret)
	}
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().String())
		l.Close()
	}
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(base, "\n  ", "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, origins, err := configs.Load(path, nil, map[string]string{
			"name": fmt.Sprint("agent-", i), "state": filepath.Join(dir, fmt.Sprint(i)), "gossip.listen": ports[i], "gossip.seeds": ports[(i+1)%n],
			"gossip.key_file": key, "p2p.listen": "/ip4/127.0.0.1/tcp/0", "http.listen": "127.0.0.1:0",
			"rounds.expect": fmt.Sprint(n), "rounds.min_members": fmt.Sprint(n), "rounds.deadline": "1m",
		})
		if err == nil {
			err = cfg.Validate(origins)
		}
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { errs[i] = agent.Run(t.Context(), cfg, "test", zerolog.Nop()) })
	}
	all.Wait()
	var r eval.Report
	text, err := os.ReadFile(filepath.Join(dir, "0", "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	for _, e := range append(errs, err) {
		if e != nil {
			t.Fatal(e)
		}
	}
	return r
}

// perform runs an experiment and returns its rows.
func perform(t *testing.T, text string, o lab.Options) row.File {
	t.Helper()
	e, err := lab.Read("x.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if o.Out == "" {
		o.Out = t.TempDir()
	}
	if err := lab.Do(t.Context(), e, o); err != nil {
		t.Fatal(err)
	}
	file, err := row.Open(filepath.Join(o.Out, lab.RowsFile))
	if err != nil {
		t.Fatal(err)
	}
	return file
}
