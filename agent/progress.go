package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"shoal/gossip"
	"shoal/gossip/roster"
)

// Progress is what an agent tells the others of itself now and then, so that anyone can be asked about all. Figures count
// from the agent's start.
type Progress struct {
	ID              string   `json:"id"`
	Name            string   `json:"name"`
	Version         string   `json:"version"`
	Lineage         string   `json:"lineage"`
	Generation      uint64   `json:"generation"`
	Round           int      `json:"round"` // this and the next are as in Status
	Phase           string   `json:"phase"`
	Role            string   `json:"role"`
	Step            int      `json:"step"`
	Steps           int      `json:"steps"`
	Loss            float64  `json:"loss"`
	ImagesPerSecond float64  `json:"images_per_second"`
	Images          int      `json:"images"` // trained on
	Sent            int64    `json:"bytes_sent"`
	Received        int64    `json:"bytes_received"`
	StateHash       string   `json:"state_hash"`
	PeakRSSBytes    uint64   `json:"peak_rss_bytes"`
	CPU             float64  `json:"cpu"`               // share of the machine's CPUs that the agent took since its last news, 0..1
	Celsius         *float64 `json:"celsius,omitempty"` // of the hottest part that the system measures; absent: it measures none
}

const (
	// progressKind names progress among the announcements.
	progressKind = "progress"
	// maxProgressBytes bounds an announcement of progress; one takes about 600 bytes.
	maxProgressBytes = 4 << 10
	// maxProgressName bounds each name in it.
	maxProgressName = 256
	// tellAtLeast is the pause between two announcements of progress, and tellPerMember what each member adds to it: so
	// that a cluster of any size makes some ten a second, and a Pi of 64 spends no time to speak of on others' progress.
	tellAtLeast   = 2 * time.Second
	tellPerMember = 100 * time.Millisecond
)

// heard is the last progress of a member, and when it came.
type heard struct {
	progress Progress
	at       time.Time
}

// tell announces this agent's progress when it is due. The loop does not wait for it.
func (a *Agent) tell(ctx context.Context, now time.Time) {
	due := max(tellAtLeast, time.Duration(len(a.members))*tellPerMember)
	if now.Sub(a.told) < due {
		return
	}
	p := a.shown.progress()
	p.CPU = a.cpu.share(now)
	if celsius, ok := Temperature(); ok {
		p.Celsius = &celsius
	}
	a.told = now
	a.shown.hear(roster.ID(p.ID), p, now)
	a.start(func() {
		body, err := json.Marshal(p)
		if err == nil {
			err = a.announcer.Publish(ctx, progressKind, body)
		}
		if err != nil {
			a.log.Debug().Str("event", "announce_failed").Err(err).Msg("progress not announced")
		}
	})
}

// heardProgress takes a member's news of itself.
func (a *Agent) heardProgress(n gossip.Announcement) error {
	p, err := decodeProgress(n.Body)
	if err == nil && p.ID != string(n.From) {
		err = fmt.Errorf("progress is of %q", p.ID)
	}
	if err != nil || !a.agrees(n.From) { // who is not known yet tells it again
		return err
	}
	a.shown.hear(n.From, p, time.Now())
	return nil
}

// decodeProgress reads an announcement, and refuses what no agent tells.
func decodeProgress(body []byte) (Progress, error) {
	var p Progress
	if len(body) > maxProgressBytes {
		return p, fmt.Errorf("read progress: %d bytes, at most %d", len(body), maxProgressBytes)
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("read progress: %w", err)
	}
	for _, name := range []string{p.ID, p.Name, p.Version, p.Lineage, p.Phase, p.Role, p.StateHash} {
		if len(name) > maxProgressName {
			return p, fmt.Errorf("read progress: a name of %d bytes, at most %d", len(name), maxProgressName)
		}
	}
	for _, n := range []int64{int64(p.Round), int64(p.Step), int64(p.Steps), int64(p.Images), p.Sent, p.Received} {
		if n < 0 {
			return p, fmt.Errorf("read progress: %d where nothing is below 0", n)
		}
	}
	if p.Loss < 0 || p.ImagesPerSecond < 0 || p.CPU < 0 {
		return p, errors.New("read progress: loss, speed or share of the CPUs is below 0")
	}
	return p, nil
}

// progress is what this agent has to tell.
func (s *shown) progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.status
	return Progress{
		ID: t.ID, Name: t.Name, Version: t.Version, Lineage: t.Lineage, Generation: t.Generation,
		Round: t.Round, Phase: t.Phase, Role: t.Role, Step: t.Step, Steps: t.Steps, Loss: t.Loss,
		ImagesPerSecond: t.ImagesPerSecond, Images: t.Images, Sent: t.Sent, Received: t.Received,
		StateHash: t.StateHash, PeakRSSBytes: t.PeakRSSBytes,
	}
}

// hear keeps a member's news.
func (s *shown) hear(from roster.ID, p Progress, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == nil {
		s.heard = map[roster.ID]heard{}
	}
	s.heard[from] = heard{p, now}
}

// forget drops the news of those that membership lists no more. The caller holds the lock.
func (s *shown) forget(listed []MemberStatus) {
	maps.DeleteFunc(s.heard, func(id roster.ID, _ heard) bool {
		return !slices.ContainsFunc(listed, func(m MemberStatus) bool { return m.ID == string(id) })
	})
}

// news is the last news of every member, never nil.
func (s *shown) news() map[roster.ID]heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := make(map[roster.ID]heard, len(s.heard)+1)
	maps.Copy(news, s.heard)
	return news
}

// moved counts the bytes of an exchange.
func (s *shown) moved(sent, received int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += sent
	s.received += received
}
