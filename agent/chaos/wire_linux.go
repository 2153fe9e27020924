package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Wire is a network of the kernel: one namespace for each agent, each with a cable (a pair of veths) to a bridge. It needs
// root and the program ip, and tc for Rate. Its methods are for one goroutine, but for Enter and Dial.
//
// Names begin with those of the process that made them, so that Sweep finds what a test that died left behind.
type Wire struct {
	name    string
	n       int
	bridges int
	mute    map[[2]int]bool // from, to
}

// commandWithin bounds one call of ip or tc.
const commandWithin = 20 * time.Second

// Able says why there can be no Wire here, nil if there can.
func Able() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("network namespaces need the program ip: %w; install iproute2", err)
	}
	name := fmt.Sprintf("sc%d-x%d", os.Getpid(), time.Now().UnixNano()) // tests in parallel may ask at once
	if err := ip("netns add "+name, "netns del "+name); err != nil {
		return fmt.Errorf("no network namespaces here: %w", err)
	}
	return nil
}

// NewWire connects n namespaces, and no other, by one bridge. Number tells wires of this process apart. Close takes it down.
func NewWire(number, n int) (*Wire, error) {
	w := &Wire{name: fmt.Sprintf("sc%d-%d", os.Getpid(), number), n: n, bridges: 1, mute: map[[2]int]bool{}}
	lines := []string{"link add " + w.bridge(0) + " type bridge", "link set " + w.bridge(0) + " up"}
	for i := range n {
		lines = append(lines, "netns add "+w.port(i),
			"link add "+w.port(i)+" type veth peer name eth0 netns "+w.port(i),
			"link set "+w.port(i)+" master "+w.bridge(0)+" up",
			"-n "+w.port(i)+" link set lo up",
			"-n "+w.port(i)+" addr add "+w.Addr(i)+"/16 dev eth0",
			"-n "+w.port(i)+" link set eth0 address "+hardware(i)+" up")
	}
	if err := ip(lines...); err != nil {
		return nil, errors.Join(fmt.Errorf("lay the wire: %w", err), w.Close())
	}
	return w, nil
}

// Addr is the IP address of agent i.
func (w *Wire) Addr(i int) string { return fmt.Sprintf("10.99.%d.%d", i/250, i%250+1) }

func (w *Wire) port(i int) string   { return w.name + "-" + strconv.Itoa(i) }
func (w *Wire) bridge(k int) string { return w.name + "-b" + strconv.Itoa(k) }

func hardware(i int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255) }

// Split parts the wire: every group of agents keeps in touch within, and no frame passes between groups or to agents in
// none. Nobody is told, as when a cable between two switches is cut.
func (w *Wire) Split(groups ...[]int) error {
	var lines []string
	for i := range w.n {
		lines = append(lines, "link set "+w.port(i)+" nomaster")
	}
	for k, group := range groups {
		if k >= w.bridges {
			w.bridges++
			lines = append(lines, "link add "+w.bridge(k)+" type bridge", "link set "+w.bridge(k)+" up")
		}
		for _, i := range group {
			lines = append(lines, "link set "+w.port(i)+" master "+w.bridge(k))
		}
	}
	return ip(lines...)
}

// Pull pulls agent i's cable: the card has no carrier. Plug puts it back.
func (w *Wire) Pull(i int) error { return ip("link set " + w.port(i) + " down") }

// Plug is the opposite of Pull.
func (w *Wire) Plug(i int) error { return ip("link set " + w.port(i) + " up") }

// Mute loses every frame from one agent to those given, in this direction alone: it has a wrong hardware address for them.
func (w *Wire) Mute(from int, to ...int) error {
	var lines []string
	for _, j := range to {
		w.mute[[2]int{from, j}] = true
		lines = append(lines, "-n "+w.port(from)+" neigh replace "+w.Addr(j)+" lladdr 02:00:00:00:ff:ff dev eth0 nud permanent")
	}
	return ip(lines...)
}

