package gossip

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/p2p"
	"shoal/gossip/roster"
)

// newAnnouncers starts n hosts, all admitted by all, with an announcer each.
func newAnnouncers(t *testing.T, n int) ([]*p2p.Host, []*Announcer) {
	t.Helper()
	hosts, announcers := make([]*p2p.Host, n), make([]*Announcer, n)
	for i := range n {
		hosts[i] = newHost(t, newIdentity(t))
		a, err := NewAnnouncer(t.Context(), hosts[i].Libp2p(), "shoal/test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		announcers[i] = a
	}
	for _, h := range hosts {
		for _, other := range hosts {
			if err := h.Admit(string(other.ID()), recordOf(t, other)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return hosts, announcers
}

func TestAnnouncementsReachEverybodyElse(t *testing.T) {
	hosts, announcers := newAnnouncers(t, 3)
	for i, a := range announcers {
		for deadline := time.Now().Add(5 * time.Second); len(a.topic.ListPeers()) < 2; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("announcer %d has %d peers", i, len(a.topic.ListPeers()))
			}
		}
	}
	want := map[roster.ID]string{}
	for i, a := range announcers {
		want[hosts[i].ID()] = fmt.Sprint("body ", i)
		if err := a.Publish(t.Context(), "progress", []byte(want[hosts[i].ID()])); err != nil {
			t.Fatal(err)
		}
	}
	for i, a := range announcers {
		got := map[roster.ID]string{}
		for len(got) < 2 {
			select {
			case n := <-a.Received():
				got[n.From] = string(n.Body)
				if n.Kind != "progress" || n.From == hosts[i].ID() || string(n.Body) != want[n.From] {
					t.Errorf("announcer %d got %s %q of %s", i, n.Kind, n.Body, n.From)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("announcer %d got %v only", i, got)
			}
		}
	}
}

// A member that floods is named and ignored by the others, who hear each other as before.
func TestFloodIsIgnored(t *testing.T) {
	hosts, announcers := newAnnouncers(t, 3)
	for _, a := range announcers {
		for deadline := time.Now().Add(5 * time.Second); len(a.topic.ListPeers()) < 2; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d peers", len(a.topic.ListPeers()))
			}
		}
	}
	flooder, victim, honest := announcers[0], announcers[1], announcers[2]
	flood := func(n int) {
		t.Helper()
		for i := range n {
			if err := flooder.Publish(t.Context(), "flood", fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood(4 * authorBurst)
	select {
	case id := <-victim.Floods():
		if id != hosts[0].ID() {
			t.Errorf("%s is named for the flood of %s", id, hosts[0].ID())
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody is named")
	}
	if err := honest.Publish(t.Context(), "honest", nil); err != nil {
		t.Fatal(err)
	}
	heard := 0
	for over := false; !over; {
		select {
		case n := <-victim.Received():
			heard++
			over = n.Kind == "honest"
		case <-time.After(5 * time.Second):
			t.Fatal("the honest member is not heard")
		}
	}
	if heard < authorBurst/2 || heard > 2*authorBurst {
		t.Errorf("%d announcements are heard, want about %d", heard, authorBurst)
	}
	flood(20)
	select {
	case n := <-victim.Received():
		t.Errorf("%s of the flooder is heard", n.Kind)
	case id := <-victim.Floods():
		t.Errorf("%s is named again", id)
	case <-time.After(300 * time.Millisecond):
	}
}

func TestQuotas(t *testing.T) {
	q := newQuotas(2, 3)
	now := time.Unix(0, 0)
	take := func(p string, want, wantFresh bool) {
		t.Helper()
		if ok, fresh := q.take(peer.ID(p), now); ok != want || fresh != wantFresh {
			t.Errorf("%s at %v: %t, %t, want %t, %t", p, now, ok, fresh, want, wantFresh)
		}
	}
	for range 3 {
		take("a", true, false)
	}
	take("a", false, true)
	take("a", false, false)
	take("b", true, false)
	now = now.Add(mutedFor - 1)
	if !q.muted("a", now) || q.muted("b", now) || q.muted("c", now) {
		t.Error("not the flooder, or another one, is muted")
	}
	take("a", false, false) // and muted anew
	now = now.Add(mutedFor)
	for range 3 {
		take("a", true, false)
	}
	take("a", false, true)
	now = now.Add(2 * mutedFor)
	for range 1000 { // within the rate for ever
		take("b", true, false)
		now = now.Add(time.Second / 2)
	}
	for i := range maxAuthors {
		q.take(peer.ID(fmt.Sprint(i)), now)
	}
	if len(q.by) > maxAuthors {
		t.Errorf("%d quotas", len(q.by))
	}
	take("late", false, false)
	now = now.Add(2 * mutedFor)
	take("late", true, false)
}

func TestPublishLimits(t *testing.T) {
	hosts, announcers := newAnnouncers(t, 2)
	a := announcers[0]
	if err := a.Publish(t.Context(), "x", make([]byte, MaxAnnouncementBodyBytes+1)); err == nil {
		t.Error("a body over the limit was published")
	}
	if err := a.Publish(t.Context(), strings.Repeat("k", maxKindBytes+1), nil); err == nil {
		t.Error("a kind over the limit was published")
	}
	if err := a.Publish(t.Context(), "", nil); err == nil {
		t.Error("no kind was published")
	}
	// The largest body fits in a message.
	for deadline := time.Now().Add(5 * time.Second); len(a.topic.ListPeers()) < 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no peer on the topic")
		}
	}
	if err := a.Publish(t.Context(), "x", make([]byte, MaxAnnouncementBodyBytes)); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-announcers[1].Received():
		if len(n.Body) != MaxAnnouncementBodyBytes || n.From != hosts[0].ID() {
			t.Errorf("got %d bytes of %s", len(n.Body), n.From)
		}
	case <-time.After(5 * time.Second):
		t.Error("the largest body is lost")
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewAnnouncer(ended, hosts[0].Libp2p(), "shoal/other"); err == nil {
		t.Error("started after its ctx ended")
	}
}

func TestPublishAloneDoesNotWait(t *testing.T) {
	_, announcers := newAnnouncers(t, 1)
	start := time.Now()
	if err := announcers[0].Publish(t.Context(), "x", nil); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > readyWithin {
		t.Errorf("took %v", d)
	}
}

func TestAuthorsAreBoundedAndForgotten(t *testing.T) {
	now := time.Unix(0, 0)
	s := newAuthors()
	s.now = func() time.Time { return now }
	put := func(p string) error { return s.Put(context.Background(), peer.ID(p), []byte(p)) }
	get := func(p string) string {
		b, err := s.Get(context.Background(), peer.ID(p))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for i := range maxAuthors {
		if err := put(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("one more"); err == nil {
		t.Error("more authors than the limit")
	}
	if get("7") != "7" || get("one more") != "" {
		t.Error("remembered wrongly")
	}
	now = now.Add(authorTTL)
	if get("7") != "" {
		t.Error("a stale author is remembered")
	}
	if err := put("one more"); err != nil || get("one more") != "one more" {
		t.Errorf("stale authors make no room: %v", err)
	}
}

func FuzzAnnouncement(f *testing.F) {
	good, err := encodeAnnouncement("score", []byte("{}"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{5, 'a'})
	f.Add([]byte{0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		kind, body, err := decodeAnnouncement(text)
		if err != nil {
			return
		}
		if again, err := encodeAnnouncement(kind, body); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q was read as %q %q, which is written as %q, %v", text, kind, body, again, err)
		}
	})
}
