package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxNameBytes = 64 // of an agent's name: it travels in membership's metadata, of 512 bytes in all

// Validate reports every value that cannot be, each as "origin: path: value, and what to do". Origins are those of Load;
// a path that they lack is named without one.
func (c Config) Validate(origins Origins) error {
	var errs []error
	for _, s := range []struct {
		section string
		err     error
	}{
		{"", c.validateOwn()},
		{"data", c.Data.Validate()},
		{"learner", c.Learner.Validate()},
		{"rounds", c.Rounds.Validate()},
		{"averaging", c.Averaging.Validate()},
		{"p2p", c.P2P.Validate()},
		{"eval", c.Eval.Validate()},
		{"http", c.HTTP.Validate()},
		{"log", c.Log.Validate()},
		{"", c.validateAddresses()},
		{"", c.validateScaling()},
		{"", c.validateTogether()},
	} {
		for _, err := range flatten(s.err) {
			errs = append(errs, place(err, s.section, origins))
		}
	}
	return errors.Join(errs...)
}

// flatten lists the errors that err joins.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, flatten(e)...)
	}
	return list
}

// place puts the origin and the section before an error of the form "key: …".
func place(err error, section string, origins Origins) error {
	prefix := ""
	if section != "" {
		prefix = section + "."
	}
	key, rest, _ := strings.Cut(err.Error(), ": ")
	if origin, ok := origins[prefix+key]; ok {
		return errors.New(located(origin, prefix+key) + rest)
	}
	return fmt.Errorf("%s%w", prefix, err)
}

// validateOwn checks the keys at the top.
func (c Config) validateOwn() error {
	var errs []error
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	switch {
	case c.Name == "":
		errs = append(errs, errors.New("name: is empty; give this agent a name"))
	case len(c.Name) > maxNameBytes:
		errs = append(errs, fmt.Errorf("name: %d bytes long; give at most %d", len(c.Name), maxNameBytes))
	case !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unprintable):
		errs = append(errs, fmt.Errorf("name: %q has characters that cannot be printed; give letters, digits and dashes", c.Name))
	}
	if c.State == "" {
		errs = append(errs, errors.New("state: is empty; give a directory, such as shoal-state"))
	}
	if c.Keep < 1 {
		errs = append(errs, fmt.Errorf("keep: %d checkpoints; keep at least 1, to start again from", c.Keep))
	}
	return errors.Join(errs...)
}

// validateTogether checks what two sections must agree on.
func (c Config) validateTogether() error {
	var errs []error
	if c.Data.Crop > 0 && c.Data.Crop >= c.Learner.Input {
		errs = append(errs, fmt.Errorf("data.crop: pads by %d pixels, not less than learner.input %d; give a few, such as 4",
			c.Data.Crop, c.Learner.Input))
	}
	uses := []struct{ path, port string }{
		{"gossip.listen", portOf(c.Gossip.Listen)}, {"p2p.listen", portOfMultiaddress(c.P2P.Listen)},
		{"http.listen", portOf(c.HTTP.Listen)},
	}
	for i, u := range uses {
		for _, earlier := range uses[:i] {
			if u.port != "" && u.port != "0" && u.port == earlier.port {
				errs = append(errs, fmt.Errorf("%s: port %s is that of %s; give each its own", u.path, u.port, earlier.path))
			}
		}
	}
	return errors.Join(errs...)
}

// portOf is the port of host:port, or empty.
func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return port
}

// portOfMultiaddress is the TCP port of a multiaddress such as /ip4/0.0.0.0/tcp/7947, or empty.
func portOfMultiaddress(address string) string {
	parts := strings.Split(address, "/")
	if i := slices.Index(parts, "tcp"); i >= 0 && i+1 < len(parts) {
		return parts[i+1]
	}
	return ""
}

// Validate reports every impossible value, each error as "key: value, and what to do".
func (h HTTP) Validate() error {
	return errors.Join(oneOf("obey", h.Obey, "members", "self"), h.validateListen())
}

// validateListen checks where HTTP is served.
func (h HTTP) validateListen() error {
	if h.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(h.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port; give one such as 127.0.0.1:7948, or nothing for no HTTP", h.Listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("listen: port %q of %q is outside 0…65535; give 0 for any free one", port, h.Listen)
	} else if address, err := netip.ParseAddr(host); !h.AllowRemote && host != "localhost" && (err != nil || !address.IsLoopback()) {
		return fmt.Errorf("listen: %q can be reached from other machines, without a password; give 127.0.0.1:%d, or set http.allow_remote: true",
			h.Listen, n)
	}
	return nil
}

// Validate reports every impossible value, each error as "key: value, and what to do".
func (l Log) Validate() error {
	return errors.Join(
		oneOf("level", l.Level, "debug", "info", "warn", "error"),
		oneOf("format", l.Format, "console", "json", "auto"),
	)
}

// oneOf refuses a value that is not in list.
func oneOf(key, value string, list ...string) error {
	if slices.Contains(list, value) {
		return nil
	}
	if meant, ok := nearest(value, list); ok {
		return fmt.Errorf("%s: %q is unknown; did you mean %s?", key, value, meant)
	}
	return fmt.Errorf("%s: %q is unknown; give one of %s", key, value, strings.Join(list, ", "))
}

// validateAddresses checks the addresses of membership and streams, which their packages take as text.
func (c Config) validateAddresses() error {
	errs := []error{checkListen("gossip.listen", c.Gossip.Listen), checkMultiaddress("p2p.listen", c.P2P.Listen)}
	for _, seed := range c.Gossip.Seeds {
		host, port, err := net.SplitHostPort(seed)
		if n, errPort := strconv.ParseUint(port, 10, 16); err != nil || errPort != nil || n == 0 || host == "" {
			errs = append(errs, fmt.Errorf("gossip.seeds: %q is not host:port; give gossip.listen's port of a member, such as 192.168.1.11:7946", seed))
		}
	}
	return errors.Join(errs...)
}

// checkListen refuses what is no host:port to listen on.
func checkListen(path, address string) error {
	_, port, err := net.SplitHostPort(address)
	if _, errPort := strconv.ParseUint(port, 10, 16); err != nil || errPort != nil {
		return fmt.Errorf("%s: %q is not host:port; give one such as 0.0.0.0:7946, with port 0 for any free one", path, address)
	}
	return nil
}

// checkMultiaddress refuses what is no TCP port of an IP address in the form /ip4/0.0.0.0/tcp/7947.
func checkMultiaddress(path, address string) error {
	wrong := fmt.Errorf("%s: %q is not a TCP multiaddress; give one such as /ip4/0.0.0.0/tcp/7947, with port 0 for any free one", path, address)
	parts := strings.Split(address, "/")
	if len(parts) != 5 || parts[0] != "" || parts[3] != "tcp" {
		return wrong
	}
	ip, err := netip.ParseAddr(parts[2])
	_, errPort := strconv.ParseUint(parts[4], 10, 16)
	if err != nil || errPort != nil || parts[1] == "ip4" != ip.Is4() || parts[1] == "ip6" != ip.Is6() || ip.Zone() != "" {
		return wrong
	}
	return nil
}
