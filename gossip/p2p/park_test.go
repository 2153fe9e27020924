package p2p

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"shoal/gossip/roster"
)

func TestStreamsOfOtherAttemptsAreRefusedByName(t *testing.T) {
	hosts, r := newCluster(t, 3)
	over := tagOf(r, 1)
	l, err := hosts[1].Links(context.Background(), over, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := hosts[1].Links(context.Background(), over, r); err == nil || !strings.Contains(err.Error(), "it is over") {
		t.Errorf("a tag used twice: %v", err)
	}
	current := tagOf(r, 2)
	links := openAll(t, hosts, current, r)
	if _, err := hosts[1].Links(context.Background(), current, r); err == nil || !strings.Contains(err.Error(), "open already") {
		t.Errorf("a tag open twice: %v", err)
	}
	for _, row := range []struct {
		name string
		head linkHead
		want string
	}{
		{"over", linkHead{Tag: over, From: 0, To: 1}, "stream of attempt " + tagName(over) + ": it is over"},
		{"another's rank", linkHead{Tag: current, From: 2, To: 1}, "rank 2 of 3 is not this peer"},
		{"no rank", linkHead{Tag: current, From: 9, To: 1}, "rank 9 of 3 is not this peer"},
		{"to another", linkHead{Tag: current, From: 0, To: 2}, "rank 2 is not here"},
		{"to itself", linkHead{Tag: current, From: 1, To: 1}, "from rank 1 to rank 1"},
	} {
		if reason := refusal(t, hosts[0], hosts[1], row.head); !strings.Contains(reason, row.want) {
			t.Errorf("%s: refused with %q, want %q", row.name, reason, row.want)
		}
	}
	b := make([]byte, 1)
	if err := errors.Join(links[0].Send(1, b, soon()), links[1].Recv(0, b, soon())); err != nil {
		t.Fatal(err)
	}
	if reason := refusal(t, hosts[0], hosts[1], linkHead{Tag: current, From: 0, To: 1}); !strings.Contains(reason, "has a stream already") {
		t.Errorf("second stream: refused with %q", reason)
	}
	// A Send learns the reason, whether it is the first or a later one.
	stale := &Links{host: hosts[0], tag: over, r: r, rank: 0, peers: links[0].peers, out: make([]outLink, 3), over: make(chan struct{})}
	var refused *RefusedError
	await(t, "a refused send", func() bool { return errors.As(stale.Send(1, b, soon()), &refused) })
	if !strings.Contains(refused.Reason, "it is over") {
		t.Errorf("refused with %q", refused.Reason)
	}
}

// refusal opens a link stream with any header and returns why it was refused.
func refusal(t *testing.T, from, to *Host, head linkHead) string {
	t.Helper()
	text, err := head.encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := from.open(within(t, 5*time.Second), to.ID(), purposeLink, text)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	_ = s.SetReadDeadline(soon())
	var refused *RefusedError
	if err := awaitRefusal(s, to.ID()); !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	return refused.Reason
}

func TestParkedStreamsAreBounded(t *testing.T) {
	hosts, r := newCluster(t, 2)
	for view := range maxParkedPerPeer {
		text, err := linkHead{Tag: tagOf(r, uint64(view)), From: 0, To: 1}.encode()
		if err != nil {
			t.Fatal(err)
		}
		s, err := hosts[0].open(within(t, 5*time.Second), hosts[1].ID(), purposeLink, text)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
	}
	await(t, "all parked", func() bool {
		hosts[1].parking.mu.Lock()
		defer hosts[1].parking.mu.Unlock()
		return len(hosts[1].parking.waiting) == maxParkedPerPeer
	})
	if reason := refusal(t, hosts[0], hosts[1], linkHead{Tag: tagOf(r, 99), From: 0, To: 1}); !strings.Contains(reason, "wait already") {
		t.Errorf("refused with %q", reason)
	}
}

func TestLinksNeedARank(t *testing.T) {
	h := newHost(t)
	other := newHost(t).ID()
	if _, err := h.Links(context.Background(), roster.Tag{}, roster.Roster{Members: []roster.ID{other}}); err == nil {
		t.Error("links of a roster without this host")
	}
	two := []roster.ID{h.ID(), "nobody"}
	sortIDs(two)
	if _, err := h.Links(context.Background(), roster.Tag{}, roster.Roster{Members: two}); err == nil {
		t.Error("links to a member that has no peer ID")
	}
}
