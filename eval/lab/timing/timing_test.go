package timing

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"shoal/gossip/collective"
	"shoal/learner"
)

func papersWork(agents int) Work {
	return Work{Model: "mobilenet_v2", Width: 0.5, Input: 32, Batch: 12, Threads: 4, Parameters: 700_490, Train: 50_000, Test: 10_000, Agents: agents}
}

// wired is a network at which nothing but the link takes time.
func wired(rate Rate) Config {
	c := Defaults()
	c.Device = Device{Profile: "raspberry-pi-4", Exchange: 1e15}
	c.Network = Network{Rate: rate, Payload: 1, Duplex: "full"}
	return c
}

func model(t *testing.T, c Config, w Work) *Model {
	t.Helper()
	m, err := New(c, w)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exchange(t *testing.T, m *Model, name string, elements int, wire string, ready []time.Duration) []time.Duration {
	t.Helper()
	p, err := collective.New(name, len(ready))
	if err != nil {
		t.Fatal(err)
	}
	done, err := m.Exchange(p, elements, wire, ready)
	if err != nil {
		t.Fatal(err)
	}
	for r := range done {
		if done[r] < ready[r] {
			t.Errorf("%s: rank %d is done at %v and was ready at %v", name, r, done[r], ready[r])
		}
	}
	return done
}

func last(done []time.Duration) float64 { return slices.Max(done).Seconds() }

// near says whether two times are within a share of each other.
func near(a, b, share float64) bool { return math.Abs(a-b) <= share*math.Max(a, b) }

func TestEvenLinksTakeWhatTheFormulasSay(t *testing.T) {
	const elements = 1 << 22
	bytes := 4.0 * elements
	for _, n := range []int{2, 3, 8, 24} {
		m, ready := model(t, wired(1e9), papersWork(n)), make([]time.Duration, n)
		ring := 2 * float64(n-1) / float64(n) * bytes / 125e6
		if got := last(exchange(t, m, "ring", elements, "fp32", ready)); !near(got, ring, 0.02) {
			t.Errorf("%d ranks: ring takes %v s, 2(n−1)/n·B/rate is %v", n, got, ring)
		}
		star := 2 * float64(n-1) * bytes / 125e6
		if got := last(exchange(t, m, "star", elements, "fp32", ready)); got > star*1.02 || got < star/2 {
			t.Errorf("%d ranks: star takes %v s, 2(n−1)·B/rate is %v", n, got, star)
		}
		half := last(exchange(t, m, "ring", elements, "fp16", ready))
		if !near(half, ring/2, 0.02) {
			t.Errorf("%d ranks: a ring of fp16 takes %v s, of fp32 %v", n, half, ring)
		}
	}
}

func TestWorseNetworksTakeLonger(t *testing.T) {
	base := wired(1e9)
	base.Network.Latency = 200 * time.Microsecond
	for name, worsen := range map[string]func(*Config){
		"rate":     func(c *Config) { c.Network.Rate = 5e8 },
		"payload":  func(c *Config) { c.Network.Payload = 0.5 },
		"latency":  func(c *Config) { c.Network.Latency = 5 * time.Millisecond },
		"duplex":   func(c *Config) { c.Network.Duplex = "half" },
		"switch":   func(c *Config) { c.Network.Switch = 5e8 },
		"loss":     func(c *Config) { c.Network.Loss = 0.01 },
		"jitter":   func(c *Config) { c.Network.Jitter = 5 * time.Millisecond },
		"exchange": func(c *Config) { c.Device.Exchange = 30e6 },
	} {
		worse := base
		worsen(&worse)
		for _, plan := range collective.Names() {
			ready := make([]time.Duration, 8)
			before := last(exchange(t, model(t, base, papersWork(8)), plan, 700_490, "fp32", ready))
			after := last(exchange(t, model(t, worse, papersWork(8)), plan, 700_490, "fp32", ready))
			if name == "duplex" && plan == "star" {
				continue // it gathers everything before it sends
			}
			if after < before*1.01 {
				t.Errorf("%s: %s takes %v s, and %v before", name, plan, after, before)
			}
		}
	}
}

func TestHalfDuplexAndASharedMediumTakeAllBytesInTurn(t *testing.T) {
	const n, elements = 4, 1 << 22
	c, ready := wired(1e9), make([]time.Duration, n)
	c.Network.Duplex = "half"
	each := 2.0 * (n - 1) / n * 4 * elements / 125e6
	if got := last(exchange(t, model(t, c, papersWork(n)), "ring", elements, "fp32", ready)); got < 2*each*0.99 || got > 2*each*1.6 {
		t.Errorf("half duplex: %v s, each rank sends and receives for %v", got, each)
	}
	c = wired(1e9)
	c.Network.Switch = 1e9
	if got := last(exchange(t, model(t, c, papersWork(n)), "ring", elements, "fp32", ready)); !near(got, n*each, 0.05) {
		t.Errorf("a medium shared by %d: %v s, all bytes take %v", n, got, n*each)
	}
}

func TestAnExchangeWaitsForTheLast(t *testing.T) {
	m := model(t, wired(1e9), papersWork(4))
	late := exchange(t, m, "ring", 700_490, "fp32", []time.Duration{0, 0, time.Second, 0})
	even := exchange(t, m, "ring", 700_490, "fp32", make([]time.Duration, 4))
	for r, at := range late {
		if at < time.Second || at > time.Second+2*even[r] {
			t.Errorf("rank %d is done at %v; rank 2 was ready at 1s and an exchange takes %v", r, at, even[r])
		}
	}
}

func TestNothingToExchange(t *testing.T) {
	m := model(t, wired(1e9), papersWork(1))
	if done := exchange(t, m, "ring", 700_490, "fp32", []time.Duration{time.Second}); done[0] != time.Second {
		t.Errorf("alone: done at %v", done[0])
	}
	m = model(t, wired(1e9), papersWork(2))
	if done := exchange(t, m, "ring", 0, "fp32", make([]time.Duration, 2)); last(done) != 0 {
		t.Errorf("nothing: done at %v", done)
	}
	p := collective.Ring(2)
	if _, err := m.Exchange(p, 1, "fp8", make([]time.Duration, 2)); err == nil || !strings.Contains(err.Error(), `"fp8"`) {
		t.Errorf("unknown wire type: %v", err)
	}
	if _, err := m.Exchange(p, 1, "fp32", make([]time.Duration, 3)); err == nil {
		t.Error("three are ready for a plan of two, and no error")
	}
}

func TestAgentsShareTheirNode(t *testing.T) {
	one := model(t, Defaults(), papersWork(2))
	w := papersWork(2)
	w.AgentsPerNode = 2
	two := model(t, Defaults(), w)
	if a, b := one.Steps(0, 1200, 100), two.Steps(0, 1200, 100); !near(b.Seconds(), 2*a.Seconds(), 1e-6) {
		t.Errorf("an agent alone trains for %v, one of two for %v", a, b)
	}
	w = papersWork(2)
	w.Threads = 1
	if a, b := one.Steps(0, 1200, 100), model(t, Defaults(), w).Steps(0, 1200, 100); !near(b.Seconds(), 4*a.Seconds(), 1e-6) {
		t.Errorf("with 4 threads on 4 cores %v, with 1 %v", a, b)
	}
	if l := two.Latency(0, 1); l >= one.Latency(0, 1) {
		t.Errorf("within a node %v, between nodes %v", l, one.Latency(0, 1))
	}
	if one.Latency(1, 1) != 0 || one.Start() <= 0 || one.Evaluate(10_000) <= 0 || one.Evaluate(10_000) >= one.Steps(0, 10_000, 834) {
		t.Errorf("latency to itself %v, start %v, evaluation %v", one.Latency(1, 1), one.Start(), one.Evaluate(10_000))
	}
}

func TestDurableRoundsWaitForTheDisk(t *testing.T) {
	w := papersWork(2)
	relaxed := model(t, Defaults(), w).Keep(1 << 20)
	w.Durable = true
	if durable := model(t, Defaults(), w).Keep(1 << 20); relaxed <= 0 || durable <= relaxed {
		t.Errorf("durable %v, relaxed %v", durable, relaxed)
	}
}

// All cores of a node hash a state, and agents of one node share them; passes over memory are shared as the memory is.
func TestStatesAreHashedByAllCores(t *testing.T) {
	const elements = 1 << 20
	keep := func(d Device, perNode int) float64 {
		c, w := Defaults(), papersWork(4)
		d.Profile, d.Round = "raspberry-pi-4", time.Nanosecond
		c.Device, w.AgentsPerNode = d, perNode
		return model(t, c, w).Keep(elements).Seconds()
	}
	hash := Device{Keep: 1e18, Hash: 1e8}
	if got := keep(hash, 1); !near(got, 4*elements/1e8/4, 1e-6) {
		t.Errorf("four cores hash for %v s", got)
	}
	if got := keep(hash, 2); !near(got, 4*elements/1e8/2, 1e-6) {
		t.Errorf("two of four cores hash for %v s", got)
	}
	slow := Defaults()
	slow.Device.Round = time.Second
	if more := model(t, slow, papersWork(4)).Keep(0); more != time.Second {
		t.Errorf("a round of no state takes %v", more)
	}
	if one, two := keep(Device{Keep: 1e8, Hash: 1e18}, 1), keep(Device{Keep: 1e8, Hash: 1e18}, 2); !near(one, 4*elements/1e8, 1e-6) || !near(two, 2*one, 1e-6) {
		t.Errorf("passes of one agent take %v s, of two %v", one, two)
	}
}

func TestStragglers(t *testing.T) {
	c := Defaults()
	c.Stragglers = Stragglers{Distribution: "fixed", Share: 0.25, Factor: 3, Seed: 7}
	m := model(t, c, papersWork(8))
	slow := slices.Clone(m.slow)
	if got := slices.Repeat([]float64{3}, 2); !slices.Equal(slices.DeleteFunc(slices.Clone(slow), func(x float64) bool { return x == 1 }), got) {
		t.Errorf("factors %v, want two of 3 and the rest 1", slow)
	}
	if m.Begin(5); !slices.Equal(m.slow, slow) {
		t.Errorf("round 5: %v, before %v", m.slow, slow)
	}
	c.Stragglers = Stragglers{Distribution: "lognormal", Share: 0.1, Factor: 2, Seed: 7}
	m = model(t, c, papersWork(8))
	over, n := 0, 0
	for round := range 1000 {
		m.Begin(round)
		for _, x := range m.slow {
			n++
			if x > 2 {
				over++
			}
		}
	}
	if share := float64(over) / float64(n); math.Abs(share-0.1) > 0.02 {
		t.Errorf("%v are over the factor, want 0.1", share)
	}
	m.Begin(17)
	again := slices.Clone(m.slow)
	m.Begin(3)
	if m.Begin(17); !slices.Equal(m.slow, again) {
		t.Error("round 17 differs when it is begun again")
	}
}

func TestConfigReads(t *testing.T) {
	text := `
device: {images_per_second: 850, evaluate: 2000, start: 2s}
network: {rate: 100 Mbit/s, latency: 1ms, switch: none}
stragglers: {distribution: fixed, share: 0.1, factor: 2}
`
	c := Defaults()
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if c.Device.Profile != "raspberry-pi-4" || c.Device.ImagesPerSecond != 850 || c.Device.Start != 2*time.Second || c.Network.Rate != 1e8 ||
		c.Network.Payload != ethernetPayload || c.Network.Duplex != "full" || c.Network.Switch != 0 || c.Stragglers.Factor != 2 {
		t.Errorf("read %+v", c)
	}
	if err := yaml.UnmarshalWithOptions([]byte("device: raspberry-pi-5\nnetwork: {rate: 25e8}"), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if c.Device != (Device{Profile: "raspberry-pi-5"}) || c.Network.Rate != 2.5e9 || c.Network.Rate.String() != "2.5 Gbit/s" {
		t.Errorf("read %+v", c)
	}
}

func TestBadConfigsAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"device: toaster":                                        `profile toaster is unknown; give one of raspberry-pi-4`,
		"device: {images_per_second: -1}":                        "device.images_per_second: -1",
		"device: {share: 2}":                                     "device.share: 2 is outside [0, 1]",
		"device: {speed: 1}":                                     `unknown field "speed"`,
		"device: this-machine":                                   "measure it",
		"device: papakyriakou-pi4":                               "no rate for mobilenet_v2 at width 0.5 at 32×32",
		"network: {rate: fast}":                                  `rate "fast" is none`,
		"network: {rate: 0}":                                     "network.rate: 0 bits per second",
		"network: {payload: 2}":                                  "network.payload: 2",
		"network: {duplex: triple}":                              `network.duplex: "triple"`,
		"network: {loss: 1}":                                     "network.loss: 1",
		"network: {latency: -1ms}":                               "network.latency: -1ms",
		"network: {jitter: -1ms}":                                "network.jitter: -1ms",
		"stragglers: {distribution: often}":                      `stragglers.distribution: "often"`,
		"stragglers: {distribution: fixed, share: 2, factor: 2}": "stragglers.share: 2",
		"stragglers: {distribution: lognormal, share: 0.6}":      "stragglers.share: 0.6",
		"stragglers: {distribution: fixed, share: 0.1}":          "stragglers.factor: 0",
	} {
		c := Defaults()
		err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict())
		if err == nil {
			_, err = New(c, papersWork(4))
		}
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `profile "toaster"`, "profile toaster"), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	for _, w := range []Work{{}, {Agents: 1}, {Agents: 1, Batch: 1}, {Agents: 1, Batch: 1, Input: 1, Segment: -1}} {
		if _, err := New(Defaults(), w); err == nil {
			t.Errorf("no error for %+v", w)
		}
	}
}

