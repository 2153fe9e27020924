package gossip

import (
	"context"
	"fmt"
	"log"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// listenTries bounds the search for a port that is free for TCP and UDP when any will do.
const listenTries = 10

// retransmitMult times ⌈log10(n+1)⌉ is how often each of n members passes a piece of news on, to others at random. With
// memberlist's 4 one of 8 members misses one of 8 newcomers in every third formation of a cluster: 8·7·(6/7)^(8·4) = 0.4.
const retransmitMult = 8

// suspicionMult is how many probe intervals a suspected member has to say that it lives, before memberlist multiplies them
// by max(1, log10(n)) for n members. It takes that back, so that the time is 8 to 9 intervals whatever n is: memberlist's
// own choice of 4 makes it 4 intervals for 8 members and 7 for 48.
// One who suspects alone waits as long as one whom others confirm: of 32 members the second to find out may take seconds,
// and with twice the time for the first one death in twenty took 12 s.
func suspicionMult(n int) int {
	const intervals, fewest = 8.75, 3
	return max(fewest, int(math.Round(intervals/max(1, math.Log10(max(1, float64(n)))))))
}

// settings is memberlist's configuration. What is not set here is its LAN profile's.
func settings(tune tuning, ring *memberlist.Keyring, logger *log.Logger) *memberlist.Config {
	conf := memberlist.DefaultLANConfig()
	conf.Keyring = ring
	conf.ProbeInterval, conf.ProbeTimeout = tune.probeInterval, tune.probeTimeout
	conf.GossipInterval, conf.PushPullInterval = tune.gossipInterval, tune.pushPullInterval
	conf.SuspicionMult, conf.SuspicionMaxTimeoutMult = suspicionMult(1), 1
	conf.RetransmitMult = retransmitMult
	conf.EnableCompression = false // records are keys and addresses: they shrink little, and each packet cost a new table
	conf.TCPTimeout = 5 * time.Second
	conf.GossipToTheDeadTime = 5 * time.Minute // a cable that is put back within it heals without the rejoin loop
	conf.DeadNodeReclaimTime = time.Second     // a node that died may come back at another address
	conf.Logger = logger
	return conf
}

// resolveListen turns host:port into an address, and finds out whether it is free for TCP and UDP: memberlist's own
// error has lost its cause.
func resolveListen(listen string) (*net.TCPAddr, error) {
	fail := func(err error) error {
		return fmt.Errorf("listen on %s: %w (take a free port, or stop the agent that holds this one)", listen, err)
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return nil, fail(err)
	}
	if addr.IP == nil {
		addr.IP = net.IPv4zero
	}
	stream, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return nil, fail(err)
	}
	defer stream.Close()
	packets, err := net.ListenUDP("udp", &net.UDPAddr{IP: addr.IP, Port: addr.Port})
	if err != nil {
		return nil, fail(err)
	}
	return addr, packets.Close()
}

// listen is the wire of UDP and TCP. An agent that listens on every interface tells others the AdvertiseAddr that conf
// has, if it is one of its own still.
func listen(ctx context.Context, conf *memberlist.Config, at string) (string, error) {
	bind, err := resolveListen(at)
	if err != nil {
		return "", err
	}
	var inner *memberlist.NetTransport
	for range listenTries {
		inner, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{bind.IP.String()}, BindPort: bind.Port, Logger: conf.Logger,
		})
		if err == nil || bind.Port != 0 {
			break
		}
	}
	if err != nil {
		return "", err
	}
	port := inner.GetAutoBindPort()
	host := bind.IP
	if host.IsUnspecified() {
		host = advertised(host.To4() == nil, net.ParseIP(conf.AdvertiseAddr))
	}
	conf.Transport = &transport{NetTransport: inner, ctx: ctx}
	conf.BindAddr, conf.BindPort = bind.IP.String(), port
	conf.AdvertiseAddr, conf.AdvertisePort = host.String(), port
	return net.JoinHostPort(host.String(), strconv.Itoa(port)), nil
}

// transport is memberlist's own, but for dials that end with ctx: Close need not wait for a host that is switched off.
type transport struct {
	*memberlist.NetTransport
	ctx context.Context
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// DialTimeout connects to host:port.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	return dialer.DialContext(t.ctx, "tcp", addr)
}

// DialAddressTimeout connects to a member.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// advertised is the address by which others reach an agent that listens on every interface: the one by which they did
// last if there is an interface with it, else the first private IPv4 address in the order of interfaces, or any global
// one, or loopback where there is no network.
func advertised(six bool, last net.IP) net.IP {
	var best net.IP
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return net.IPv4(127, 0, 0, 1)
	}
	for _, a := range addrs {
		if network, ok := a.(*net.IPNet); ok && last != nil && network.IP.Equal(last) && !last.IsLoopback() {
			return network.IP
		}
	}
	for _, a := range addrs {
		network, ok := a.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() || (network.IP.To4() == nil && !six) {
			continue
		}
		if network.IP.IsPrivate() && network.IP.To4() != nil {
			return network.IP
		}
		if best == nil {
			best = network.IP
		}
	}
	if best == nil {
		return net.IPv4(127, 0, 0, 1)
	}
	return best
}
