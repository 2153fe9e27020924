package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// agentExit is the end of one agent's process.
type agentExit struct {
	index  int    // into the plan's agents
	code   int    // exit code; -1 after a signal
	signal string // what killed it, or empty
}

// String is the exit in words, to stand behind the agent's name.
func (e agentExit) String() string {
	switch {
	case e.signal != "":
		return "ended by signal: " + e.signal
	case e.code == 0:
		return "left"
	}
	return fmt.Sprintf("exited with code %d", e.code)
}

// agentProcs are the agents' processes. They never outlive the cluster: it stops them, and where the system can, they
// die with it.
type agentProcs struct {
	cmds  []*exec.Cmd
	exits chan agentExit // one for each, in the order of their ends
	ended chan struct{}  // closed after the last
}

// startAgents starts command (the program and what comes before "run") once for each agent. Its output goes into the
// agent's log. When one cannot be started, those before it are killed.
func startAgents(command, env []string, agents []agentPlan) (*agentProcs, error) {
	p := &agentProcs{exits: make(chan agentExit, len(agents)), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the children their parent-death signal when the thread that started them ends, so it stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var all sync.WaitGroup
		var failed error
		for i, a := range agents {
			cmd, err := startAgent(command, env, a)
			if err != nil {
				failed = err
				p.signal(os.Kill)
				break
			}
			p.cmds = append(p.cmds, cmd)
			all.Go(func() { p.exits <- awaitExit(i, cmd) })
		}
		started <- failed
		all.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		<-p.ended
		return nil, err
	}
	return p, nil
}

// startAgent starts one agent in a process group of its own, so that Ctrl-C reaches only the cluster.
func startAgent(command, env []string, a agentPlan) (*exec.Cmd, error) {
	log, err := os.OpenFile(a.file(agentLogFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", a.name, err)
	}
	defer log.Close() // the child has its own
	args := append(append([]string{}, command[1:]...), "run", "--config", a.file(agentConfigFile), "--log-format", "json")
	cmd := exec.Command(command[0], args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", a.name, err)
	}
	return cmd, nil
}

// awaitExit waits for the end of the agent at index i.
func awaitExit(i int, cmd *exec.Cmd) agentExit {
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return agentExit{index: i, code: -1, signal: err.Error()}
	}
	e := agentExit{index: i, code: cmd.ProcessState.ExitCode()}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.signal = status.Signal().String()
	}
	return e
}

// signal sends sig to every agent that still runs.
func (p *agentProcs) signal(sig os.Signal) {
	for _, cmd := range p.cmds {
		_ = cmd.Process.Signal(sig) // one that has ended needs none
	}
}

// stop asks every agent to leave, and kills what is still there after grace or when hurry delivers, whichever is first.
// It returns when all have ended.
func (p *agentProcs) stop(grace time.Duration, hurry <-chan os.Signal) {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.ended:
		return
	case <-hurry:
	case <-timer.C:
	}
	p.signal(os.Kill)
	<-p.ended
}
