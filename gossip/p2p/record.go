package p2p

import (
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/event"
	ma "github.com/multiformats/go-multiaddr"
)

// OnRecord sets who is told the new signed record when the addresses at which others can dial this host have changed: a
// relay gave it a place, a router a port. It may be called once. f is called for one change after another.
func (h *Host) OnRecord(f func(record []byte)) error {
	changes, err := h.host.EventBus().Subscribe(new(event.EvtLocalAddressesUpdated))
	if err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	h.start(func() {
		defer changes.Close()
		last := reachable(h.addresses())
		for {
			select {
			case <-h.ctx.Done():
				return
			case <-changes.Out():
			case <-h.moved:
			}
			now := reachable(h.addresses())
			if slices.EqualFunc(now, last, ma.Multiaddr.Equal) {
				continue
			}
			last = now
			if record, err := h.Record(); err == nil { // an error is that there is no address left
				f(record)
			}
		}
	})
	return nil
}
