package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/configs"
	"shoal/gossip"
)

// patient is a doctor of a machine whose /proc and /sys hold these files.
func patient(t *testing.T, files map[string]string, change func(c *configs.Config)) *doctor {
	t.Helper()
	dir := t.TempDir()
	cfg := configs.Defaults()
	cfg.Name, cfg.State, cfg.Gossip.KeyFile = "pi-1", filepath.Join(dir, "state"), filepath.Join(dir, "key")
	cfg.Gossip.Listen, cfg.P2P.Listen, cfg.HTTP.Listen = "0.0.0.0:0", "/ip4/127.0.0.1/tcp/0", "127.0.0.1:0"
	cfg.Data.Limit, cfg.Data.TestLimit = 100, 20
	key, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(cfg.Gossip.KeyFile, key)
	}
	if err == nil {
		err = os.Mkdir(cfg.State, 0o700)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	return &doctor{cfg: cfg, root: dir}
}

// takenPort is an address of loopback that is in use while the test runs.
func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestDoctorChecks(t *testing.T) {
	const zone, throttled = "sys/class/thermal/thermal_zone0/temp", "sys/devices/platform/soc/soc:firmware/get_throttled"
	taken := takenPort(t)
	for name, v := range map[string]struct {
		check   func(d *doctor) finding
		files   map[string]string
		change  func(c *configs.Config)
		verdict string
		found   string
		remedy  string
	}{
		"configuration": {func(d *doctor) finding { return d.configuration(t.Context()) }, nil, nil, "ok", "valid: mobilenet_v2", ""},
		"bad configuration": {
			func(d *doctor) finding { return d.configuration(t.Context()) }, nil, func(c *configs.Config) { c.Keep = 0 }, "bad", "keep", "config show",
		},
		"kernels asked":   {func(d *doctor) finding { d.kernels = "sse9"; return d.kernelSet(t.Context()) }, nil, nil, "bad", "sse9", "unset SHOAL_CPU"},
		"threads":         {func(d *doctor) finding { return d.cpus(t.Context()) }, nil, func(c *configs.Config) { c.Learner.Threads = 4096 }, "warn", "4096", "learner.threads"},
		"data":            {func(d *doctor) finding { return d.dataSet(t.Context()) }, nil, nil, "ok", "100 training and 20 test images of 10 classes", ""},
		"no data":         {func(d *doctor) finding { return d.dataSet(t.Context()) }, nil, func(c *configs.Config) { c.Data.Set = "/absent" }, "bad", "/absent", "data.set"},
		"cool":            {func(d *doctor) finding { return d.temperature(t.Context()) }, map[string]string{zone: "48312\n"}, nil, "ok", "48 °C", ""},
		"warm":            {func(d *doctor) finding { return d.temperature(t.Context()) }, map[string]string{zone: "72000\n"}, nil, "warn", "72 °C", "heat sink"},
		"warm at work":    {func(d *doctor) finding { d.running = "pi-1"; return d.temperature(t.Context()) }, map[string]string{zone: "72000\n"}, nil, "ok", "72 °C", ""},
		"hot":             {func(d *doctor) finding { return d.temperature(t.Context()) }, map[string]string{zone: "84000\n"}, nil, "warn", "84 °C", "air"},
		"no sensor":       {func(d *doctor) finding { return d.temperature(t.Context()) }, map[string]string{zone: "broken"}, nil, "ok", "measures none", ""},
		"powered":         {func(d *doctor) finding { return d.power(t.Context()) }, map[string]string{throttled: "0x0\n"}, nil, "ok", "nothing holds", ""},
		"throttled":       {func(d *doctor) finding { return d.power(t.Context()) }, map[string]string{throttled: "50005\n"}, nil, "warn", "too little voltage now, throttled now, too little voltage since", "supply"},
		"key":             {func(d *doctor) finding { return d.clusterKey(t.Context()) }, nil, nil, "ok", "1 key", ""},
		"no key":          {func(d *doctor) finding { return d.clusterKey(t.Context()) }, nil, func(c *configs.Config) { c.Gossip.KeyFile = "" }, "bad", "key_file", "keygen"},
		"open key":        {func(d *doctor) finding { return d.clusterKey(t.Context()) }, nil, func(c *configs.Config) { _ = os.Chmod(c.Gossip.KeyFile, 0o644) }, "warn", "0644", "chmod 600"},
		"no identity":     {func(d *doctor) finding { return d.identity(t.Context()) }, nil, nil, "ok", "none yet", ""},
		"ports":           {func(d *doctor) finding { return d.ports(t.Context()) }, nil, nil, "ok", "udp 0.0.0.0:0", ""},
		"port taken":      {func(d *doctor) finding { return d.ports(t.Context()) }, nil, func(c *configs.Config) { c.HTTP.Listen = taken }, "bad", "http.listen: listen tcp " + taken, "ss -lntup"},
		"port of its own": {func(d *doctor) finding { d.running = "pi-1"; return d.ports(t.Context()) }, nil, func(c *configs.Config) { c.HTTP.Listen = taken }, "ok", "pi-1", ""},
		"loopback only":   {func(d *doctor) finding { return d.network(t.Context()) }, nil, func(c *configs.Config) { c.Gossip.Listen = "127.0.0.1:0" }, "warn", "127.0.0.1", "0.0.0.0"},
		"seed":            {func(d *doctor) finding { return d.seeds(t.Context()) }, nil, func(c *configs.Config) { c.Gossip.Seeds = []string{taken, "127.0.0.1:1"} }, "ok", "answering: 1 of 2", ""},
		"no seed":         {func(d *doctor) finding { return d.seeds(t.Context()) }, nil, func(c *configs.Config) { c.Gossip.Seeds = []string{"127.0.0.1:1"} }, "warn", "127.0.0.1:1", "firewall"},
		"disk":            {func(d *doctor) finding { return d.diskSpace(t.Context()) }, nil, nil, "ok", "free in", ""},
		"no such disk":    {func(d *doctor) finding { return d.diskSpeed(t.Context()) }, nil, func(c *configs.Config) { c.State = "/proc/none" }, "bad", "/proc", "state=DIR"},
	} {
		d := patient(t, v.files, v.change)
		f := v.check(d)
		if f.Verdict != v.verdict || !strings.Contains(f.Found, v.found) || !strings.Contains(f.Remedy, v.remedy) || (f.Remedy == "") != (v.remedy == "") {
			t.Errorf("%s: %+v, want %s, %q, %q", name, f, v.verdict, v.found, v.remedy)
		}
	}
}

