//go:build linux

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shoal/agent"
	"shoal/eval"
	"shoal/gossip"
	"shoal/gossip/roster"
)

// hogVariable makes this test binary a process that does nothing but keep a core busy.
const hogVariable = "SHOAL_TEST_HOG"

func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(hogVariable); ok {
		for n := 0; ; n++ {
			runtime.KeepAlive(n)
		}
	}
	if Able() == nil {
		if err := Sweep(); err != nil {
			fmt.Fprintln(os.Stderr, "sweep what earlier tests left:", err)
		}
	}
	dir, err := os.MkdirTemp("", "shoal-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = sync.OnceValues(func() (string, error) { return build(dir) })
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// binary is the path of the real thing, built on first use.
var binary func() (string, error)

func build(dir string) (string, error) {
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "shoal"), "shoal/cmd/shoal")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the binary: %w: %s", err, out)
	}
	return filepath.Join(dir, "shoal"), nil
}

// shelf is a cluster of real processes, each in a namespace of its own, or all on loopback.
type shelf struct {
	t      *testing.T
	dir    string
	binary string
	common string // YAML that all agents share
	wire   *Wire  // nil: loopback
	gossip []string
	agents []*process
	client []http.Client
}

// process is one agent, which may live several times.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error
	out  *output
}

// output keeps the last of what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// maxOutput bounds what is kept of an agent's log.
const maxOutput = 16 << 20

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len()+len(b) > maxOutput {
		o.b.Next(o.b.Len() / 2)
	}
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// small is a run that takes little of a core: few images, a narrow network, short waits.
const small = `
data: {set: builtin, limit: 240, test_limit: 60, partition: shuffled}
learner: {model: mobilenet_v2, width: 0.1, input: 32, batch: 10, threads: 1, sgd: {rate: 0.01, momentum: 0.9}}
eval: {reestimate: 2, every: 20}
http: {listen: "127.0.0.1:0"}
`

// wires numbers the networks of this process.
var wires atomic.Int32

// newShelf prepares n agents in namespaces. The test is skipped where there can be none.
func newShelf(t *testing.T, n int, common string) *shelf {
	t.Helper()
	if err := Able(); err != nil {
		t.Skip(err)
	}
	s := newLoopback(t, n, common)
	wire, err := NewWire(int(wires.Add(1)), n)
	if err != nil {
		t.Fatal(err)
	}
	s.wire = wire
	for i := range n {
		s.gossip[i] = wire.Addr(i) + ":7946"
	}
	t.Cleanup(func() {
		if err := wire.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.end)
	return s
}

// newLoopback prepares n agents on this machine's loopback.
func newLoopback(t *testing.T, n int, common string) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: t.TempDir(), common: common, agents: make([]*process, n), client: make([]http.Client, n)}
	var err error
	if s.binary, err = binary(); err != nil {
		t.Fatal(err)
	}
	key, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(s.key(), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s.gossip = append(s.gossip, freeAddress(t))
		s.client[i] = http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return s.dial(ctx, i, addr) },
		}}
	}
	t.Cleanup(s.end)
	return s
}

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

func (s *shelf) dial(ctx context.Context, i int, addr string) (net.Conn, error) {
	if s.wire == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	return s.wire.Dial(ctx, i, addr)
}

func (s *shelf) key() string                    { return filepath.Join(s.dir, "cluster.key") }
func (s *shelf) home(i int) string              { return filepath.Join(s.dir, s.name(i)) }
func (s *shelf) name(i int) string              { return fmt.Sprintf("agent-%d", i) }
func (s *shelf) config(i int) string            { return s.home(i) + ".yaml" }
func (s *shelf) file(i int, name string) string { return filepath.Join(s.home(i), name) }

// settings is agent i's configuration.
func (s *shelf) settings(i int) string {
	var seeds []string
	for j, addr := range s.gossip {
		if j != i && len(seeds) < 8 {
			seeds = append(seeds, fmt.Sprintf("%q", addr))
		}
	}
	streams := "/ip4/127.0.0.1/tcp/0"
	if s.wire != nil {
		streams = "/ip4/" + s.wire.Addr(i) + "/tcp/7947"
	}
	return fmt.Sprintf("name: %s\nstate: %s\ngossip: {listen: %q, seeds: [%s], key_file: %s}\np2p: {listen: %s}\n%s\n",
		s.name(i), s.home(i), s.gossip[i], strings.Join(seeds, ", "), s.key(), streams, s.common)
}

