package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"shoal/gossip"
)

const (
	keptStates   = 18 // beside those of keep: rounds that wait for their score, and one on its way
	syncTrials   = 7
	syncBytes    = 64 << 10
	slowSync     = 100 * time.Millisecond
	seedWithin   = 2 * time.Second
	maxSeedsSeen = 16
	slowLink     = 100 // Mbit/s
)

// place is the state directory, or the nearest directory above it that is there.
func (d *doctor) place() string {
	dir, err := filepath.Abs(d.cfg.State)
	if err != nil {
		return "."
	}
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			return dir
		}
		dir = above
	}
}

// diskSpace checks that all states that may be kept at once have room.
func (d *doctor) diskSpace(context.Context) finding {
	var st syscall.Statfs_t
	dir := d.place()
	if err := syscall.Statfs(dir, &st); err != nil {
		return warn("name another directory with --set state=DIR", "%s: %v", dir, err)
	}
	free := int64(uint64(st.Bavail) * uint64(st.Bsize))
	need := int64(d.cfg.Keep+keptStates)*d.need.stateBytes + programBytes
	text := fmt.Sprintf("%s free in %s; %d states of %s may be there at once", humanBytes(free), dir, d.cfg.Keep+keptStates, humanBytes(d.need.stateBytes))
	if free < need {
		return bad("free some, or name another directory with --set state=DIR", "%s", text)
	}
	return ok("%s", text)
}

// diskSpeed measures what each round waits for: a small file that is on the disk for certain.
func (d *doctor) diskSpeed(context.Context) finding {
	dir := d.place()
	var times []time.Duration
	for range syncTrials {
		took, err := timeSync(dir)
		if err != nil {
			return bad("make the directory writable for this user, or name another with --set state=DIR", "cannot write in %s: %v", dir, err)
		}
		times = append(times, took)
	}
	slices.Sort(times)
	median, worst := times[len(times)/2], times[len(times)-1]
	text := fmt.Sprintf("%s to sync %s in %s, %s at worst", inSeconds(median.Seconds()), humanBytes(syncBytes), dir, inSeconds(worst.Seconds()))
	if median > slowSync {
		return warn("a round syncs several files: use a better card, or a USB disk, or fewer rounds with more steps each", "%s", text)
	}
	return ok("%s", text)
}

// timeSync writes a file durably and takes it away again.
func timeSync(dir string) (took time.Duration, err error) {
	file, err := os.CreateTemp(dir, ".shoal-doctor-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	began := time.Now()
	if _, err = file.Write(make([]byte, syncBytes)); err == nil {
		err = file.Sync()
	}
	return time.Since(began), err
}

// clusterKey checks the file that lets this agent in.
func (d *doctor) clusterKey(context.Context) finding {
	file := d.cfg.Gossip.KeyFile
	keys, err := gossip.ReadKeys(file)
	if err != nil {
		return bad("make one with shoal keygen, or copy it from another node, and name it with --set gossip.key_file=FILE", "%v", err)
	}
	info, err := os.Stat(file)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		return warn("chmod 600 "+file, "%s has mode %04o: others on this machine can read it, and join", file, info.Mode().Perm())
	}
	return ok("%s, %s", file, counted(len(keys), "key"))
}

// identity checks this agent's own key, if it has one already.
func (d *doctor) identity(context.Context) finding {
	file := filepath.Join(d.cfg.State, "identity.key")
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ok("none yet; the first start makes it")
	case err != nil:
		return bad("run this as the user that runs the agent", "%v", err)
	case info.Mode().Perm()&0o077 != 0:
		return bad("chmod 600 "+file, "%s has mode %04o: the agent does not start with a key that others can read", file, info.Mode().Perm())
	}
	return ok("%s", file)
}

