package gossip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/google/renameio/v2"
)

const (
	// maxRemembered bounds the addresses that outlive an agent.
	maxRemembered = 32
	// maxMemoryBytes bounds the file; 33 addresses of IPv6 take 2 KiB.
	maxMemoryBytes = 16 << 10
)

// memory is where this agent and others were reached last: a restarted agent finds its cluster by it when its seeds are
// gone, and comes back at the address at which the others know it.
//
//	{"self": "192.168.1.11:7946", "peers": ["192.168.1.12:7946", "192.168.1.13:7946"]}
type memory struct {
	Self  string   `json:"self"`
	Peers []string `json:"peers"` // those alive last come first
}

// decodeMemory reads a memory and refuses what is none.
func decodeMemory(text []byte) (memory, error) {
	var m memory
	if len(text) > maxMemoryBytes {
		return memory{}, fmt.Errorf("more than %d bytes", maxMemoryBytes)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return memory{}, err
	}
	if len(m.Peers) > maxRemembered {
		return memory{}, fmt.Errorf("%d peers, limit %d", len(m.Peers), maxRemembered)
	}
	for _, addr := range append(slices.Clone(m.Peers), m.Self) {
		if _, err := netip.ParseAddrPort(addr); addr != "" && err != nil {
			return memory{}, err
		}
	}
	return m, nil
}

// readMemory reads the file at path. That there is none is no error.
func readMemory(path string) (memory, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("read known addresses: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxMemoryBytes+1))
	var m memory
	if err == nil {
		m, err = decodeMemory(text)
	}
	if err != nil {
		return memory{}, fmt.Errorf("read known addresses %s: %w", path, err)
	}
	return m, nil
}

// host is the IP address at which others knew this agent, empty if that is not known.
func (m memory) host() string {
	addr, err := netip.ParseAddrPort(m.Self)
	if err != nil {
		return ""
	}
	return addr.Addr().String()
}

// learn is m after members were seen alive: they come first.
func (m memory) learn(self string, live []string) memory {
	next := memory{Self: self, Peers: slices.Clone(live)}
	slices.Sort(next.Peers)
	for _, addr := range m.Peers {
		if !slices.Contains(next.Peers, addr) && addr != self {
			next.Peers = append(next.Peers, addr)
		}
	}
	next.Peers = next.Peers[:min(len(next.Peers), maxRemembered)]
	return next
}

// remember writes down where the members alive are, if that is new. Who cannot write it goes on without.
func (g *Gossip) remember() {
	live := g.table.live()
	if g.memoryFile == "" || len(live) == 0 {
		return
	}
	next := g.memory.learn(g.addr, live)
	if next.Self == g.memory.Self && slices.Equal(next.Peers, g.memory.Peers) {
		return
	}
	text, err := json.Marshal(next)
	if err == nil {
		err = renameio.WriteFile(g.memoryFile, append(text, '\n'), 0o600)
	}
	if err != nil {
		g.log.Printf("[WARN] gossip: write known addresses: %v", err)
	}
	g.memory = next
}

// Known is where a new member may join an agent that listens at listen and keeps addresses in file: at the agent itself,
// first, and at the members that it knew alive last.
func Known(listen, file string) ([]string, error) {
	m, err := readMemory(file)
	if err != nil {
		return nil, err
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("resolve gossip.listen %q: %w", listen, err)
	}
	known := m.Peers
	if addr.IP == nil || addr.IP.IsUnspecified() {
		addr.IP = advertised(addr.IP != nil && addr.IP.To4() == nil, net.ParseIP(m.host()))
	}
	switch {
	case addr.Port != 0:
		known = append([]string{net.JoinHostPort(addr.IP.String(), strconv.Itoa(addr.Port))}, known...)
	case m.Self != "":
		known = append([]string{m.Self}, known...)
	}
	return known, nil
}
