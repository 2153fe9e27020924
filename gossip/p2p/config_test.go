package p2p

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"shoal/gossip/roster"
)

const relayText = "/ip4/203.0.113.7/tcp/7947/p2p/12D3KooWEcrriV87QMewf7eBFYDpcMAMqEKrbyobh35CwNsKwhih"

func TestValidate(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Config)
		want   string // start of the error; empty: fine
	}{
		{"defaults", func(c *Config) {}, ""},
		{"nothing but an address", func(c *Config) { *c = Config{Listen: c.Listen} }, ""},
		{"profile", func(c *Config) { c.Profile = "wan" }, `profile: "wan" is unknown; give lan or nat`},
		{"security", func(c *Config) { c.Security = "ssl" }, `security: "ssl" is unknown; give tls, noise or plain`},
		{"plain for all", func(c *Config) { c.Security = "plain" }, "security: plain neither encrypts"},
		{"plain on loopback", func(c *Config) { c.Security, c.Listen = "plain", "/ip4/127.0.0.1/tcp/0" }, ""},
		{"plain because asked", func(c *Config) { c.Security, c.PlainRemote = "plain", true }, ""},
		{"key with QUIC", func(c *Config) { c.Profile, c.NetworkKeyFile = "nat", "key" }, "network_key_file: QUIC"},
		{"relays on a LAN", func(c *Config) { c.Relays = []string{relayText} }, "relays: only profile nat"},
		{"relaying on a LAN", func(c *Config) { c.RelayService = true }, "relay_service: only profile nat"},
		{"relays", func(c *Config) { c.Profile, c.Relays = "nat", []string{relayText} }, ""},
		{"relayed relay", func(c *Config) { c.Profile, c.Relays, c.RelayService = "nat", []string{relayText}, true }, "relay_service: an agent that"},
		{"relay without a name", func(c *Config) { c.Profile, c.Relays = "nat", []string{"/ip4/203.0.113.7/tcp/7947"} }, "relays: \"/ip4/203.0.113.7/tcp/7947\" is not"},
		{"relay behind a relay", func(c *Config) { c.Profile, c.Relays = "nat", []string{relayText + "/p2p-circuit" + relayText[26:]} }, "relays: "},
		{"many relays", func(c *Config) { c.Profile, c.Relays = "nat", slices.Repeat([]string{relayText}, 5) }, "relays: 5 of them"},
		{"empty entry", func(c *Config) { c.Allow = []string{" "} }, "allow: has an empty entry"},
	} {
		c := Defaults()
		row.change(&c)
		err := c.Validate()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// networkKey is the file of a private network's key.
func networkKey(b byte) string {
	return "/key/swarm/psk/1.0.0/\n/base16/\n" + hex.EncodeToString(slices.Repeat([]byte{b}, 32)) + "\n"
}

// Hosts talk to those with the same key, and security, and to nobody else.
func TestWhoTalksToWhom(t *testing.T) {
	with := func(change func(*Config)) *Host {
		c := loopback()
		change(&c)
		return hostWith(t, c)
	}
	key, other := write(t, networkKey(1)), write(t, networkKey(2))
	for _, row := range []struct {
		name string
		a, b func(*Config)
		talk bool
	}{
		{"noise", func(c *Config) { c.Security = "noise" }, func(c *Config) { c.Security = "noise" }, true},
		{"plain", func(c *Config) { c.Security = "plain" }, func(c *Config) { c.Security = "plain" }, true},
		{"TLS and plain", func(c *Config) {}, func(c *Config) { c.Security = "plain" }, false},
		{"the same key", func(c *Config) { c.NetworkKeyFile = key }, func(c *Config) { c.NetworkKeyFile = key }, true},
		{"another key", func(c *Config) { c.NetworkKeyFile = key }, func(c *Config) { c.NetworkKeyFile = other }, false},
		{"no key", func(c *Config) { c.NetworkKeyFile = key }, func(c *Config) {}, false},
		{"LAN and NAT", func(c *Config) {}, func(c *Config) { c.Profile = "nat" }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := with(row.a), with(row.b)
			both(t, a, b)
			b.HandleCall("x", func(context.Context, roster.ID, []byte) ([]byte, error) { return nil, nil })
			limit := 5 * time.Second
			if !row.talk {
				limit = 300 * time.Millisecond
			}
			if _, err := a.Call(within(t, limit), b.ID(), "x", nil); (err == nil) != row.talk {
				t.Errorf("%v", err)
			}
			if row.talk {
				exchange(t, a, b, 1)
			}
		})
	}
}