// start begins agent i, for the first time or again.
func (s *shelf) start(i int) {
	s.t.Helper()
	if err := os.WriteFile(s.config(i), []byte(s.settings(i)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(s.binary, "run", "--config", s.config(i), "--log-format", "json"), done: make(chan struct{}), out: &output{}}
	if old := s.agents[i]; old != nil {
		p.out = old.out
	}
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	p.cmd.Stderr = p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.launch(i, p); err != nil {
		s.t.Fatal(err)
	}
	s.agents[i] = p
}

// launch starts the process on a thread that stays as long as it does: with the thread that started them, children die.
func (s *shelf) launch(i int, p *process) error {
	begun := make(chan error, 1)
	life := func() error {
		if err := p.cmd.Start(); err != nil {
			begun <- err
			return err
		}
		begun <- nil
		p.err = p.cmd.Wait()
		close(p.done)
		return nil
	}
	go func() {
		if s.wire != nil {
			if err := s.wire.Enter(i, life); err != nil {
				select {
				case begun <- err:
				default: // it is told already
				}
			}
			return
		}
		runtime.LockOSThread()
		_ = life()
	}()
	return <-begun
}

func (s *shelf) startAll() {
	s.t.Helper()
	for i := range s.agents {
		s.start(i)
	}
}

// end kills what still runs. Of a test that failed it keeps the logs, with what every goroutine of a process that still
// runs was about, and shows their ends.
func (s *shelf) end() {
	for _, p := range s.agents {
		if p != nil && s.t.Failed() && !p.ended() {
			_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may stand still
			_ = p.cmd.Process.Signal(syscall.SIGQUIT)
			select {
			case <-p.done:
			case <-time.After(5 * time.Second):
			}
		}
	}
	kept := ""
	if s.t.Failed() {
		kept, _ = os.MkdirTemp("", "shoal-chaos-failed-") // logs that cannot be kept are shown in part
	}
	for i, p := range s.agents {
		if p == nil {
			continue
		}
		p.kill()
		if s.t.Failed() {
			log, _, _ := strings.Cut(p.out.String(), "SIGQUIT")
			_ = os.WriteFile(filepath.Join(kept, s.name(i)+".log"), []byte(p.out.String()), 0o600)
			s.t.Logf("log of %s, whole in %s:\n%s", s.name(i), kept, tail(log, 12))
		}
	}
	s.agents = nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// kill is kill -9; it wakes a process that stands still.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ended reports whether the process is no more.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (s *shelf) signal(i int, sig syscall.Signal) {
	s.t.Helper()
	if err := s.agents[i].cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("signal %s: %v", s.name(i), err)
	}
}

// waitAll expects all processes to end by themselves without an error.
func (s *shelf) waitAll(within time.Duration) {
	s.t.Helper()
	limit := time.After(within)
	for i, p := range s.agents {
		select {
		case <-p.done:
			if p.err != nil {
				s.t.Fatalf("%s ended with %v", s.name(i), p.err)
			}
		case <-limit:
			st, _ := s.status(i)
			s.t.Fatalf("%s still runs after %v: round %d of %d, %s", s.name(i), within, st.Round, st.Rounds, st.Phase)
		}
	}
}

// get reads what agent i serves at path.
func (s *shelf) get(i int, path string) ([]byte, error) {
	addr, err := os.ReadFile(s.file(i, "http.addr"))
	if err != nil {
		return nil, err
	}
	answer, err := s.client[i].Get("http://" + strings.TrimSpace(string(addr)) + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(io.LimitReader(answer.Body, 8<<20))
}

// status asks agent i how it is; ok is false while it does not answer.
func (s *shelf) status(i int) (st agent.Status, ok bool) {
	b, err := s.get(i, "/v1/status")
	return st, err == nil && json.Unmarshal(b, &st) == nil
}

// round is the round that agent i works on, 0 if it does not answer.
func (s *shelf) round(i int) int {
	st, _ := s.status(i)
	return st.Round
}

// until polls for a condition of real processes.
func (s *shelf) until(what string, within time.Duration, is func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(within)
	for !is() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// reach waits until the agents given, or all, work on the round.
func (s *shelf) reach(round int, within time.Duration, agents ...int) {
	s.t.Helper()
	if len(agents) == 0 {
		for i := range s.agents {
			agents = append(agents, i)
		}
	}
	for _, i := range agents {
		s.until(fmt.Sprintf("%s comes to round %d", s.name(i), round), within, func() bool { return s.round(i) >= round || s.agents[i].ended() })
	}
}

// last is agent i's last record, as it keeps it; zero if it has none.
func (s *shelf) last(i int) roster.Record {
	var st roster.Stable
	b, err := os.ReadFile(s.file(i, "stable.json"))
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil && !os.IsNotExist(err) {
		s.t.Errorf("%s: %v", s.name(i), err)
	}
	return st.Last
}

// ledgers reads what the agents left. The journals are copied before, since to open one repairs it.
func (s *shelf) ledgers() []Ledger {
	s.t.Helper()
	var all []Ledger
	for i := range s.agents {
		l := Ledger{Name: s.name(i), Last: s.last(i)}
		b, err := os.ReadFile(s.file(i, "journal.jsonl"))
		copied := filepath.Join(s.t.TempDir(), "journal.jsonl")
		if err == nil {
			err = os.WriteFile(copied, b, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		journal, _, err := eval.OpenJournal(copied)
		if err != nil {
			s.t.Fatal(err)
		}
		l.Commits, err = journal.Commits()
		if err := errors.Join(err, journal.Close()); err != nil {
			s.t.Fatal(err)
		}
		if b, err := os.ReadFile(s.file(i, "report.json")); err == nil {
			if err := json.Unmarshal(b, &l.Report); err != nil {
				s.t.Fatal(err)
			}
		}
		all = append(all, l)
	}
	return all
}

// finish waits for the end of the run, and judges it.
func (s *shelf) finish(rounds int, within time.Duration) []Ledger {
	s.t.Helper()
	s.waitAll(within)
	all := s.ledgers()
	if err := Judge(rounds, all...); err != nil {
		s.t.Error(err)
	}
	for _, l := range all {
		if l.Report.TestAccuracy == nil {
			s.t.Errorf("%s knows no score of the final model", l.Name)
		}
	}
	return all
}