// What is left of memory is the machine's, or the control group's where that is less.
func TestDoctorMemory(t *testing.T) {
	for name, v := range map[string]struct {
		files   map[string]string
		left    int64
		verdict string
	}{
		"machine":     {map[string]string{"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4194304 kB\n"}, 4 << 30, "ok"},
		"group":       {map[string]string{"proc/meminfo": "MemAvailable: 4194304 kB\n", "sys/fs/cgroup/memory.max": "52428800", "sys/fs/cgroup/memory.current": "20971520"}, 30 << 20, "bad"},
		"group full":  {map[string]string{"sys/fs/cgroup/memory.max": "100", "sys/fs/cgroup/memory.current": "200"}, 1, "bad"},
		"no limit":    {map[string]string{"proc/meminfo": "MemAvailable: 4194304 kB\n", "sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": "1"}, 4 << 30, "ok"},
		"not told of": {nil, 0, "ok"},
	} {
		d := patient(t, v.files, nil)
		if got := d.memoryLeft(); got != v.left {
			t.Errorf("%s: %d bytes left, want %d", name, got, v.left)
		}
		d.need.classes = 10
		if f := d.memory(t.Context()); f.Verdict != v.verdict || d.need.stateBytes == 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestDoctorCommand(t *testing.T) {
	d := patient(t, nil, nil)
	args := []string{
		"doctor", "--set", "state=" + d.cfg.State, "--set", "gossip.key_file=" + d.cfg.Gossip.KeyFile, "--set", "gossip.listen=127.0.0.1:0",
		"--set", "p2p.listen=/ip4/127.0.0.1/tcp/0", "--set", "http.listen=127.0.0.1:0", "--set", "data.limit=100",
	}
	stdout, stderr, code := shoal(t, args...)
	if code != 0 || !strings.Contains(stdout, "\nok    cluster key    "+d.cfg.Gossip.KeyFile) || !strings.Contains(stdout, "\n                     → set gossip.listen") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, stdout)
	}
	stdout, stderr, code = shoal(t, append(args, "--json", "--set", "keep=0", "--set", "gossip.key_file=")...)
	var findings []finding
	if err := json.Unmarshal([]byte(stdout), &findings); err != nil || code != exitFailure || len(findings) < 15 {
		t.Fatalf("exit code %d, %v\n%s", code, err, stdout)
	}
	if want := "shoal: an agent would fail here: configuration, cluster key\n"; stderr != want {
		t.Errorf("stderr %q, want %q", stderr, want)
	}
	left, err := filepath.Glob(filepath.Join(d.cfg.State, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if found := d.examine(ended); len(found) > 0 {
		t.Errorf("%d checks after the end", len(found))
	}
}
