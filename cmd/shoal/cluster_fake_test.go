package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shoal/agent"
	"shoal/configs"
	"shoal/eval"
	"shoal/gossip/roster"
)

// fakeVariable makes this test binary an agent with a script: "agent-2=killed agent-3=stubborn"; agents that it does not
// name play their part. clusterVariable makes it the parent of such a cluster, in the directory that it names.
const (
	fakeVariable    = "FAKE_AGENTS"
	clusterVariable = "FAKE_CLUSTER"
)

func TestMain(m *testing.M) {
	script, fake := os.LookupEnv(fakeVariable)
	dir, parent := os.LookupEnv(clusterVariable)
	_, program := os.LookupEnv(programVariable)
	switch {
	case program:
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	case parent:
		os.Exit(fakeParent(dir, script))
	case os.Getenv(realVariable) != "":
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	case fake:
		os.Exit(fakeAgent(os.Args[1:], script))
	}
	os.Exit(m.Run())
}

const fakeRound = 120 * time.Millisecond

// fakeAgent is an agent with everything but training: it reads its configuration, serves a status that moves, and leaves
// its report and model.
func fakeAgent(args []string, script string) int {
	if len(args) != 5 || args[0] != "run" || args[1] != "--config" || args[3] != "--log-format" || args[4] != "json" {
		fmt.Fprintf(os.Stderr, "unexpected arguments %q\n", args)
		return exitUsage
	}
	cfg, origins, err := configs.Load(args[2], os.Environ(), nil)
	if err = errors.Join(err, cfg.Validate(origins)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitConfig
	}
	part := ""
	for word := range strings.FieldsSeq(script) {
		if name, does, _ := strings.Cut(word, "="); name == cfg.Name {
			part = does
		}
	}
	if part == "refused" {
		fmt.Fprintln(os.Stderr, `{"level":"error","message":"port in use","time":"2026-01-01T00:00:00Z","port":7946}`)
		return exitBusy
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if part == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	var shown fakeStatus
	shown.now.Store(&agent.Status{Name: cfg.Name, Phase: "form"})
	if err := fakeServe(cfg, &shown); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailure
	}
	return fakeLife(cfg, part, &shown, stop)
}

// fakeStatus is what the agent says of itself, and the last round in which somebody asked.
type fakeStatus struct {
	now  atomic.Pointer[agent.Status]
	seen atomic.Int64
}

func (f *fakeStatus) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s := f.now.Load()
	_ = json.NewEncoder(w).Encode(s)
	f.seen.Store(int64(s.Round))
}

// fakeServe answers /v1/status and /v1/report, and says where.
func fakeServe(cfg configs.Config, shown *fakeStatus) error {
	listener, err := net.Listen("tcp", cfg.HTTP.Listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/status", shown)
	mux.HandleFunc("GET /v1/report", func(w http.ResponseWriter, _ *http.Request) {
		_ = eval.WriteJSON(w, fakeReport(cfg, *shown.now.Load()))
	})
	go func() { _ = http.Serve(listener, mux) }()
	return os.WriteFile(filepath.Join(cfg.State, agentHTTPFile), []byte(listener.Addr().String()+"\n"), 0o600)
}

// fakeLife goes through the rounds, each with ten steps. No round passes unseen, however busy the machine is.
func fakeLife(cfg configs.Config, part string, shown *fakeStatus, stop <-chan os.Signal) int {
	s := *shown.now.Load()
	s.ID, s.Role, s.Rounds, s.Steps, s.ImagesPerSecond = "id-of-"+cfg.Name, "member", cfg.Rounds.Count, 10, 100
	s.PeakRSSBytes, s.StateHash = 64<<20, "5ea5"
	if part == "differs" {
		s.StateHash = "d1ff"
	}
	tick := time.NewTicker(fakeRound / 10)
	defer tick.Stop()
	for moment := 0; ; moment++ {
		select {
		case <-stop:
			return exitOK
		case <-tick.C:
		}
		if moment > 0 && moment%10 == 0 && shown.seen.Load() < int64(s.Round) {
			moment--
			continue
		}
		s.Round, s.Step, s.Phase, s.Loss = min(1+moment/10, s.Rounds), moment%10, "train", 2.3/float64(1+moment/10)
		if s.Round > 1 {
			s.Score = &agent.ScoreStatus{Round: s.Round - 1, TestAccuracy: 0.2 * float64(s.Round-1), TestLoss: s.Loss}
		}
		over := part != "stubborn" && moment >= 10*s.Rounds
		if over {
			s.Phase = "done"
		}
		now := s
		shown.now.Store(&now)
		switch {
		case over:
			return fakeEnd(cfg, part, s)
		case part == "killed" && shown.seen.Load() > 1:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case part == "panics" && shown.seen.Load() > 1:
			panic("a promise was broken")
		}
	}
}

// fakeEnd leaves what an agent leaves, a moment after it is done.
func fakeEnd(cfg configs.Config, part string, s agent.Status) int {
	time.Sleep(fakeRound)
	file, err := os.Create(filepath.Join(cfg.State, agentReportFile))
	if err == nil && part != "silent" {
		err = errors.Join(eval.WriteJSON(file, fakeReport(cfg, s)), file.Close())
	}
	if part == "silent" { // dies with its report half written
		_ = file.Close()
	}
	if err := errors.Join(err, os.WriteFile(filepath.Join(cfg.State, modelFile), []byte("model "+s.StateHash), 0o600)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailure
	}
	return exitOK
}

func fakeReport(cfg configs.Config, s agent.Status) eval.Report {
	accuracy, loss := 0.75, 0.5
	self := eval.AgentSummary{ID: roster.ID(s.ID), Name: cfg.Name, ModelHash: s.StateHash, ImagesPerSecond: 100, PeakRSSMB: 64}
	r := eval.Report{
		Rounds: cfg.Rounds.Count, Ranks: cfg.Rounds.Expect, TestAccuracy: &accuracy, TestLoss: &loss, Lineage: "lineage", StateHash: s.StateHash,
		Seconds: 1.5, ModelsEqual: true, Agents: []eval.AgentSummary{self},
	}
	for round := range r.Rounds {
		r.Rows = append(r.Rows, eval.Row{
			Round: round + 1, Lineage: "lineage", Evaluator: roster.ID(s.ID), TestAccuracy: &accuracy, TestLoss: &loss,
			Contributors: []eval.Contribution{{ID: roster.ID(s.ID), Samples: 120}},
			Missing:      []eval.Absence{{ID: "id-of-agent-2", Reason: "dead"}},
		})
	}
	return r
}

// fakeCluster is a cluster of n fake agents in dir.
func fakeCluster(dir string, n, rounds int, script string) (*cluster, error) {
	cfg := configs.Defaults()
	cfg.Rounds.Count = rounds
	plan, err := planCluster(dir, n, cfg, 1)
	return &cluster{
		plan: plan, command: []string{os.Args[0]}, env: append(agentEnvironment(os.Environ(), n, n), fakeVariable+"="+script),
		keepGoing: true, view: &lineView{out: os.Stderr}, every: 10 * time.Millisecond, grace: time.Minute, late: time.Minute,
	}, err
}

// fakeParent runs a cluster until it is killed.
func fakeParent(dir, script string) int {
	_ = os.Unsetenv(clusterVariable) // its children are agents
	c, err := fakeCluster(dir, 2, 1, script)
	if err == nil {
		_, err = c.run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	return cmp.Or(codeOf(err), exitFailure)
}
