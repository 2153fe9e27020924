package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"shoal/agent/part"
	"shoal/eval"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
)

// fetchWithin bounds the transfer of one state; pageWithin that of a page of the journal, and swapWithin of all pages.
const (
	fetchWithin = 2 * time.Minute
	pageWithin  = 10 * time.Second
	swapWithin  = time.Minute
)

// page is a part of a journal on the wire, with a word about who sends it.
type page struct {
	Commits []eval.Commit     `json:"commits,omitempty"`
	Scores  []eval.Score      `json:"scores,omitempty"`
	Agent   eval.AgentSummary `json:"agent"`
	Next    int               `json:"next,omitempty"` // the round that the next page begins with; 0: there is none
}

// pageRequest asks for what a peer's journal holds from a round on and this one does not, and may bring a page.
type pageRequest struct {
	From    int            `json:"from"`
	Digests map[int]uint64 `json:"digests"` // of the journal of who asks
	Page    *page          `json:"page,omitempty"`
}

// lines is a page that a peer sent.
type lines struct {
	from roster.ID
	page page
}

// handle answers peers. Everything here runs beside the loop.
func (a *Agent) handle() {
	a.host.OnMessage(func(from roster.ID, kind string, body []byte) {
		m, err := roster.Decode(body)
		if kind != messageKind || err != nil {
			a.log.Warn().Str("event", "bad_message").Str("peer", string(from)).Str("kind", kind).Err(err).Msg("message refused")
			return
		}
		a.post(roster.Received{From: from, Message: m})
	})
	a.host.OnLost(func(id roster.ID) {
		a.start(func() { a.post(roster.Unreachable{ID: id}) }) // it must not wait for the loop
	})
	a.host.OnCutOff(func(id roster.ID, what string, until time.Time) {
		a.log.Warn().Str("event", "peer_cut_off").Str("peer", string(id)).Str("reason", what).Time("until", until).
			Msg("a peer went over its limits and is refused for a while")
	})
	a.host.HandleCall("hello", func(context.Context, roster.ID, []byte) ([]byte, error) {
		h := a.shown.greeting()
		h.Up = int64(time.Since(a.started))
		return json.Marshal(h)
	})
	a.host.HandleCall("state", func(_ context.Context, _ roster.ID, body []byte) ([]byte, error) {
		return a.serveState(string(body))
	})
	a.host.HandleCall(steerKind, func(_ context.Context, from roster.ID, body []byte) ([]byte, error) {
		return nil, a.serveSteerCall(from, body)
	})
	for _, kind := range []string{statisticsKind, testKind} {
		a.host.HandleCall(kind, func(ctx context.Context, from roster.ID, body []byte) ([]byte, error) {
			return a.serveParts(ctx, from, kind, body)
		})
	}
	a.host.HandleCall("journal", func(_ context.Context, from roster.ID, body []byte) ([]byte, error) {
		return a.serveJournal(from, body)
	})
}

// serveState answers with the file of a state.
func (a *Agent) serveState(hash string) ([]byte, error) {
	if !a.store.has(hash) {
		return nil, fmt.Errorf("no state %q here", hash)
	}
	return os.ReadFile(a.store.statePath(hash))
}

// serveJournal takes a peer's page, and answers with one of what the peer lacks.
func (a *Agent) serveJournal(from roster.ID, body []byte) ([]byte, error) {
	var ask pageRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("read journal request: %w", err)
	}
	if ask.Page != nil {
		a.post(lines{from, *ask.Page})
	}
	commits, scores, next, err := a.journal.Lacking(ask.Digests, ask.From, maxPageBytes)
	if err != nil {
		return nil, err
	}
	return json.Marshal(page{Commits: commits, Scores: scores, Agent: a.shown.summary(), Next: next})
}

// pageSince is what our journal holds of the rounds after round.
func (a *Agent) pageSince(round int) (page, error) {
	commits, scores, err := a.journal.Since(round)
	return page{Commits: commits, Scores: scores, Agent: a.shown.summary()}, err
}

// maxPageBytes bounds the page that goes with a request, since a call's body is a message, and about that of an answer,
// which would not be so limited: who is asked and who asks hold a page in memory a few times.
const maxPageBytes = p2p.MaxMessageBytes * 3 / 4

// maxPageRounds bounds the rounds that are looked at for such a page: a line takes 200 bytes at least.
const maxPageRounds = maxPageBytes / 200

// lastPage is as much of our journal, the newest rounds, as goes with a request.
func (a *Agent) lastPage(last int) page {
	since := max(0, last-maxPageRounds)
	for {
		p, err := a.pageSince(since)
		if err != nil {
			a.log.Warn().Str("event", "journal_unreadable").Err(err).Msg("the others are not told of the last rounds")
			return p
		}
		b, err := json.Marshal(p)
		if err == nil && len(b) <= maxPageBytes || since >= last {
			return p
		}
		since += (last - since + 1) / 2
	}
}

// fetchFrom gets the file of a state from one peer, checks it and keeps it.
func (a *Agent) fetchFrom(ctx context.Context, hash string, from roster.ID) error {
	if !hashPattern.MatchString(hash) {
		return fmt.Errorf("%q is no state hash", hash)
	}
	state := make([]float32, len(a.trainer.base))
	if a.store.has(hash) && a.readState(hash, state) == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	file, err := a.host.Call(ctx, from, "state", []byte(hash))
	if err != nil {
		return err
	}
	name := incoming + hash + stateSuffix
	if err := a.store.write(name, file); err != nil {
		return err
	}
	_, err = a.trainer.read(a.store.path(name), state)
	if got := part.Hash(state); err == nil && got != hash {
		err = fmt.Errorf("the state sent hashes to %s", got)
	}
	if err != nil {
		return errors.Join(err, os.Remove(a.store.path(name)))
	}
	a.around("keep state", func() { err = a.store.rename(name, hash) })
	return err
}

// pull gets the part of the record that this agent missed.
func (a *Agent) pull(ctx context.Context, from roster.ID) { a.swap(ctx, from, 1, nil) }

// swap gives a peer our page, and takes what the peer knows of rounds from first on and this agent does not, page by page.
func (a *Agent) swap(ctx context.Context, with roster.ID, first int, mine *page) {
	ctx, cancel := context.WithTimeout(ctx, swapWithin)
	defer cancel()
	ask := pageRequest{From: first, Digests: a.journal.Digests(), Page: mine}
	for {
		p, err := a.askPage(ctx, with, ask)
		if err != nil {
			a.log.Debug().Str("event", "journal_failed").Str("peer", string(with)).Err(err).Msg("no page of the journal")
			return
		}
		a.post(lines{with, p})
		if p.Next <= ask.From { // the end, or a peer gone wrong
			return
		}
		ask.From, ask.Page = p.Next, nil
	}
}

// askPage gets one page.
func (a *Agent) askPage(ctx context.Context, from roster.ID, ask pageRequest) (p page, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageWithin)
	defer cancel()
	request, err := json.Marshal(ask)
	if err != nil {
		return p, err
	}
	body, err := a.host.Call(ctx, from, "journal", request)
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	return p, err
}

// merge takes a page into our own journal.
func (a *Agent) merge(l lines) {
	if l.page.Agent.ID == l.from {
		a.shown.peer(l.page.Agent)
	}
	if err := a.journal.Merge(l.page.Commits, l.page.Scores); err != nil {
		a.log.Warn().Str("event", "journal_merge").Str("peer", string(l.from)).Err(err).Msg("page of the journal refused")
	}
	for _, s := range l.page.Scores {
		a.scores.settled(s)
		a.shown.score(s)
	}
}