func TestAllowedPeersOnly(t *testing.T) {
	friend, foe := newHost(t), newHost(t)
	cfg := loopback()
	cfg.Allow = []string{write(t, "# the lab\n\n  "+string(friend.ID())+" # pi-1\r\n")}
	h := hostWith(t, cfg)
	h.HandleCall("x", func(context.Context, roster.ID, []byte) ([]byte, error) { return nil, nil })
	admit(t, h, friend)
	record, err := foe.Record()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Admit(string(foe.ID()), record); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("admit another: %v, want ErrNotAllowed", err)
	}
	admit(t, friend, h)
	admit(t, foe, h)
	if _, err := friend.Call(within(t, 5*time.Second), h.ID(), "x", nil); err != nil {
		t.Error(err)
	}
	if _, err := foe.Call(within(t, 200*time.Millisecond), h.ID(), "x", nil); err == nil {
		t.Error("one that is not on the list was answered")
	}
	if err := h.Send(within(t, time.Second), foe.ID(), "x", nil); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("send to another: %v, want ErrNotAllowed", err)
	}
}

func TestFilesOfNoUse(t *testing.T) {
	for _, row := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Allow = []string{"no-such-file"} }, `p2p.allow: "no-such-file" is no peer ID, and no file`},
		{func(c *Config) { c.Allow = []string{t.TempDir()} }, "is no file of at most"},
		{func(c *Config) { c.Allow = []string{write(t, "# x\nalice\n")} }, `:2: parse peer ID "alice"`},
		{func(c *Config) { c.NetworkKeyFile = "no-such-file" }, "read p2p.network_key_file: "},
		{func(c *Config) { c.NetworkKeyFile = write(t, "secret") }, "not the key of a private network"},
		{func(c *Config) { c.NetworkKeyFile = write(t, strings.Repeat("x", 2000)) }, "no file of at most 1024 bytes"},
		{func(c *Config) { c.Profile, c.NetworkKeyFile = "nat", "key" }, "configure p2p: network_key_file: QUIC"},
	} {
		c := loopback()
		row.change(&c)
		h, err := New(c, newKey(t))
		if err == nil {
			_ = h.Close()
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
}

func FuzzAllowed(f *testing.F) {
	f.Add([]byte("# x\n12D3KooWEcrriV87QMewf7eBFYDpcMAMqEKrbyobh35CwNsKwhih # y\n"))
	f.Add([]byte("alice"))
	f.Add([]byte("\xff\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		allowed := map[peer.ID]bool{}
		if parseAllowed(text, allowed) != nil {
			return
		}
		for p := range allowed {
			again := map[peer.ID]bool{}
			if err := parseAllowed([]byte(p.String()), again); err != nil || !again[p] {
				t.Errorf("%q names %s, which is none: %v", text, p, err)
			}
		}
	})
}

func FuzzNetworkKey(f *testing.F) {
	f.Add([]byte(networkKey(7)))
	f.Add([]byte("/key/swarm/psk/1.0.0/\n/bin/\n0123456789abcdef0123456789abcdef"))
	f.Add([]byte("/key/swarm/psk/1.0.0/\n/base64/\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := parseNetworkKey(text); err == nil && len(key) != 32 {
			t.Errorf("a key of %d bytes", len(key))
		}
	})
}

func FuzzRelay(f *testing.F) {
	f.Add(relayText)
	f.Add("/p2p/12D3KooWEcrriV87QMewf7eBFYDpcMAMqEKrbyobh35CwNsKwhih")
	f.Fuzz(func(t *testing.T, text string) {
		relay, err := parseRelay(text)
		if err != nil {
			return
		}
		if _, err := throughRelay(relay); err != nil || len(relay.Addrs) != 1 || relay.ID == "" {
			t.Errorf("%q names relay %v: %v", text, relay, err)
		}
	})
}

func FuzzVerifyRecord(f *testing.F) {
	key := newKey(f)
	id := idOf(f, key)
	f.Add(seal(f, id, key, 1, "/ip4/127.0.0.1/tcp/9"))
	f.Add([]byte("\x0a\x24\x08\x01\x12\x20"))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		rec, err := verifyRecord(id, envelope)
		if err == nil && (rec.PeerID != id || len(rec.Addrs) == 0) {
			t.Errorf("took a record of %s with %d addresses", rec.PeerID, len(rec.Addrs))
		}
	})
}

func FuzzAbortTag(f *testing.F) {
	f.Add([]byte(`{"lineage":"a1","generation":2,"ballot":{"round":7,"view":1,"coordinator":"c"}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		tag, err := parseTag(text)
		if err != nil {
			return
		}
		k := newParking()
		k.abort(tag, "p")
		k.abort(tag, "p")
		if got := k.aborters(tag); len(got) != 1 || len(k.aborts) != 0 {
			t.Errorf("%q: %d notes of one abort", text, len(got))
		}
	})
}
