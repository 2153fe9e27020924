package p2p

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"

	"shoal/gossip/roster"
)

const (
	// maxListBytes bounds a file of peer IDs, of some 60 bytes each.
	maxListBytes = 1 << 20
	// maxNetworkKeyBytes bounds the file of a private network's key, which takes 95.
	maxNetworkKeyBytes = 1 << 10
)

// readAllowed collects the peers that entries name: an entry is a peer ID, or a file of them. Nil is everybody.
func readAllowed(entries []string) (map[peer.ID]bool, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	allowed := map[peer.ID]bool{}
	for _, entry := range entries {
		if p, err := peer.Decode(entry); err == nil {
			allowed[p] = true
			continue
		}
		text, err := readSmall(entry, maxListBytes)
		if err != nil {
			return nil, fmt.Errorf("p2p.allow: %q is no peer ID, and no file that can be read: %w", entry, err)
		}
		if err := parseAllowed(text, allowed); err != nil {
			return nil, fmt.Errorf("p2p.allow: %s:%w", entry, err)
		}
	}
	return allowed, nil
}

// parseAllowed adds the peer IDs of a list to allowed: one a line, where # begins a comment.
//
//	# the lab
//	12D3KooWA3… # pi-1
func parseAllowed(text []byte, allowed map[peer.ID]bool) error {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		p, err := decode(roster.ID(line))
		if err != nil {
			return fmt.Errorf("%d: %w; give one a line, as agents call themselves in their logs", n, err)
		}
		allowed[p] = true
	}
	return lines.Err()
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// readNetworkKey reads the key of a libp2p private network.
func readNetworkKey(path string) (pnet.PSK, error) {
	text, err := readSmall(path, maxNetworkKeyBytes)
	if err != nil {
		return nil, fmt.Errorf("read p2p.network_key_file: %w", err)
	}
	key, err := parseNetworkKey(text)
	if err != nil {
		return nil, fmt.Errorf("read p2p.network_key_file %s: %w", path, err)
	}
	return key, nil
}

// parseNetworkKey reads a key in libp2p's own form: three lines, the last of them 64 hexadecimal digits.
//
//	/key/swarm/psk/1.0.0/
//	/base16/
//	5eed…
func parseNetworkKey(text []byte) (pnet.PSK, error) {
	key, err := pnet.DecodeV1PSK(bytes.NewReader(text))
	if err != nil {
		// What is wrong may quote the key.
		return nil, errors.New("not the key of a private network; give the lines /key/swarm/psk/1.0.0/, /base16/ and 64 hexadecimal digits")
	}
	return key, nil
}
