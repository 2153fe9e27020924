package gossip

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"shoal/gossip/roster"
)

// A clone that starts in the middle of a run is told by the agent whose identity it has, whichever seed it knows; the
// earlier one learns of it and goes on, and its addresses stay those that the others have.
func TestCloneIsToldToStop(t *testing.T) {
	key := newKeyFor(t)
	a := newAgent(t, key, Config{})
	identity := newIdentity(t)
	got := make(chan string, 9)
	b := newAgentAs(t, newHost(t, identity), key, Config{Seeds: []string{a.Addr()}})
	b.host.OnMessage(func(_ roster.ID, _ string, body []byte) { got <- string(body) })
	a.seeState(t, Alive, b.host.ID())
	b.seeState(t, Alive, a.host.ID())
	time.Sleep(level) // b has run for longer by more than that
	for _, seed := range []*agent{a, b} {
		clone := newAgentAs(t, newHost(t, identity), key, Config{Seeds: []string{seed.Addr()}})
		for _, row := range []struct {
			who  *agent
			want Conflict
		}{
			{clone, Conflict{b.host.ID(), clone.Addr(), b.Addr(), true}},
			{b, Conflict{b.host.ID(), b.Addr(), clone.Addr(), false}},
		} {
			select {
			case c := <-row.who.Conflicts():
				if c != row.want {
					t.Errorf("got %v, want %v", c, row.want)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("no %v; log:\n%s", row.want, row.who.log)
			}
		}
		clone.see(t, "itself", func() bool { return clone.last.Seq > 0 })
		if len(clone.last.Members) != 1 {
			t.Errorf("the clone got in: %v", clone.last)
		}
		time.Sleep(300 * time.Millisecond) // as long as a connection takes
		if n := len(clone.host.Libp2p().Network().Peers()); n > 0 {
			t.Errorf("the clone is connected to %d peers", n)
		}
		// b is reached where it was.
		if err := a.host.Send(t.Context(), b.host.ID(), "x", []byte("hail")); err != nil {
			t.Errorf("a cannot reach b: %v", err)
		}
		select {
		case text := <-got:
			if text != "hail" {
				t.Errorf("b got %q", text)
			}
		case <-time.After(5 * time.Second):
			t.Error("what a sends to b does not arrive")
		}
		if err := clone.Close(); err != nil {
			t.Error(err)
		}
	}
	i := slices.IndexFunc(a.last.Members, func(m Member) bool { return m.ID == b.host.ID() })
	if i < 0 || a.last.Members[i].Addr != b.Addr() || strings.Contains(a.log.String(), "Marking") {
		t.Errorf("a's view is %v; log:\n%s", a.last, a.log)
	}
}

// conflictOf waits for what a boat hears of doubles.
func conflictOf(b *boat, within time.Duration) (Conflict, bool) {
	select {
	case c := <-b.Conflicts():
		return c, true
	case <-time.After(within):
		return Conflict{}, false
	}
}

// Doubles over their lives: the later one is told each time it starts; when the earlier one is gone, the other may have
// the identity, and then the first one is the later.
func TestDoublesThroughRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(4)
		boats := fleet(t, e, 3, pi())
		seeds := []string{boatAddr(0)}
		as := func(i, berth int) *boat { return launchAs(t, e, i, berth, Config{Seeds: seeds}, pi()) }
		later := func(b *boat, want bool) {
			t.Helper()
			c, ok := conflictOf(b, 10*time.Second)
			if !ok || c.Later != want || c.Here != b.Addr() {
				t.Errorf("%s at %s hears %v (%t), want later %t; log:\n%s", b.id, b.addr, c, ok, want, b.log)
			}
		}
		time.Sleep(10 * time.Minute)
		for range 2 {
			clone := as(2, 7)
			later(clone, true)
			later(boats[2], false)
			if clone.sees() > 1 {
				t.Error("the clone got in")
			}
			clone.sink(t)
			time.Sleep(2 * time.Minute)
		}
		together(t, boats, time.Second)
		for _, b := range boats {
			if killed := b.killed(); len(killed) > 0 {
				t.Errorf("%s believed %v dead", b.id, killed)
			}
		}
		// The first one restarts at its place, while the clone is off.
		boats[2].sink(t)
		boats[2] = as(2, 2)
		together(t, boats, 30*time.Second)
		// It is off for long: the clone is the only one now, and then the first comes back.
		boats[2].sink(t)
		time.Sleep(time.Minute)
		clone := as(2, 7)
		together(t, []*boat{boats[0], boats[1], clone}, 30*time.Second)
		time.Sleep(time.Minute)
		boats[2] = as(2, 2)
		later(boats[2], true)
		dock(t, append(boats, clone))
	})
}

// An agent that was killed comes back at another address at once: nobody answers at the old one, so it is no double.
func TestRestartElsewhereIsNoDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(5)
		boats := fleet(t, e, 3, pi())
		time.Sleep(time.Minute)
		boats[2].sink(t)
		boats[2] = launchAs(t, e, 2, 9, Config{Seeds: []string{boatAddr(0)}}, pi())
		t.Logf("back after %v", together(t, boats, 30*time.Second))
		for _, b := range boats {
			if c, ok := conflictOf(b, time.Second); ok {
				t.Errorf("%s hears of a conflict: %v", b.id, c)
			}
		}
		dock(t, boats)
	})
}

