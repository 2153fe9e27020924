package p2p

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Config says where and how streams are accepted. An empty profile or security is the default's.
type Config struct {
	Listen         string   `yaml:"listen"`           // multiaddress; port 0: any free one
	Profile        string   `yaml:"profile"`          // lan: TCP | nat: also QUIC, relays, hole punching and port mapping
	Security       string   `yaml:"security"`         // tls | noise | plain: neither encrypted nor authenticated, for benchmarks
	PlainRemote    bool     `yaml:"plain_remote"`     // let security plain listen where other machines reach it
	Relays         []string `yaml:"relays"`           // multiaddresses, with /p2p/ID, of public agents through which others reach this one
	RelayService   bool     `yaml:"relay_service"`    // relay between members; for an agent that everybody reaches
	NetworkKeyFile string   `yaml:"network_key_file"` // key of a libp2p private network, the same for all; empty: none
	Allow          []string `yaml:"allow"`            // peer IDs, or files of one a line, that may be members; empty: any
}

// Defaults are the values of an absent configuration.
func Defaults() Config {
	return Config{Listen: "/ip4/0.0.0.0/tcp/7947", Profile: "lan", Security: "tls"}
}

// withDefaults fills in what is empty.
func (c Config) withDefaults() Config {
	d := Defaults()
	if c.Profile == "" {
		c.Profile = d.Profile
	}
	if c.Security == "" {
		c.Security = d.Security
	}
	return c
}

// Validate reports every impossible value but that of listen, each error as "key: value, and what to do". It reads no
// file.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if !slices.Contains([]string{"lan", "nat"}, c.Profile) {
		errs = append(errs, fmt.Errorf("profile: %q is unknown; give lan or nat", c.Profile))
	}
	if !slices.Contains([]string{"tls", "noise", "plain"}, c.Security) {
		errs = append(errs, fmt.Errorf("security: %q is unknown; give tls, noise or plain", c.Security))
	}
	if c.Security == "plain" && !c.PlainRemote && !isLoopback(c.Listen) {
		errs = append(errs, fmt.Errorf("security: plain neither encrypts nor authenticates, and others can reach p2p.listen %s; give tls, or listen on /ip4/127.0.0.1/tcp/0", c.Listen))
	}
	if c.NetworkKeyFile != "" && c.Profile == "nat" {
		errs = append(errs, errors.New("network_key_file: QUIC, which profile nat uses, cannot be in a private network; give profile lan, or no key"))
	}
	errs = append(errs, c.validateRelays()...)
	for _, entry := range c.Allow {
		if strings.TrimSpace(entry) == "" {
			errs = append(errs, errors.New("allow: has an empty entry; give peer IDs, or files of one a line"))
		}
	}
	return errors.Join(errs...)
}

func (c Config) validateRelays() []error {
	var errs []error
	if c.Profile != "nat" && len(c.Relays) > 0 {
		errs = append(errs, errors.New("relays: only profile nat uses them; give p2p.profile: nat"))
	}
	if c.Profile != "nat" && c.RelayService {
		errs = append(errs, errors.New("relay_service: only profile nat relays; give p2p.profile: nat"))
	}
	if c.RelayService && len(c.Relays) > 0 {
		errs = append(errs, errors.New("relay_service: an agent that is reached through relays can be none; give one or the other"))
	}
	if len(c.Relays) > maxRelays {
		errs = append(errs, fmt.Errorf("relays: %d of them; give at most %d", len(c.Relays), maxRelays))
	}
	for _, text := range c.Relays {
		if _, err := parseRelay(text); err != nil {
			errs = append(errs, fmt.Errorf("relays: %w", err))
		}
	}
	return errs
}

// parseRelays reads the addresses of relays.
func parseRelays(texts []string) ([]peer.AddrInfo, error) {
	var relays []peer.AddrInfo
	for _, text := range texts {
		relay, err := parseRelay(text)
		if err != nil {
			return nil, fmt.Errorf("p2p.relays: %w", err)
		}
		relays = append(relays, relay)
	}
	return relays, nil
}

// parseRelay reads the address of a relay.
func parseRelay(text string) (peer.AddrInfo, error) {
	info, err := peer.AddrInfoFromString(text)
	if err != nil || len(info.Addrs) != 1 || strings.Contains(text, "/p2p-circuit") {
		return peer.AddrInfo{}, fmt.Errorf("%q is not the address of an agent; give one such as /ip4/203.0.113.7/tcp/7947/p2p/12D3KooW…", text)
	}
	return *info, nil
}

// isLoopback reports whether a multiaddress is reached from this machine only.
func isLoopback(text string) bool {
	addr, err := ma.NewMultiaddr(text)
	return err == nil && manet.IsIPLoopback(addr)
}
