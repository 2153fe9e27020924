package gossip

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/gossip/roster"
)

func manyKeys(t testing.TB, n int) Keys {
	t.Helper()
	var keys Keys
	for range n {
		keys = append(keys, newKeyFor(t)...)
	}
	return keys
}

// turn from any ring to any other holds exactly the new keys in their order, and on the way never sends with a key that
// is in neither.
func TestTurnReachesEveryRing(t *testing.T) {
	pool := manyKeys(t, 4)
	var rings []Keys
	for _, a := range pool {
		rings = append(rings, Keys{a})
		for _, b := range pool {
			if a == b {
				continue
			}
			rings = append(rings, Keys{a, b})
			for _, c := range pool {
				if c != a && c != b {
					rings = append(rings, Keys{a, b, c})
				}
			}
		}
	}
	for _, from := range rings {
		for _, to := range rings {
			ring, err := keyring(from)
			if err == nil {
				err = turn(ring, to)
			}
			if err != nil || len(ring.GetKeys()) != len(to) || !leads(ring, to) {
				t.Fatalf("%v to %v: holds %d keys, %v", from, to, len(ring.GetKeys()), err)
			}
		}
	}
}

func TestKeysRotate(t *testing.T) {
	k := manyKeys(t, 5)
	for _, row := range []struct {
		name      string
		got, want Keys
	}{
		{"add", k[:1].Add(k[1]), Keys{k[0], k[1]}},
		{"add beyond the limit", k[:3].Add(k[3]), Keys{k[0], k[2], k[3]}},
		{"promote", k[:3].Promote(), Keys{k[2], k[0], k[1]}},
		{"promote one", k[:1].Promote(), k[:1]},
		{"rotate", k[:1].Rotate(k[1]), Keys{k[1], k[0]}},
		{"rotate beyond the limit", k[:3].Rotate(k[3]), Keys{k[3], k[0], k[1]}},
	} {
		if !slices.Equal(row.got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, row.got, row.want)
		}
	}
	if all := manyKeys(t, 5); slices.Contains(k, all[0]) {
		t.Error("two random keys are one")
	}
}

// A cluster's key is changed in three steps, each copied to one node after the other, and nobody is lost; who has only
// the old key is refused then.
func TestRotatingKeysLosesNobody(t *testing.T) {
	keys := manyKeys(t, 2)
	old, next := keys[0], keys[1]
	var all []*agent
	var files []string
	var seeds []string
	var ids []roster.ID
	for range 3 {
		file := filepath.Join(t.TempDir(), "key")
		if err := WriteKey(file, old); err != nil {
			t.Fatal(err)
		}
		a := newAgent(t, Keys{old}, Config{KeyFile: file, Seeds: seeds})
		all, files, seeds, ids = append(all, a), append(files, file), []string{a.Addr()}, append(ids, a.host.ID())
	}
	for _, a := range all {
		a.seeState(t, Alive, ids...)
	}
	for _, step := range []struct {
		name string
		keys Keys
	}{{"add", Keys{old}.Add(next)}, {"promote", Keys{old}.Add(next).Promote()}, {"drop", Keys{next}}} {
		for i, a := range all {
			if err := ReplaceKeys(files[i], step.keys); err != nil {
				t.Fatal(err)
			}
			until(t, step.name, a, func() bool { return len(a.ring.GetKeys()) == len(step.keys) && leads(a.ring, step.keys) })
			time.Sleep(3 * a.tuning.probeInterval) // nodes that differ meet
		}
	}
	for _, a := range all {
		select {
		case a.last = <-a.Views():
		default:
		}
		for _, id := range ids {
			if s := a.state(id); s != "alive" {
				t.Errorf("%s is %s after the rotation; log:\n%s", id, s, a.log)
			}
		}
		if log := a.log.String(); strings.Contains(log, "Marking") || strings.Contains(log, old.Base64()) || strings.Contains(log, next.Base64()) {
			t.Errorf("the log tells of a death, or a key:\n%s", log)
		}
	}
	late := newAgent(t, Keys{old}, Config{Seeds: seeds})
	var keyError *KeyError
	select {
	case err := <-late.Refused():
		if !errors.As(err, &keyError) || !strings.Contains(err.Error(), "copy the key file") {
			t.Errorf("refused with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("an agent with the old key is not refused; log:\n%s", late.log)
	}
}

// until waits for what has no event.
func until(t testing.TB, what string, a *agent, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 5 s; log:\n%s", what, a.log)
		}
	}
}

// A key file that is damaged under a running agent is told of once, and changes nothing.
func TestDamagedKeyFileIsToldOfOnce(t *testing.T) {
	keys := newKeyFor(t)
	file := filepath.Join(t.TempDir(), "key")
	if err := WriteKey(file, keys...); err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, keys, Config{KeyFile: file})
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "a word of the damage", a, func() bool { return strings.Contains(a.log.String(), file) })
	time.Sleep(5 * a.tuning.rereadKeys)
	if log := a.log.String(); strings.Count(log, "the keys stay") != 1 || !leads(a.ring, keys) {
		t.Errorf("log:\n%s", log)
	}
}