// Two sides that each have one of the doubles, and meet: the later one is told, and the sides become one.
func TestDoublesOfTwoSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(6)
		one := fleet(t, e, 2, pi())
		time.Sleep(time.Minute)
		other := launch(t, e, 3, Config{}, pi())
		clone := launchAs(t, e, 1, 8, Config{Seeds: []string{other.addr}}, pi())
		together(t, []*boat{other, clone}, time.Minute)
		bridge := launch(t, e, 4, Config{Seeds: []string{one[0].addr, other.addr}}, pi())
		c, ok := conflictOf(clone, time.Minute)
		if want := (Conflict{clone.id, clone.addr, one[1].addr, true}); !ok || c != want {
			t.Errorf("the clone hears %v (%t), want %v; log:\n%s", c, ok, want, clone.log)
		}
		clone.sink(t)
		together(t, []*boat{one[0], one[1], other, bridge}, 2*time.Minute)
		if c, ok := conflictOf(one[1], time.Second); !ok || c.Later {
			t.Errorf("the earlier one hears %v (%t)", c, ok)
		}
		dock(t, append(one, other, bridge))
	})
}

// A restarted agent finds its cluster though none of its seeds is there any more.
func TestKnownPeersReplaceSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEther(7)
		file := filepath.Join(t.TempDir(), "peers.json")
		boats := []*boat{launch(t, e, 0, Config{}, pi())}
		boats = append(boats, launch(t, e, 1, Config{Seeds: []string{boatAddr(0)}}, pi()))
		wanderer := func(seeds ...string) *boat {
			return launchWith(t, e, 2, 2, Config{Seeds: seeds}, pi(), file)
		}
		boats = append(boats, wanderer(boatAddr(0)))
		together(t, boats, time.Minute)
		time.Sleep(time.Minute)
		boats[2].sink(t)
		boats[0].sink(t) // the only seed
		boats = []*boat{boats[1], wanderer(boatAddr(30))}
		t.Logf("back after %v", together(t, boats, 30*time.Second))
		dock(t, boats)
	})
}

func TestMemoryLearns(t *testing.T) {
	m := memory{Self: "1.1.1.1:1", Peers: []string{"1.1.1.2:1", "1.1.1.3:1"}}
	next := m.learn("1.1.1.9:1", []string{"1.1.1.5:1", "1.1.1.3:1"})
	if want := []string{"1.1.1.3:1", "1.1.1.5:1", "1.1.1.2:1"}; next.Self != "1.1.1.9:1" || !slices.Equal(next.Peers, want) {
		t.Errorf("got %v, want %v", next, want)
	}
	var many []string
	for i := range 2 * maxRemembered {
		many = append(many, boatAddr(i))
	}
	if n := len(m.learn("", many).Peers); n != maxRemembered {
		t.Errorf("%d remembered", n)
	}
	if _, err := readMemory(filepath.Join(t.TempDir(), "absent")); err != nil {
		t.Errorf("absent: %v", err)
	}
}

func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"self":"192.168.1.11:7946","peers":["192.168.1.12:7946"]}`))
	f.Add([]byte(`{"peers":["nonsense"]}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeMemory(text)
		if err != nil {
			return
		}
		if next := m.learn(m.Self, nil); len(next.Peers) > maxRemembered || next.Self != m.Self {
			t.Errorf("%v learnt to %v", m, next)
		}
	})
}

func FuzzQuestion(f *testing.F) {
	good := question{kind: asks, up: time.Hour, addr: "10.0.0.1:7946", proof: []byte("proof")}
	f.Add(good.encode())
	f.Add(good.encode()[:40])
	f.Add([]byte{questionVersion, answers})
	f.Add(encodeGoodbye("12D3KooW"))
	f.Fuzz(func(t *testing.T, text []byte) {
		q, err := decodeQuestion(text)
		if err == nil && !bytes.Equal(q.encode(), text) {
			t.Errorf("%q was read as %v", text, q)
		}
	})
}

// Whoever lacks the identity's key changes nothing by questions and answers.
func TestForgedAnswersAreIgnored(t *testing.T) {
	d, err := newDoubles(prover("me"), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	forger, err := newDoubles(prover("another"), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	const there = "10.0.0.2:7946"
	if v := d.heard(there); v != pending {
		t.Fatalf("verdict %v before anything is known", v)
	}
	d.open[there].nonce = [nonceBytes]byte{1}
	for _, row := range []struct {
		name  string
		from  *doubles
		nonce [nonceBytes]byte
		up    time.Duration
		want  verdict
	}{
		{"another key", forger, [nonceBytes]byte{1}, time.Hour, pending},
		{"another nonce", d, [nonceBytes]byte{2}, time.Hour, pending},
		{"no nonce", d, [nonceBytes]byte{}, time.Hour, pending},
		{"good", d, [nonceBytes]byte{1}, time.Hour, older},
		{"a second time", d, [nonceBytes]byte{1}, 0, older},
	} {
		q := question{kind: answers, instance: [nonceBytes]byte{9}, nonce: row.nonce, up: row.up, addr: there}
		if q.proof, err = row.from.prove(q.claim()); err != nil {
			t.Fatal(err)
		}
		if d.take(q); d.heard(there) != row.want {
			t.Errorf("%s: verdict %v, want %v", row.name, d.heard(there), row.want)
		}
	}
	if _, fresh := forger.take(question{kind: asks, proof: []byte(strings.Repeat("x", 32))}); fresh || len(forger.reply) > 0 {
		t.Error("a question without proof is answered")
	}
}