// Heal ends every Split and Mute.
func (w *Wire) Heal() error {
	var lines []string
	for i := range w.n {
		lines = append(lines, "link set "+w.port(i)+" master "+w.bridge(0))
	}
	for pair := range w.mute {
		lines = append(lines, "-n "+w.port(pair[0])+" neigh del "+w.Addr(pair[1])+" dev eth0")
		delete(w.mute, pair)
	}
	return ip(lines...)
}

// Rate makes agent i's cable as fast as rate, in tc's words such as 100mbit, in each direction.
func (w *Wire) Rate(i int, rate string) error {
	for _, where := range [][]string{{}, {"-n", w.port(i)}} {
		device := w.port(i)
		if len(where) > 0 {
			device = "eth0"
		}
		for _, args := range [][]string{
			{"qdisc", "replace", "dev", device, "root", "handle", "1:", "htb", "default", "1", "r2q", "1000"},
			{"class", "replace", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", rate},
		} {
			if err := run("tc", append(where[:len(where):len(where)], args...)...); err != nil {
				return fmt.Errorf("slow agent %d down to %s: %w", i, rate, err)
			}
		}
	}
	return nil
}

// Enter runs f in the namespace of agent i: sockets that f opens and processes that it starts belong there. f runs on a
// goroutine of its own, whose thread ends with it; what f waits for keeps the thread.
func (w *Wire) Enter(i int, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()              // and never unlocked: the thread is spoilt for others
		if unix.Gettid() == unix.Getpid() { // the main thread never ends: hold it, so that the next one is another
			defer runtime.UnlockOSThread()
			result <- w.Enter(i, f)
			return
		}
		space, err := os.Open("/run/netns/" + w.port(i))
		if err == nil {
			err = errors.Join(unix.Setns(int(space.Fd()), unix.CLONE_NEWNET), space.Close())
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// Dial connects to an address of numbers as agent i's machine sees it, its loopback among them.
func (w *Wire) Dial(ctx context.Context, i int, address string) (c net.Conn, err error) {
	err = w.Enter(i, func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp4", address)
		return err
	})
	return c, err
}

// Close takes the wire down and kills what runs in it.
func (w *Wire) Close() error { return remove("^" + regexp.QuoteMeta(w.name) + "-") }

// Sweep takes down the wires of processes that are no more.
func Sweep() error { return remove(`^sc(\d+)-`) }

// remove takes down the namespaces and bridges whose names match; of a matching process only if it has ended.
func remove(pattern string) error {
	match := regexp.MustCompile(pattern)
	names := func(list []byte, lead string) (found []string) {
		for line := range strings.Lines(string(list)) {
			name, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, lead)), " ")
			m := match.FindStringSubmatch(name)
			if m == nil || len(m) > 1 && syscall.Kill(atoi(m[1]), 0) == nil {
				continue
			}
			found = append(found, name)
		}
		return found
	}
	spaces, err := exec.Command("ip", "netns", "list").Output()
	links, err2 := exec.Command("ip", "-br", "link", "show", "type", "bridge").Output()
	errs := []error{err, err2}
	for _, name := range names(spaces, "") {
		pids, _ := exec.Command("ip", "netns", "pids", name).Output() // one that is gone has none
		for pid := range strings.FieldsSeq(string(pids)) {
			if atoi(pid) == os.Getpid() {
				continue
			}
			_ = syscall.Kill(atoi(pid), syscall.SIGKILL) // it may have ended
		}
		errs = append(errs, ip("netns del "+name)) // its cable goes with it
	}
	for _, name := range names(links, "") {
		errs = append(errs, ip("link del "+name))
	}
	return errors.Join(errs...)
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("chaos: a number was matched: " + s)
	}
	return n
}

// ip runs ip for one line after another.
func ip(lines ...string) error {
	for _, line := range lines {
		if err := run("ip", strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program of iproute2 to its end.
func run(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandWithin)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
