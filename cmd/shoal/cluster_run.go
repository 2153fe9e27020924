package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	leaveGrace = 10 * time.Second // for an agent that is told to stop; then it is killed
	lateAfter  = 12 * time.Minute // for the others once the first agent has finished: they may still await the last score
)

// cluster runs what a plan says. Its life, each step one function:
//
//  1. start the agents, and ask each again and again how it is
//  2. follow: take in answers and ends, show them, until every agent has ended or there is a reason to stop
//  3. stop those that still run: ask, wait, kill
//  4. collect what the agents left, and judge it
type cluster struct {
	plan      clusterPlan
	command   []string // the program and what comes before "run"
	env       []string
	keepGoing bool
	view      clusterView
	every     time.Duration // between two questions to an agent
	grace     time.Duration // see leaveGrace
	late      time.Duration // see lateAfter
}

// run is steps 1 to 3. When it returns, no agent runs. The state is valid with an error too.
func (c *cluster) run(ctx context.Context) (*clusterState, error) {
	s := newClusterState(c.plan, time.Now())
	procs, err := startAgents(c.command, c.env, c.plan.agents)
	if err != nil {
		return s, err
	}
	for i, cmd := range procs.cmds {
		c.view.say(fmt.Sprintf("%s started, process %d", c.plan.agents[i].name, cmd.Process.Pid))
	}
	sightings, hushed := c.watchAll(ctx)
	err = c.follow(ctx, s, procs, sightings)
	hushed()
	if err != nil {
		c.view.say("stopping the agents")
		c.stop(procs)
	}
	for len(procs.exits) > 0 {
		c.end(s, <-procs.exits)
	}
	return s, err
}

// watchAll watches every agent. The function that it returns ends that, and waits until it has ended.
func (c *cluster) watchAll(ctx context.Context) (<-chan sighting, func()) {
	ctx, cancel := context.WithCancel(ctx)
	sightings := make(chan sighting)
	var all sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{Proxy: nil}} // a proxy of the environment must not come between
	for i, a := range c.plan.agents {
		w := watcher{index: i, plan: a, client: client, every: c.every}
		all.Go(func() { w.watch(ctx, sightings) })
	}
	return sightings, func() {
		cancel()
		all.Wait()
		client.CloseIdleConnections()
	}
}

// follow returns nil when every agent has ended by itself, and otherwise why the rest must be stopped.
func (c *cluster) follow(ctx context.Context, s *clusterState, procs *agentProcs, sightings <-chan sighting) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	var late <-chan time.Time // set once the first agent has finished
	for ended := 0; ended < len(s.agents); {
		select {
		case <-ctx.Done():
			return fmt.Errorf("run the cluster: %w", ctx.Err())
		case seen := <-sightings:
			s.see(seen, time.Now())
		case e := <-procs.exits:
			ended++
			c.end(s, e)
			if err := c.ended(s, e.index); err != nil {
				return err
			}
			if late == nil && s.agents[e.index].finished() {
				late = time.After(c.late)
			}
		case <-late:
			c.view.say(fmt.Sprintf("stopping the agents that have not ended %v after the first", c.late))
			c.stop(procs)
		case <-tick.C:
			if s.stalled(time.Now()) {
				return fmt.Errorf("run the cluster: no agent has moved for %v; the logs in %s/agent-*/%s say what they wait for",
					stallAfter, c.plan.dir, agentLogFile)
			}
		}
		c.view.show(s, time.Now())
	}
	return nil
}

// end takes in an agent's end, and the report that it left.
func (c *cluster) end(s *clusterState, e agentExit) {
	left, err := readReport(c.plan.agents[e.index].file(agentReportFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.view.say(fmt.Sprintf("%s: %v", c.plan.agents[e.index].name, err))
	}
	s.end(e, left, time.Now())
}

// ended tells of an agent's end, and returns an error if the others must not go on: because the user said so, or because
// it could not even start, as the others could not either.
func (c *cluster) ended(s *clusterState, i int) error {
	a := s.agents[i]
	if a.finished() {
		return nil
	}
	story := c.story(a, i)
	switch {
	case !underway(a.status) && a.exit.code > 0:
		return fail(a.exit.code, errors.New(story))
	case !c.keepGoing:
		return errors.New(story)
	}
	c.view.say(story)
	return nil
}

// story is how an agent ended too early, with the last of its log.
func (c *cluster) story(a agentState, i int) string {
	log := c.plan.agents[i].file(agentLogFile)
	head := fmt.Sprintf("%s; the last of its log, %s:", a.end(), log)
	return strings.Join(append([]string{head}, lastWords(log)...), "\n    ")
}

// stop ends every agent that still runs. A signal while it waits makes it kill at once.
func (c *cluster) stop(procs *agentProcs) {
	hurry := make(chan os.Signal, 1)
	signal.Notify(hurry, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(hurry)
	procs.stop(c.grace, hurry)
}
