package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/gossip/roster"
)

// What an agent can be asked to do, and the last part of the path that asks for it.
const (
	steerPause  = "pause"  // take no part in training until resumed
	steerResume = "resume" // go on after a pause
	steerLeave  = "leave"  // finish the exchange at work, keep unfinished work, say goodbye and end
)

// Steered is the answer to a request that steers: which agents took it. Taken means that it will be done next, not that
// it is.
type Steered struct {
	Asked   string          `json:"asked"`   // pause | resume | leave
	Members []SteeredMember `json:"members"` // by name, then ID
}

// SteeredMember is one agent's answer.
type SteeredMember struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // empty: it took the request
}

const (
	// steerKind names the call that passes a request on to another member.
	steerKind = "steer"
	// steerWithin bounds that call, and steersAtOnce how many are made at a time.
	steerWithin  = 5 * time.Second
	steersAtOnce = 16
)

// steerRequest is the body of a request, and of the call that passes it on.
type steerRequest struct {
	What string `json:"what,omitempty"` // of a call
	All  bool   `json:"all,omitempty"`  // of a request: pass it on to every member
}

// serveSteer answers the request to do what.
func (a *Agent) serveSteer(what string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var ask steerRequest
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&ask); err != nil && !errors.Is(err, io.EOF) {
			refuse(w, http.StatusBadRequest, "read the request: %v; send {} or {\"all\": true}", err)
			return
		}
		result := Steered{Asked: what}
		if ask.All {
			result.Members = a.steerOthers(r.Context(), what)
		}
		s := a.shown.snapshot()
		result.Members = append(result.Members, SteeredMember{ID: s.ID, Name: s.Name})
		slices.SortFunc(result.Members, func(x, y SteeredMember) int {
			return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.ID, y.ID))
		})
		answer(w, http.StatusAccepted, result)
		_ = http.NewResponseController(w).Flush() // whoever asks need not wait for a loop that is busy
		a.steer(what, "this machine")             // after the answer: leaving ends the server
	}
}

// steer gives the loop a request.
func (a *Agent) steer(what, from string) {
	a.log.Info().Str("event", "steered").Str("what", what).Str("from", from).Msg("asked to " + what)
	switch what {
	case steerPause:
		a.post(pauseRequest{})
	case steerResume:
		a.post(resumeRequest{})
	case steerLeave:
		a.post(leaveRequest{})
	}
}

// steerOthers passes a request on to every other member that is here, and tells how each answered.
func (a *Agent) steerOthers(ctx context.Context, what string) []SteeredMember {
	names := a.names()
	peers := a.shown.peers()
	results := make([]SteeredMember, len(peers))
	turns := make(chan struct{}, steersAtOnce)
	var calls sync.WaitGroup
	body, err := json.Marshal(steerRequest{What: what})
	for i, id := range peers {
		results[i] = SteeredMember{ID: string(id), Name: names[string(id)]}
		if err != nil {
			results[i].Error = err.Error()
			continue
		}
		turns <- struct{}{}
		calls.Go(func() {
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, steerWithin)
			defer cancel()
			if _, err := a.host.Call(ctx, id, steerKind, body); err != nil {
				results[i].Error = err.Error()
			}
		})
	}
	calls.Wait()
	return results
}

// serveSteerCall takes a request that another member passes on. The stream authenticates the member; it must be of this
// run, and http.obey must let members steer.
func (a *Agent) serveSteerCall(from roster.ID, body []byte) error {
	var ask steerRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	switch {
	case a.cfg.HTTP.Obey != "members":
		return fmt.Errorf("this agent obeys only requests on its own machine; run the command there, or start it with http.obey: members")
	case !slices.Contains(a.shown.peers(), from):
		return fmt.Errorf("%s is no member of this run", from)
	case !slices.Contains([]string{steerPause, steerResume, steerLeave}, ask.What):
		return fmt.Errorf("asked to %.20q; an agent can %s, %s or %s", ask.What, steerPause, steerResume, steerLeave)
	}
	a.steer(ask.What, string(from))
	return nil
}
