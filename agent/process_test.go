package agent_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"shoal/agent"
	"shoal/configs"
	"shoal/eval"
	"shoal/gossip"
)

// agentVariable makes this test binary an agent: it holds the path of its configuration.
const agentVariable = "SHOAL_TEST_AGENT"

func TestMain(m *testing.M) {
	if path, ok := os.LookupEnv(agentVariable); ok {
		os.Exit(runAgent(path))
	}
	os.Exit(m.Run())
}

// runAgent is what shoal run does, without its command line.
func runAgent(path string) int {
	cfg, origins, err := configs.Load(path, nil, nil)
	if err == nil {
		err = cfg.Validate(origins)
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		log := zerolog.New(os.Stderr).With().Timestamp().Logger()
		if dir, ok := os.LookupEnv(killsVariable); ok {
			err = agent.RunAt(ctx, cfg, "test", log, (&suicide{dir: dir}).at)
		} else {
			err = agent.Run(ctx, cfg, "test", log)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shoal:", err)
		return 1
	}
	return 0
}

// shelf is a cluster of real processes on loopback.
type shelf struct {
	t      *testing.T
	dir    string
	common string // YAML that all agents share
	gossip []string
	keys   map[int]string // key files of agents that have their own
	names  map[int]string // names of agents that do not have that of their number
	agents []*process
	env    []string // of every agent, beside our own
}

// process is one agent, which may live several times.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error
	out  *output
}

// output keeps what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// small is a run that takes a core a second or two: few images, a narrow network, short waits.
const small = `
data: {set: builtin, limit: 240, test_limit: 60, partition: shuffled}
learner: {model: mobilenet_v2, width: 0.1, input: 32, batch: 10, threads: 1, sgd: {rate: 0.01, momentum: 0.9}}
eval: {reestimate: 2}
http: {listen: "127.0.0.1:0"}
log: {level: debug}
`

func newShelf(t *testing.T, n int, common string) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: t.TempDir(), common: common, agents: make([]*process, n), keys: map[int]string{}, names: map[int]string{}}
	key, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(s.key(), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		s.gossip = append(s.gossip, freeAddress(t))
	}
	t.Cleanup(s.end)
	return s
}

func (s *shelf) key() string         { return filepath.Join(s.dir, "cluster.key") }
func (s *shelf) home(i int) string   { return filepath.Join(s.dir, fmt.Sprintf("agent-%d", i)) }
func (s *shelf) name(i int) string   { return cmp.Or(s.names[i], fmt.Sprintf("agent-%d", i)) }
func (s *shelf) config(i int) string { return s.home(i) + ".yaml" }

// lastPort counts the ports that shelves took.
var lastPort atomic.Int32

// freeAddress is an address that nobody listens at. Its port is below those that the system hands out by itself: one of
// those could be another agent's before this one begins to listen.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := 20000 + (os.Getpid()*61+int(lastPort.Add(1)))%12000
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port from 20000 to 32000 is free")
	return ""
}

// start begins agent i, for the first time or again; extra YAML comes after what all share.
func (s *shelf) start(i int, extra string) *process {
	s.t.Helper()
	var seeds []string
	for j, addr := range s.gossip {
		if j != i {
			seeds = append(seeds, fmt.Sprintf("%q", addr))
		}
	}
	key := s.key()
	if own := s.keys[i]; own != "" {
		key = own
	}
	yaml := fmt.Sprintf("name: %s\nstate: %s\ngossip: {listen: %q, seeds: [%s], key_file: %s}\np2p: {listen: /ip4/127.0.0.1/tcp/0}\n%s\n%s\n",
		s.name(i), s.home(i), s.gossip[i], strings.Join(seeds, ", "), key, s.common, extra)
	if err := os.WriteFile(s.config(i), []byte(yaml), 0o600); err != nil {
		s.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0]), done: make(chan struct{}), out: &output{}}
	if old := s.agents[i]; old != nil {
		p.out = old.out
	}
	p.cmd.Env = append(append(os.Environ(), agentVariable+"="+s.config(i), "GOMAXPROCS=2"), s.env...)
	p.cmd.Stderr = p.out
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	s.agents[i] = p
	return p
}

func (s *shelf) startAll() {
	for i := range s.agents {
		s.start(i, "")
	}
}

// end kills what still runs, and shows the logs of a test that failed.
func (s *shelf) end() {
	for i, p := range s.agents {
		if p == nil {
			continue
		}
		p.kill()
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", s.name(i), tail(p.out.String(), 60))
		}
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// wait expects the process to end by itself without an error.
func (s *shelf) wait(i int, within time.Duration) {
	s.t.Helper()
	for p := newPatience(within); ; {
		select {
		case <-s.agents[i].done:
			if err := s.agents[i].err; err != nil {
				s.t.Fatalf("%s ended with %v", s.name(i), err)
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
		if p.over() {
			s.t.Fatalf("%s still runs after %v", s.name(i), within)
		}
	}
}

func (s *shelf) report(i int) eval.Report {
	s.t.Helper()
	var r eval.Report
	b, err := os.ReadFile(filepath.Join(s.home(i), "report.json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// status asks agent i how it is; ok is false while it does not answer.
func (s *shelf) status(i int) (st agent.Status, ok bool) {
	addr, err := os.ReadFile(filepath.Join(s.home(i), "http.addr"))
	if err != nil {
		return st, false
	}
	client := http.Client{Timeout: time.Second}
	answer, err := client.Get("http://" + strings.TrimSpace(string(addr)) + "/v1/status")
	if err != nil {
		return st, false
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return st, err == nil && json.Unmarshal(b, &st) == nil
}

// until polls for a condition of real processes.
func (s *shelf) until(what string, within time.Duration, is func() bool) {
	s.t.Helper()
	for p := newPatience(within); !is(); {
		if p.over() {
			s.t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// patience is a deadline of who looks often. Time in which this process did not run, because somebody stopped it with all
// that it started or the machine slept, does not count.
type patience struct {
	deadline, last time.Time
}

func newPatience(within time.Duration) *patience {
	now := time.Now()
	return &patience{now.Add(within), now}
}

// stoppedFor is longer than a process that runs goes without looking.
const stoppedFor = 15 * time.Second

func (p *patience) over() bool {
	now := time.Now()
	if away := now.Sub(p.last); away > stoppedFor {
		p.deadline = p.deadline.Add(away)
	}
	p.last = now
	return now.After(p.deadline)
}

// alike checks that all agents ended with one model after all rounds, and returns its hash.
func (s *shelf) alike(rounds int) string {
	s.t.Helper()
	var first string
	for i := range s.agents {
		r := s.report(i)
		if len(r.Rows) != rounds {
			s.t.Errorf("%s reports %d rounds, want %d", s.name(i), len(r.Rows), rounds)
			continue
		}
		last := r.Rows[len(r.Rows)-1]
		if first == "" {
			first = last.StateHash
		}
		if last.StateHash != first || first == "" {
			s.t.Errorf("%s ended with model %.12s, the first with %.12s", s.name(i), last.StateHash, first)
		}
		if r.TestAccuracy == nil {
			s.t.Errorf("%s knows no score of the last round", s.name(i))
		}
	}
	return first
}