// TestProfilesAreTheDocuments compares the Pis' rates with what docs/performance.md prints of the counts.
func TestProfilesAreTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	titles := map[string]string{"raspberry-pi-4": "Raspberry Pi 4", "raspberry-pi-5": "Raspberry Pi 5"}
	for _, p := range Profiles() {
		title, is := titles[p.Name]
		for _, r := range p.Rates {
			named := map[string]string{mobileNet: "MobileNetV2 α " + strconv.FormatFloat(r.Width, 'g', -1, 64), learner.SqueezeNet11: "SqueezeNet 1.1"}[r.Model]
			row := regexp.MustCompile(`(?m)^\| ` + title + ` \| ` + regexp.QuoteMeta(named) + ` \| ` + strconv.Itoa(r.Input) + `×\d+ \| ` + strconv.Itoa(r.Batch) + ` \|.*\| ([0-9.]+) to ([0-9.]+) \| [^|]*\|$`)
			if is {
				got := row.FindStringSubmatch(string(text))
				if got == nil || got[1] != strconv.FormatFloat(r.From, 'g', -1, 64) || got[2] != strconv.FormatFloat(r.To, 'g', -1, 64) {
					t.Errorf("%s, %s at %d, batch %d: the profile has %v to %v, the document %q", p.Name, r.Model, r.Input, r.Batch, r.From, r.To, got)
				}
			}
		}
		if p.Name != ThisMachine && len(p.Rates) == 0 || p.About == "" || len(p.Assumes) == 0 || p.Achieved <= 0 {
			t.Errorf("profile %s lacks rates, an achieved share or words: %+v", p.Name, p)
		}
	}
}

