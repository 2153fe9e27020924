package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/configs"
)

func TestPlanGivesEachAgentItsOwn(t *testing.T) {
	const n = 3
	cfg := configs.Defaults()
	cfg.Learner.Width, cfg.Seed = 0.25, 7
	plan, err := planCluster(t.TempDir(), n, cfg, 2)
	if err != nil {
		t.Fatal(err)
	}
	var all []configs.Config
	for _, a := range plan.agents {
		c, origins, err := configs.Load(a.file(agentConfigFile), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(origins); err != nil {
			t.Error(err)
		}
		if c.Name != a.name || c.State != a.dir || c.Rounds.Expect != n || c.Learner.Threads != 2 || c.HTTP.Listen != "127.0.0.1:0" || c.Log.Format != "json" {
			t.Errorf("%s is told %+v", a.name, c)
		}
		all = append(all, c)
	}
	taken := map[string]bool{}
	for i, c := range all {
		if d := configs.Differences(all[0].Agreement(), c.Agreement()); len(d) > 0 {
			t.Errorf("agents disagree: %v", d)
		}
		seed := all[0].Gossip.Listen
		if i == 0 {
			seed = all[1].Gossip.Listen
		}
		if !slices.Equal(c.Gossip.Seeds, []string{seed}) {
			t.Errorf("%s joins %v, want %s", c.Name, c.Gossip.Seeds, seed)
		}
		for _, address := range []string{c.Gossip.Listen, c.P2P.Listen} {
			if taken[address] {
				t.Errorf("%s has another's address %s", c.Name, address)
			}
			taken[address] = true
		}
	}
	if info, err := os.Stat(all[0].Gossip.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("cluster key: %v %v", info, err)
	}
	if all[0].Seed != 7 || all[0].Learner.Width != 0.25 {
		t.Error("the agents do not have the configuration")
	}
}

func TestFreePortsAreDistinct(t *testing.T) {
	ports, err := freePorts(40)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 40 {
		t.Errorf("ports %v", ports)
	}
}

func TestClusterDirIsFresh(t *testing.T) {
	t.Chdir(t.TempDir())
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, want := range []string{"shoal-cluster-20260102-030405", "shoal-cluster-20260102-030405-2"} {
		got, err := makeClusterDir("", now)
		if err != nil || filepath.Base(got) != want || !filepath.IsAbs(got) {
			t.Errorf("made %s (%v), want %s", got, err, want)
		}
	}
	got, err := makeClusterDir("given/below", now)
	if err != nil || filepath.Base(got) != "below" {
		t.Errorf("made %s: %v", got, err)
	}
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := makeClusterDir("file", now); err == nil {
		t.Error("a file passed for a directory")
	}
}

func TestAgentsShareTheMachine(t *testing.T) {
	cfg := configs.Defaults()
	for name, v := range map[string]struct {
		threads int
		origin  configs.Origin
		n, cpus int
		want    int
	}{
		"nobody said":      {0, "default", 4, 8, 2},
		"fewer than one":   {0, "default", 4, 2, 1},
		"preset's":         {3, "preset pi4", 2, 4, 2},
		"the user's":       {3, "--set learner.threads", 4, 2, 3},
		"the user's: none": {0, "x.yaml:1:2", 2, 8, 4},
	} {
		cfg.Learner.Threads = v.threads
		if got := threadsEach(cfg, configs.Origins{"learner.threads": v.origin}, v.n, v.cpus); got != v.want {
			t.Errorf("%s: %d threads, want %d", name, got, v.want)
		}
	}
	env := agentEnvironment([]string{"HOME=/h", "SHOAL_SEED=1", "GOMAXPROCS=9"}, 4, 6)
	if !slices.Equal(env, []string{"HOME=/h", "GOMAXPROCS=3"}) {
		t.Errorf("environment %v", env)
	}
	if runtime.NumCPU() < 1 {
		t.Error("no CPU")
	}
}

func TestLastWords(t *testing.T) {
	line := func(s string) string { return `{"level":"info","time":"T","message":"` + s + `"}` + "\n" }
	long := strings.Repeat(line("earlier"), 3000)
	for name, v := range map[string]struct {
		log  string
		want []string
	}{
		"empty":  {"", []string{"(nothing)"}},
		"few":    {line("a") + line("b"), []string{"info a", "info b"}},
		"many":   {long + line("last"), []string{"info earlier", "info earlier", "info earlier", "info earlier", "info earlier", "info last"}},
		"panic":  {line("a") + "panic: p\n\ngoroutine 1:\nf()\n" + strings.Repeat("\tx\n", 50), []string{"panic: p", "", "goroutine 1:", "f()", "\tx", "\tx"}},
		"fields": {`{"level":"warn","message":"m","round":3,"error":"e"}`, []string{"warn m error=e round=3"}},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(v.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastWords(path); !slices.Equal(got, v.want) {
			t.Errorf("%s: %q, want %q", name, got, v.want)
		}
	}
	if got := lastWords(filepath.Join(t.TempDir(), "none")); len(got) != 1 || !strings.Contains(got[0], "no such file") {
		t.Errorf("no log: %q", got)
	}
}

func FuzzReadable(f *testing.F) {
	f.Add([]byte(`{"level":"info","message":"m","a":[1,2]}`))
	f.Add([]byte(`{"level":null}`))
	f.Add([]byte("panic: x"))
	f.Add([]byte("null "))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.ReplaceAll(line, []byte("\n"), nil)
		if got := readable(string(line)); len(line) > 0 && !bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) && got != string(line) {
			t.Errorf("%q became %q", line, got)
		}
	})
}

func TestFirstPreset(t *testing.T) {
	for name, v := range map[string]struct {
		own  map[string]string
		set  []string
		want string
	}{
		"nothing":            {map[string]string{}, nil, "quickstart"},
		"builtin":            {map[string]string{"data.set": "builtin"}, nil, "quickstart"},
		"images":             {map[string]string{"data.set": "photos"}, nil, "images"},
		"images by --set":    {map[string]string{}, []string{"data.set=photos"}, "images"},
		"model":              {map[string]string{"learner.model": "squeezenet1_1"}, nil, "quickstart-squeezenet"},
		"model by --set":     {map[string]string{}, []string{"learner.model=squeezenet1_1"}, "quickstart-squeezenet"},
		"model and images":   {map[string]string{"learner.model": "squeezenet1_1", "data.set": "photos"}, nil, "images"},
		"--set is the last":  {map[string]string{"learner.model": "squeezenet1_1"}, []string{"learner.model=mobilenet_v2"}, "quickstart"},
		"--set with nothing": {map[string]string{}, []string{"learner.model"}, "quickstart"},
	} {
		if got := firstPreset(v.own, v.set); got != v.want {
			t.Errorf("%s: %s, want %s", name, got, v.want)
		}
	}
}
