package gossip

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// keyring is memberlist's ring of keys, as it is to be at first.
func keyring(keys Keys) (*memberlist.Keyring, error) {
	ring, err := memberlist.NewKeyring(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make a ring of %d keys: %w", len(keys), err)
	}
	return ring, turn(ring, keys)
}

// turn makes a ring in use hold exactly keys, in their order. Keys to go are last before they are removed, because
// memberlist closes the gap in place, under the eyes of whoever is reading.
func turn(ring *memberlist.Keyring, keys Keys) error {
	for i := range keys {
		if err := ring.AddKey(slices.Clone(keys[i][:])); err != nil {
			return fmt.Errorf("add key %d: %w", i+1, err)
		}
	}
	for i := len(keys) - 1; i >= 0 && !leads(ring, keys); i-- {
		if err := ring.UseKey(keys[i][:]); err != nil {
			return fmt.Errorf("use key %d: %w", i+1, err)
		}
	}
	for all := ring.GetKeys(); len(all) > len(keys); all = ring.GetKeys() {
		if err := ring.RemoveKey(all[len(all)-1]); err != nil {
			return fmt.Errorf("remove key %d: %w", len(all), err)
		}
	}
	return nil
}

// leads reports whether a ring begins with keys.
func leads(ring *memberlist.Keyring, keys Keys) bool {
	all := ring.GetKeys()
	return len(all) >= len(keys) && slices.EqualFunc(all[:len(keys)], keys, func(a []byte, b Key) bool { return Key(a) == b })
}

// watchKeys reads the key file again and again, and takes what it holds if that is good: a cluster's keys are changed
// without a restart. A file that cannot be read is told of, once, and the keys stay.
func (g *Gossip) watchKeys(path string, keys Keys) {
	again := time.NewTicker(g.tuning.rereadKeys)
	defer again.Stop()
	told := ""
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-again.C:
		}
		now, err := ReadKeys(path)
		if err == nil && !slices.Equal(now, keys) {
			if err = turn(g.ring, now); err == nil {
				keys = now
				g.log.Printf("[WARN] gossip: took changed keys from %s: sends with %s, takes %v", path, keys[0].Print(), keys)
			}
		}
		switch {
		case err == nil:
			told = ""
		case err.Error() != told:
			told = err.Error()
			g.log.Printf("[ERR] gossip: the keys stay as they are: %v", err)
		}
	}
}