// A rate at a batch that was counted is that of the count, and one between lies between.
func TestPaceGoesThroughTheCounts(t *testing.T) {
	p, err := profileNamed("raspberry-pi-4")
	if err != nil {
		t.Fatal(err)
	}
	rate := func(batch int) float64 {
		w := papersWork(1)
		w.Batch = batch
		of, err := p.pace(w)
		if err != nil {
			t.Fatal(err)
		}
		return float64(batch) / (float64(batch)*of.image + of.step)
	}
	if got, want := rate(12), (711.0+966)/2*p.Achieved; !near(got, want, 1e-9) {
		t.Errorf("batch 12: %v images/s, counted %v", got, want)
	}
	for batch := 2; batch < 64; batch++ {
		if rate(batch) <= rate(batch-1) {
			t.Errorf("batch %d: %v images/s, and %v with one less", batch, rate(batch), rate(batch-1))
		}
	}
}

func TestAssumptionsSayWhatIsSet(t *testing.T) {
	c := Defaults()
	c.Network.Loss, c.Network.Jitter, c.Network.Duplex, c.Network.Switch = 0.01, time.Millisecond, "half", 3e8
	c.Stragglers = Stragglers{Distribution: "fixed", Share: 0.25, Factor: 3}
	all := strings.Join(model(t, c, papersWork(8)).Assumptions(), "\n")
	for _, word := range []string{"Cortex-A72", "0.63", "one direction", "300 Mbit/s", "Mathis", "late by up to 1ms", "25 %", "Nobody waits for a disk"} {
		if !strings.Contains(all, word) {
			t.Errorf("%q is not said in:\n%s", word, all)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"1Gbit", "100 Mbit/s", "1e9", "", "-1", "inf", "nan", "1e309Gbit", "0bit"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRate(text)
		if err != nil {
			return
		}
		if !(r >= 0) || math.IsInf(float64(r), 0) {
			t.Fatalf("%q is read as %v", text, float64(r))
		}
		if again, err := ParseRate(r.String()); err != nil || !near(float64(again), float64(r), 1e-12) {
			t.Fatalf("%q is read as %v, written as %q and read as %v, %v", text, float64(r), r.String(), again, err)
		}
	})
}
