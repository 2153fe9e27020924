package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"shoal/gossip/roster"
)

// newFake is a Gossip without a network: memberlist's calls are the test's.
func newFake(t *testing.T, admit func(string, []byte) error) *Gossip {
	t.Helper()
	g := &Gossip{tuning: pi(), views: make(chan View, 1), table: newTable(Node{ID: "self"}, nil, admit, 10*time.Second)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.working.Go(g.publish)
	t.Cleanup(func() { g.cancel(); g.working.Wait() })
	return g
}

func node(t testing.TB, id string, port uint16) *memberlist.Node {
	t.Helper()
	meta, err := encodeMeta("name of "+id, []byte("record of "+id))
	if err != nil {
		t.Fatal(err)
	}
	return &memberlist.Node{Name: id, Addr: net.IPv4(10, 0, 0, 1).To4(), Port: port, Meta: meta}
}

func accept(string, []byte) error { return nil }

func TestViewsAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFake(t, accept)
		start := time.Now()
		for i := range 5 {
			g.table.NotifyJoin(node(t, fmt.Sprint(i), 1))
			time.Sleep(20 * time.Millisecond)
		}
		if v := <-g.Views(); v.Seq != 1 || len(v.Members) != 5 {
			t.Errorf("view %d with %d members, want one with all", v.Seq, len(v.Members))
		}
		if d := time.Since(start); d != 80*time.Millisecond+g.tuning.quiet {
			t.Errorf("published after %v, want quiet after the last change", d)
		}
		// Ceaseless change does not hold a view back for ever.
		start = time.Now()
		busy, stop := context.WithCancel(context.Background())
		var changes sync.WaitGroup
		changes.Go(func() {
			for busy.Err() == nil {
				g.table.touch()
				time.Sleep(10 * time.Millisecond)
			}
		})
		<-g.Views()
		stop()
		changes.Wait()
		if d := time.Since(start); d > g.tuning.restless+20*time.Millisecond {
			t.Errorf("published after %v, want %v at the latest", d, g.tuning.restless)
		}
	})
}

func TestSlowReaderGetsTheNewestView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFake(t, accept)
		for i := range 3 {
			g.table.NotifyJoin(node(t, fmt.Sprint(i), 1))
			time.Sleep(time.Second)
		}
		if v := <-g.Views(); v.Seq != 3 || len(v.Members) != 3 {
			t.Errorf("view %d with %d members, want the third", v.Seq, len(v.Members))
		}
	})
}

func TestMembersStates(t *testing.T) {
	tb := newTable(Node{ID: "self"}, nil, accept, 0)
	is := func(id roster.ID, want string) {
		t.Helper()
		got := "unlisted"
		for _, m := range tb.members() {
			if m.ID == id {
				got = m.State.String()
			}
		}
		if got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	a := node(t, "a", 1)
	tb.NotifyLeave(a)
	is("a", "unlisted")
	tb.NotifyJoin(a)
	is("a", "alive")
	line := "[INFO] memberlist: Suspect a has failed, no acks received\n"
	if _, err := (&tap{&logged{}, tb}).Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	is("a", "suspect")
	tb.NotifyPingComplete(a, 0, nil)
	is("a", "alive")
	tb.suspect("a")
	if err := tb.NotifyAlive(a); err != nil {
		t.Fatal(err)
	}
	is("a", "alive")
	tb.suspect("a")
	tb.NotifyLeave(a)
	is("a", "dead")
	tb.suspect("a")
	is("a", "dead")
	tb.NotifyJoin(a)
	tb.NotifyMsg(encodeGoodbye("a"))
	is("a", "alive")
	tb.NotifyLeave(a)
	is("a", "left")
	tb.NotifyJoin(a) // forgets the goodbye
	tb.NotifyLeave(a)
	is("a", "dead")
	tb.NotifyMsg(encodeGoodbye("unknown"))
	is("unknown", "unlisted")
	for i := range maxGone + 10 {
		n := node(t, fmt.Sprint("gone", i), 1)
		tb.NotifyJoin(n)
		tb.NotifyLeave(n)
	}
	is("a", "unlisted")
	if n := len(tb.members()); n != maxGone {
		t.Errorf("%d dead are listed, want %d", n, maxGone)
	}
}

func TestMergeChecksTheLiving(t *testing.T) {
	tb := newTable(Node{ID: "self"}, nil, func(name string, record []byte) error {
		if string(record) != "record of "+name {
			return errors.New("forged")
		}
		return nil
	}, 0)
	good, forged, dead, mute := node(t, "good", 1), node(t, "b", 2), node(t, "c", 3), node(t, "d", 4)
	forged.Name = "other"
	dead.Name, dead.State = "buried", memberlist.StateDead
	mute.Meta = nil
	double := node(t, "x", 5)
	double.Name = "self"
	if err := tb.NotifyMerge([]*memberlist.Node{good, dead, double}); err != nil {
		t.Error(err)
	}
	for _, bad := range []*memberlist.Node{forged, mute} {
		if err := tb.NotifyMerge([]*memberlist.Node{good, bad}); err == nil {
			t.Errorf("merged with %q", bad.Name)
		}
		if err := tb.NotifyAlive(bad); err == nil {
			t.Errorf("let in %q", bad.Name)
		}
	}
}

func TestLiveMembersAreAdmittedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admitted := make(chan string, 10)
		g := newFake(t, func(name string, _ []byte) error { admitted <- name; return nil })
		dead := node(t, "dead", 1)
		g.table.NotifyJoin(dead)
		g.table.NotifyLeave(dead)
		g.table.NotifyJoin(node(t, "live", 2))
		g.table.NotifyJoin(node(t, "self", 3))
		time.Sleep(g.tuning.readmit + time.Millisecond)
		synctest.Wait()
		if len(admitted) != 1 || <-admitted != "live" {
			t.Error("others than the live member were admitted")
		}
	})
}

func TestClashesCountWhenTheyGoOn(t *testing.T) {
	c := clashes{after: 10 * time.Second}
	one, two := Conflict{"a", "h:1", "h:2", false}, Conflict{"a", "h:2", "h:1", false}
	for _, row := range []struct {
		at   time.Duration
		of   Conflict
		want bool
	}{
		{0, one, false},
		{5 * time.Second, one, false},
		{6 * time.Second, two, false},
		{10 * time.Second, one, true},
		{11 * time.Second, one, false}, // reported
		{16 * time.Second, two, true},
		{100 * time.Second, one, false}, // forgotten, begins anew
		{111 * time.Second, one, true},
	} {
		if got := c.see(time.Unix(0, 0).Add(row.at), row.of); got != row.want {
			t.Errorf("%v of %v: got %v, want %v", row.of, row.at, got, row.want)
		}
	}
	for i := range 10 * maxClashes {
		c.see(time.Unix(200, 0), Conflict{"a", "h:1", fmt.Sprint(i), false})
	}
	if len(c.seen) > maxClashes {
		t.Errorf("%d clashes are remembered, limit %d", len(c.seen), maxClashes)
	}
}

func TestOfferDropsTheOldest(t *testing.T) {
	c := make(chan int, 2)
	for i := range 5 {
		offer(c, i)
	}
	if a, b := <-c, <-c; a != 3 || b != 4 {
		t.Errorf("kept %d and %d, want 3 and 4", a, b)
	}
}
