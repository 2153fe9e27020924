package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"shoal/configs"
	"shoal/gossip"
)

// Files of an agent's directory, which is its state directory too, and of the cluster's.
const (
	agentConfigFile = "agent.yaml"
	agentLogFile    = "log.jsonl"
	agentHTTPFile   = "http.addr"   // the agent writes it: host:port of its status
	agentReportFile = "report.json" // the agent writes it on its way out
	modelFile       = "model.safetensors"
	clusterKeyFile  = "cluster.key"
)

// maxAgents bounds a cluster on one machine: each agent is a process with its own copy of the data set.
const maxAgents = 64

// clusterPlan is what is decided before any agent starts: where everything goes, and what each agent is told.
type clusterPlan struct {
	dir    string // absolute
	title  string // what is trained, in a few words
	rounds int
	agents []agentPlan
}

// agentPlan is one agent's part of a clusterPlan. Its directory holds its configuration, state, log and reports.
type agentPlan struct {
	name string
	dir  string // absolute
}

// file is the path of one of the agent's files.
func (a agentPlan) file(name string) string { return filepath.Join(a.dir, name) }

// planCluster makes dir's files for n agents that run shared: a fresh cluster key, and a directory with a configuration
// for each agent. Threads are the worker threads of each agent.
func planCluster(dir string, n int, shared configs.Config, threads int) (clusterPlan, error) {
	plan := clusterPlan{dir: dir, title: clusterTitle(n, shared), rounds: shared.Rounds.Count}
	shared.Gossip.KeyFile = filepath.Join(dir, clusterKeyFile)
	key, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(shared.Gossip.KeyFile, key)
	}
	if err != nil {
		return plan, err
	}
	ports, err := freePorts(2 * n)
	if err != nil {
		return plan, err
	}
	loopback := func(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i])) }
	for i := range n {
		a := agentPlan{name: fmt.Sprintf("agent-%d", i+1), dir: filepath.Join(dir, fmt.Sprintf("agent-%d", i+1))}
		own := shared
		own.Name, own.State = a.name, a.dir
		own.Learner.Threads = threads
		own.Rounds.Expect = n
		own.Gossip.Listen, own.Gossip.Seeds = loopback(2*i), nil
		own.P2P.Listen = fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", ports[2*i+1])
		own.HTTP.Listen, own.HTTP.AllowRemote = "127.0.0.1:0", false
		own.Log.Format = "json"
		if i > 0 {
			own.Gossip.Seeds = []string{loopback(0)}
		} else if n > 1 {
			own.Gossip.Seeds = []string{loopback(2)} // so that the first one, started again by hand, finds the rest
		}
		if err := os.Mkdir(a.dir, 0o700); err != nil {
			return plan, fmt.Errorf("make the directory of %s: %w", a.name, err)
		}
		if err := os.WriteFile(a.file(agentConfigFile), []byte(own.YAML(nil)), 0o600); err != nil {
			return plan, fmt.Errorf("write the configuration of %s: %w", a.name, err)
		}
		plan.agents = append(plan.agents, a)
	}
	return plan, nil
}

// clusterTitle is what the cluster trains, in a few words.
func clusterTitle(n int, c configs.Config) string {
	width := ""
	if c.Learner.Width != 1 {
		width = fmt.Sprintf(" %g", c.Learner.Width)
	}
	return fmt.Sprintf("%d agents · %s%s at %d×%d on %s · %s · %d rounds",
		n, c.Learner.Model, width, c.Learner.Input, c.Learner.Input, filepath.Base(c.Data.Set), c.Averaging.Plan, c.Rounds.Count)
}

// makeClusterDir makes the directory of a cluster and returns its absolute path. An empty dir means a fresh one, named
// for the time, in the current directory or, where that cannot be written, among the temporary files.
func makeClusterDir(dir string, now time.Time) (string, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", fmt.Errorf("make directory %s: %w", dir, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return "", fmt.Errorf("read directory %s: %w", dir, err)
		}
		if len(entries) > 0 {
			return "", fmt.Errorf("--dir %s: is not empty; give a new directory, so that two runs do not mix", dir)
		}
		return filepath.Abs(dir)
	}
	const sameSecond = 100 // clusters started in one second, at most
	name := now.Format("shoal-cluster-20060102-150405")
	var errs []error
	for _, parent := range []string{".", os.TempDir()} {
		for again := range sameSecond {
			fresh := filepath.Join(parent, name)
			if again > 0 {
				fresh += fmt.Sprintf("-%d", again+1)
			}
			err := os.Mkdir(fresh, 0o755)
			if err == nil {
				return filepath.Abs(fresh)
			}
			if !errors.Is(err, os.ErrExist) {
				errs = append(errs, err)
				break
			}
		}
	}
	return "", fmt.Errorf("make a directory for the run: %w; give one with --dir", errors.Join(errs...))
}

// freePorts returns n ports of the loopback interface that were free for both TCP and UDP a moment ago.
func freePorts(n int) ([]int, error) {
	const tries = 20 // per port, for one that UDP has already
	var held []interface{ Close() error }
	defer func() {
		for _, h := range held {
			h.Close()
		}
	}()
	var ports []int
	for try := 0; len(ports) < n; try++ {
		if try > n*tries {
			return nil, fmt.Errorf("find %d free ports on 127.0.0.1: found only %d", n, len(ports))
		}
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
		}
		held = append(held, tcp)
		port := tcp.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenPacket("udp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		held = append(held, udp)
		ports = append(ports, port)
	}
	return ports, nil
}
