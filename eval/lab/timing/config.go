package timing

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Config says what machines and what network an experiment's times are of.
type Config struct {
	Device     Device     `yaml:"device"`     // name of a profile, or a mapping
	Network    Network    `yaml:"network"`    // between nodes
	Stragglers Stragglers `yaml:"stragglers"` // members that are slower than the device
}

// Network is what connects the nodes. The link of a node to the switch is its bound in each direction.
type Network struct {
	Rate    Rate          `yaml:"rate"`    // of a node's link, bits per second: 1e9, 1Gbit, 100Mbit
	Payload float64       `yaml:"payload"` // share of the rate that is payload, in (0, 1]: the rest is headers of Ethernet, IP, TCP, TLS and yamux
	Latency time.Duration `yaml:"latency"` // one way, from the last byte sent to its use: cable, switch, kernel, wake-up
	Duplex  string        `yaml:"duplex"`  // full | half: one direction at a time, as on wireless
	Switch  Rate          `yaml:"switch"`  // what all nodes share, bits per second; 0: a switch without a bound
	Loss    float64       `yaml:"loss"`    // share of packets lost, in [0, 1)
	Jitter  time.Duration `yaml:"jitter"`  // a segment is late by up to this, evenly spread
}

// Stragglers makes members slower than the device. The zero value makes none.
type Stragglers struct {
	Distribution string  `yaml:"distribution"` // none | fixed: the same members always | lognormal: drawn for each member and round
	Share        float64 `yaml:"share"`        // of members: those that are slow, or in a round slower than factor medians
	Factor       float64 `yaml:"factor"`       // by which a slow member takes longer
	Seed         uint64  `yaml:"seed"`         // of who and when, and of the network's jitter
}

// Rate is in bits per second. As text it may end in kbit, Mbit or Gbit, with or without /s.
type Rate float64

// Defaults are Raspberry Pi 4s on switched gigabit Ethernet.
func Defaults() Config {
	return Config{
		Device:     Device{Profile: "raspberry-pi-4"},
		Network:    Network{Rate: 1e9, Payload: ethernetPayload, Latency: 200 * time.Microsecond, Duplex: "full"},
		Stragglers: Stragglers{Distribution: "none"},
	}
}

// ethernetPayload is 1448 bytes of TCP with time stamps in the 1538 that a full frame occupies (preamble, header, check
// sum, gap), less the heads of TLS records and yamux frames.
const ethernetPayload = 0.94

// Validate reports every impossible value, each error as "key: value, and what to do".
func (c Config) Validate() error {
	return errors.Join(c.Device.validate(), c.Network.validate(), c.Stragglers.validate())
}

func (n Network) validate() error {
	var errs []error
	refuse := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("network."+format, args...))
		}
	}
	refuse(positive(float64(n.Rate)), "rate: %v bits per second; give a positive rate such as 1Gbit", float64(n.Rate))
	refuse(n.Payload > 0 && n.Payload <= 1, "payload: %v is outside (0, 1]; 0.94 is that of Ethernet", n.Payload)
	refuse(n.Latency >= 0, "latency: %v; give a duration from 0, such as 200us", n.Latency)
	refuse(n.Duplex == "full" || n.Duplex == "half", "duplex: %q is unknown; give full or half", n.Duplex)
	refuse(n.Switch == 0 || positive(float64(n.Switch)), "switch: %v bits per second; give 0 for no bound, or a positive rate", float64(n.Switch))
	refuse(n.Loss >= 0 && n.Loss < 1, "loss: %v is outside [0, 1); 0.001 loses one packet in a thousand", n.Loss)
	refuse(n.Jitter >= 0, "jitter: %v; give a duration from 0, such as 1ms", n.Jitter)
	return errors.Join(errs...)
}

func (s Stragglers) validate() error {
	switch s.Distribution {
	case "", "none":
		return nil
	case "fixed":
		if !(s.Share >= 0 && s.Share <= 1) {
			return fmt.Errorf("stragglers.share: %v is outside [0, 1]; 0.1 makes one in ten slow", s.Share)
		}
	case "lognormal":
		if !(s.Share > 0 && s.Share < 0.5) {
			return fmt.Errorf("stragglers.share: %v is outside (0, 0.5); 0.05 makes one in twenty slower than the factor", s.Share)
		}
	default:
		return fmt.Errorf("stragglers.distribution: %q is unknown; give one of none, fixed, lognormal", s.Distribution)
	}
	if !(s.Factor >= 1) || math.IsInf(s.Factor, 0) {
		return fmt.Errorf("stragglers.factor: %v; give a finite factor from 1, such as 3", s.Factor)
	}
	return nil
}

func positive(x float64) bool { return x > 0 && !math.IsInf(x, 0) }

// ParseRate reads a rate such as 1e9, 100Mbit or 1.5 Gbit/s.
func ParseRate(text string) (Rate, error) {
	s := strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(text, "/s"), " ", ""))
	unit := 1.0
	for _, u := range []struct {
		end  string
		unit float64
	}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}} {
		if rest, ok := strings.CutSuffix(s, u.end); ok {
			s, unit = rest, u.unit
			break
		}
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x >= 0) || math.IsInf(x*unit, 0) {
		return 0, fmt.Errorf("rate %.40q is none; give bits per second, or a number with kbit, Mbit or Gbit", text)
	}
	return Rate(x * unit), nil
}

// UnmarshalYAML reads a number of bits per second, or a text for ParseRate.
func (r *Rate) UnmarshalYAML(decode func(any) error) error {
	var text string
	if err := decode(&text); err != nil {
		return err
	}
	if text == "none" {
		*r = 0
		return nil
	}
	var err error
	*r, err = ParseRate(text)
	return err
}

// String is the rate with the largest unit that leaves a short number.
func (r Rate) String() string {
	for _, u := range []struct {
		unit float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if float64(r) >= u.unit {
			return strconv.FormatFloat(float64(r)/u.unit, 'g', -1, 64) + " " + u.name
		}
	}
	return strconv.FormatFloat(float64(r), 'g', -1, 64) + " bit/s"
}
