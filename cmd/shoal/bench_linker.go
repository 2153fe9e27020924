package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"shoal/gossip/collective"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
)

// linker is how this rank's links are made: of the mesh itself, or by a host such as agents have. finish ends the host.
func (b *bench) linker(m *mesh, at net.Addr) (link linker, finish func(), err error) {
	if b.plain || len(m.conns) == 1 {
		same := func(context.Context, int) (collective.Link, func(bool) error, error) {
			return m, func(bool) error { return nil }, nil
		}
		return same, func() {}, nil
	}
	h, err := benchHost(at)
	if err != nil {
		return nil, nil, err
	}
	finish = func() { _ = h.Close() } // the benchmark is over; what it measured does not depend on it
	r, place, err := admitAll(m, h)
	if err != nil {
		finish()
		return nil, nil, err
	}
	link = func(ctx context.Context, round int) (collective.Link, func(bool) error, error) {
		l, err := h.Links(ctx, benchTag(r, round), r)
		if err != nil {
			return nil, nil, err
		}
		done := func(well bool) error {
			if well {
				return l.Close()
			}
			l.Abort()
			return nil
		}
		return placedLink{l, place}, done, nil
	}
	return link, finish, nil
}

// benchHost is a host with a new key, at any port of the address.
func benchHost(at net.Addr) (*p2p.Host, error) {
	tcp, ok := at.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("listen at %v: not a TCP address", at)
	}
	dir, err := os.MkdirTemp("", "shoal-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a place for a key: %w", err)
	}
	key, err := p2p.LoadIdentity(filepath.Join(dir, "key"))
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		return nil, err
	}
	family := "ip4"
	if tcp.IP.To4() == nil {
		family = "ip6"
	}
	cfg := p2p.Defaults()
	cfg.Listen = fmt.Sprintf("/%s/%s/tcp/0", family, tcp.IP)
	return p2p.New(cfg, key)
}

// admitAll makes the hosts of all ranks known to each other. The roster is sorted by ID; place is each rank's place in it.
func admitAll(m *mesh, h *p2p.Host) (r roster.Roster, place []int, err error) {
	record, err := h.Record()
	if err != nil {
		return r, nil, err
	}
	ids, err := m.exchange([]byte(h.ID()))
	if err != nil {
		return r, nil, err
	}
	records, err := m.exchange(record)
	if err != nil {
		return r, nil, err
	}
	r.Generation = 1
	for rank, id := range ids {
		r.Members = append(r.Members, roster.ID(id))
		if rank != m.rank {
			if err := h.Admit(string(id), records[rank]); err != nil {
				return r, nil, fmt.Errorf("admit rank %d: %w", rank, err)
			}
		}
	}
	slices.Sort(r.Members)
	for _, id := range ids {
		at, ok := r.Rank(roster.ID(id))
		if !ok {
			return r, nil, errors.New("two ranks have one key")
		}
		place = append(place, at)
	}
	return r, place, nil
}

// placedLink gives the ranks of a link the numbers that the benchmark has for them.
type placedLink struct {
	*p2p.Links
	place []int // of each rank in the roster
}

func (l placedLink) Send(to int, segment []byte, deadline time.Time) error {
	return l.Links.Send(l.place[to], segment, deadline)
}

func (l placedLink) Recv(from int, segment []byte, deadline time.Time) error {
	return l.Links.Recv(l.place[from], segment, deadline)
}
