package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"shoal/agent"
	"shoal/eval"
)

const (
	pollEvery      = 500 * time.Millisecond
	pollDeadline   = 3 * time.Second // training keeps the CPUs busy; a slow answer is still one
	maxStatusBytes = 1 << 20         // a status of 64 members takes about 10 kB
	maxReportBytes = 64 << 20        // a report has a row of some kB for each round
)

// sighting is one answer of an agent.
type sighting struct {
	index  int
	status agent.Status
	report *eval.Report // once it is done
}

// watcher asks one agent again and again how it is.
type watcher struct {
	index  int
	plan   agentPlan
	client *http.Client
	every  time.Duration
}

// watch sends what the agent answers to out until ctx ends. An agent that does not answer (not yet, not any more, not in
// time) is asked again.
func (w watcher) watch(ctx context.Context, out chan<- sighting) {
	var report *eval.Report
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		seen := sighting{index: w.index}
		if w.ask(ctx, "/v1/status", maxStatusBytes, &seen.status) != nil || seen.status.Name != w.plan.name {
			continue // a port may have passed to another
		}
		if seen.status.Phase == "done" && report == nil {
			var whole eval.Report
			if w.ask(ctx, "/v1/report", maxReportBytes, &whole) == nil {
				report = &whole
			}
		}
		seen.report = report
		select {
		case out <- seen:
		case <-ctx.Done():
			return
		}
	}
}

// ask gets path from the agent and reads its JSON into v. The address is read anew each time: an agent that was started
// again has another.
func (w watcher) ask(ctx context.Context, path string, limit int64, v any) error {
	address, err := os.ReadFile(w.plan.file(agentHTTPFile))
	if err != nil {
		return fmt.Errorf("read the address of %s: %w", w.plan.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, pollDeadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.TrimSpace(string(address))+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", w.plan.name, err)
	}
	answer, err := w.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", w.plan.name, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s for %s: %s", w.plan.name, path, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, limit)).Decode(v); err != nil {
		return fmt.Errorf("read %s of %s: %w", path, w.plan.name, err)
	}
	return nil
}