// ports checks that the agent can listen where it is told to.
func (d *doctor) ports(context.Context) finding {
	if d.running != "" {
		return ok("in use by %s", d.running)
	}
	var free, taken []string
	for _, p := range []struct{ path, network, address string }{
		{"gossip.listen", "tcp", d.cfg.Gossip.Listen},
		{"gossip.listen", "udp", d.cfg.Gossip.Listen},
		{"p2p.listen", "tcp", addressOf(d.cfg.P2P.Listen)},
		{"http.listen", "tcp", d.cfg.HTTP.Listen},
	} {
		if p.address == "" {
			continue
		}
		if err := canListen(p.network, p.address); err != nil {
			taken = append(taken, fmt.Sprintf("%s: %v", p.path, err))
			continue
		}
		free = append(free, fmt.Sprintf("%s %s", p.network, p.address))
	}
	if len(taken) > 0 {
		return bad("stop what listens there (ss -lntup shows it), or give other ports with --set", "%s", strings.Join(taken, "\n"))
	}
	return ok("%s", strings.Join(free, ", "))
}

// canListen listens for a moment.
func canListen(network, address string) error {
	if network == "udp" {
		l, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		return l.Close()
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

// addressOf is the host:port of a TCP multiaddress such as /ip4/0.0.0.0/tcp/7947, or empty.
func addressOf(multiaddress string) string {
	parts := strings.Split(multiaddress, "/")
	if len(parts) != 5 || parts[3] != "tcp" {
		return ""
	}
	return net.JoinHostPort(parts[2], parts[4])
}

// network lists the interfaces that others can reach this machine by.
func (d *doctor) network(context.Context) finding {
	interfaces, err := net.Interfaces()
	if err != nil {
		return warn("check the network's settings", "%v", err)
	}
	var found, slow []string
	for _, i := range interfaces {
		address := reachable(i)
		if address == "" {
			continue
		}
		text := i.Name + " " + address
		at := "sys/class/net/" + i.Name
		if _, err := os.Stat(filepath.Join(d.root, at, "wireless")); err == nil {
			slow = append(slow, i.Name+" is wireless")
		}
		if speed, err := strconv.Atoi(d.file(at + "/speed")); err == nil && speed > 0 {
			text += fmt.Sprintf(" at %d Mbit/s", speed)
			if speed <= slowLink {
				slow = append(slow, fmt.Sprintf("%s runs at %d Mbit/s", i.Name, speed))
			}
		}
		found = append(found, text)
	}
	host, _, _ := net.SplitHostPort(d.cfg.Gossip.Listen)
	if ip := net.ParseIP(host); ip.IsLoopback() {
		return warn("set gossip.listen and p2p.listen to 0.0.0.0 for a cluster of several machines", "membership listens on %s: only agents on this machine can join", host)
	}
	switch {
	case len(found) == 0:
		return bad("connect this machine, or see to its address: ip addr", "no interface but loopback has an address")
	case len(slow) > 0 && len(found) == 1:
		return warn("use a cable and a gigabit switch, or average less often: raise rounds.steps", "%s; %s", strings.Join(found, ", "), strings.Join(slow, ", "))
	}
	return ok("%s", strings.Join(found, ", "))
}

// reachable is the address by which others reach an interface, or empty: of one that is up, none of loopback and none
// that only its own link knows.
func reachable(i net.Interface) string {
	addresses, err := i.Addrs()
	if err != nil || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
		return ""
	}
	for _, a := range addresses {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.IsGlobalUnicast() {
			return a.String()
		}
	}
	return ""
}

// seeds tries to connect to the members that this agent would join.
func (d *doctor) seeds(ctx context.Context) finding {
	seeds := d.cfg.Gossip.Seeds
	if len(seeds) == 0 {
		return ok("none: this agent waits to be joined, or has met members before")
	}
	seeds = seeds[:min(len(seeds), maxSeedsSeen)]
	failures := make([]error, len(seeds))
	var dials sync.WaitGroup
	dialer := net.Dialer{Timeout: seedWithin}
	for i, seed := range seeds {
		dials.Go(func() {
			c, err := dialer.DialContext(ctx, "tcp", seed)
			if err == nil {
				err = c.Close()
			}
			failures[i] = err
		})
	}
	dials.Wait()
	var texts []string
	for _, err := range failures {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	switch {
	case len(texts) == len(seeds):
		return warn("start an agent there first, or check address, port and firewall; this agent goes on trying", "none answers: %s", strings.Join(texts, "\n"))
	}
	return ok("answering: %d of %d", len(seeds)-len(texts), len(seeds))
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
