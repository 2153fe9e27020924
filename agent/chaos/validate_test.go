//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/eval/lab/timing"
	"shoal/gossip/collective"
	"shoal/learner"
)

// validateVariable names the file that TestValidateTimes adds what it measured to.
const validateVariable = "SHOAL_VALIDATE"

// The most that a prediction may be off: of averaging, and of a whole round.
const (
	averageOff = 0.15
	roundOff   = 0.20
)

// shapedPayload is the share of the rate that is payload under tc, which counts 1514 bytes of a frame with 1448 of payload.
const shapedPayload = 0.955

// comparison is a predicted time beside the measured one, in milliseconds.
type comparison struct {
	What      string  `json:"what"` // exchange, by bench or by agents; average, round
	Agents    int     `json:"agents"`
	Rate      string  `json:"rate"` // of each cable, both ways
	Plan      string  `json:"plan"`
	Wire      string  `json:"wire"`
	Predicted float64 `json:"predicted_ms"`
	Measured  float64 `json:"measured_ms"` // median
	Least     float64 `json:"measured_ms_min"`
	Most      float64 `json:"measured_ms_max"`
	Count     int     `json:"count"`
	Bound     float64 `json:"bound"` // that the prediction is held to; 0: shown only, and Why
	Why       string  `json:"why,omitempty"`
}

func (c comparison) off() float64 { return c.Predicted/c.Measured - 1 }

// validation is what the record holds.
type validation struct {
	recordedOn
	Rows []comparison `json:"rows"`
}

// TestValidateTimes compares the time model with real agents over cables of 100 Mbit/s and 1 Gbit/s.
func TestValidateTimes(t *testing.T) {
	path := os.Getenv(validateVariable)
	if path == "" {
		t.Skipf("takes minutes on a quiet machine; set %s to the file for the record, or run make validate", validateVariable)
	}
	for _, rate := range []string{"100mbit", "1gbit"} {
		for _, n := range []int{2, 4, 8} {
			t.Run(fmt.Sprintf("bench-%d-%s", n, rate), func(t *testing.T) { hold(t, path, validateBench(t, n, rate)) })
			t.Run(fmt.Sprintf("agents-%d-%s", n, rate), func(t *testing.T) { hold(t, path, validateAgents(t, n, rate)) })
		}
	}
}

// hold shows comparisons, holds those with a bound to it, and keeps them.
func hold(t *testing.T, path string, rows []comparison) {
	t.Helper()
	for _, c := range rows {
		t.Logf("%-8s %d agents %-7s %-4s %s: %7.1f ms predicted, %7.1f measured (%.1f to %.1f, %d): %+.1f %% %s",
			c.What, c.Agents, c.Rate, c.Plan, c.Wire, c.Predicted, c.Measured, c.Least, c.Most, c.Count, 100*c.off(), c.Why)
		if c.Bound > 0 && math.Abs(c.off()) > c.Bound {
			t.Errorf("%s of %d agents at %s: %.1f ms predicted, %.1f measured", c.What, c.Agents, c.Rate, c.Predicted, c.Measured)
		}
	}
	keepRows(t, path, rows)
}

// keepRows puts rows in the record, in place of those of the same measurement.
func keepRows(t *testing.T, path string, rows []comparison) {
	t.Helper()
	var v validation
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, row := range rows {
		v.Rows = slices.DeleteFunc(v.Rows, func(c comparison) bool {
			return c.What == row.What && c.Agents == row.Agents && c.Rate == row.Rate && c.Plan == row.Plan && c.Wire == row.Wire
		})
		v.Rows = append(v.Rows, row)
	}
	slices.SortStableFunc(v.Rows, func(a, b comparison) int { return strings.Compare(a.order(), b.order()) })
	v.recordedOn = here(t)
	b, err = json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c comparison) order() string {
	return fmt.Sprintf("%s %s %02d %s %s", c.What, c.Rate, c.Agents, c.Plan, c.Wire)
}

// shaped is a shelf whose cables have the rate, and whose TCP is cubic: what Linux comes with, whatever this machine has.
func shaped(t *testing.T, n int, rate, common string) *shelf {
	t.Helper()
	s := newShelf(t, n, common)
	for i := range n {
		s.must(s.wire.Rate(i, rate))
		s.must(ip(fmt.Sprintf("-n %s route replace 10.99.0.0/16 dev eth0 proto kernel scope link src %s congctl cubic", s.wire.port(i), s.wire.Addr(i))))
	}
	return s
}

// validateLearner is what the agents train.
func validateLearner() learner.Config {
	c := learner.Defaults()
	c.Threads = 1
	return c
}

// predictor is the time model of n agents on this machine's shared cores, over cables of the rate.
func predictor(t *testing.T, n int, rate string, latency time.Duration, device timing.Device) *timing.Model {
	t.Helper()
	c, l := timing.Defaults(), validateLearner()
	c.Device = device
	var err error
	if c.Network.Rate, err = timing.ParseRate(rate); err != nil {
		t.Fatal(err)
	}
	c.Network.Payload, c.Network.Latency = shapedPayload, latency
	m, err := timing.New(c, timing.Work{Model: l.Model, Width: l.Width, Input: l.Input, Batch: l.Batch, Threads: l.Threads, Agents: n})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// spread is a comparison's measured side.
func (c comparison) spread(ms []float64) comparison {
	c.Measured, c.Least, c.Most, c.Count = Median(ms), slices.Min(ms), slices.Max(ms), len(ms)
	return c
}

// validateBench compares all-reduces of shoal bench, one process per namespace.
func validateBench(t *testing.T, n int, rate string) (rows []comparison) {
	s := shaped(t, n, rate, "")
	kinds := [][2]string{{"ring", "fp32"}}
	if n == 4 {
		kinds = [][2]string{{"ring", "fp32"}, {"ring", "fp16"}, {"tree", "fp32"}, {"star", "fp32"}, {"mesh", "fp32"}}
	}
	for _, kind := range kinds {
		var r struct {
			Median  float64 `json:"ms_median"`
			Least   float64 `json:"ms_min"`
			Most    float64 `json:"ms_max"`
			Count   int     `json:"count"`
			Latency float64 `json:"latency_us"`
			Length  int     `json:"length"`
		}
		if err := json.Unmarshal(s.bench(n, kind[0], kind[1]), &r); err != nil {
			t.Fatal(err)
		}
		m := predictor(t, n, rate, time.Duration(r.Latency*1e3), timing.Device{Profile: timing.ThisMachine, ImagesPerSecond: 1, Share: 1 / float64(n), Cores: runtime.NumCPU()})
		plan, err := collective.New(kind[0], n)
		if err != nil {
			t.Fatal(err)
		}
		done, err := m.Exchange(plan, r.Length, kind[1], make([]time.Duration, n))
		if err != nil {
			t.Fatal(err)
		}
		c := comparison{What: "bench", Agents: n, Rate: rate, Plan: kind[0], Wire: kind[1], Predicted: ms(slices.Max(done)),
			Measured: r.Median, Least: r.Least, Most: r.Most, Count: r.Count, Bound: averageOff}
		rows = append(rows, c.shared())
	}
	return rows
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// shared takes the bound off what this machine's cores decide, which all agents share, and not the cables.
func (c comparison) shared() comparison {
	if c.Rate == "1gbit" && c.Agents > runtime.NumCPU() {
		c.Bound, c.Why = 0, "more agents than cores"
	}
	return c
}

// bench runs shoal bench --collective with one process in each namespace, and is what rank 0 says.
func (s *shelf) bench(n int, plan, wire string) []byte {
	s.t.Helper()
	var peers []string
	for i := range n {
		peers = append(peers, s.wire.Addr(i)+":9000")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, errs := make([][]byte, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			errs[i] = s.wire.Enter(i, func() (err error) {
				cmd := exec.CommandContext(ctx, s.binary, "bench", "--collective", "--json", "--steps", "12", "--warmup", "3", "--peers", strings.Join(peers, ","),
					"--rank", fmt.Sprint(i), "--set", "averaging.plan="+plan, "--set", "averaging.wire="+wire)
				out[i], err = cmd.Output()
				return err
			})
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			s.t.Fatalf("rank %d: %v", i, err)
		}
	}
	return out[0]
}

// validateAgents compares the phases of real agents' rounds.
func validateAgents(t *testing.T, n int, rate string) []comparison {
	const rounds, steps, latency = 10, 40, 300 * time.Microsecond
	l := validateLearner()
	net, err := learner.New(l, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	elements := len(net.Shared(false))
	net.Close()
	s := shaped(t, n, rate, fmt.Sprintf(`
data: {set: builtin, limit: %d, test_limit: 60, partition: shuffled}
learner: {model: mobilenet_v2, width: 0.5, input: 32, batch: 12, threads: 1, sgd: {rate: 0.01, momentum: 0.9}}
eval: {reestimate: 0, every: 1000}
http: {listen: "127.0.0.1:0"}
averaging: {plan: ring}
rounds: {count: %d, steps: %d, expect: %d, gather: 1s, durable: relaxed}
`, 12*steps*n, rounds, steps, n))
	device := s.device(n)
	s.startAll()
	measured := phases(s.finish(rounds, 150*time.Second), n)
	m := predictor(t, n, rate, latency, device)
	exchange, err := m.Exchange(collective.Ring(n), elements, "fp32", make([]time.Duration, n))
	if err != nil {
		t.Fatal(err)
	}
	average := slices.Max(exchange) + m.Keep(elements)
	t.Logf("this machine: %.0f images/s, train predicted %.0f ms, measured %.0f; wait %.0f, store %.1f", device.ImagesPerSecond, ms(m.Steps(0, 12*steps, steps)), Median(measured["train"]), Median(measured["wait"]), Median(measured["store"]))
	base := comparison{Agents: n, Rate: rate, Plan: "ring", Wire: "fp32", Bound: averageOff}
	var rows []comparison
	for what, predicted := range map[string]time.Duration{"exchange": slices.Max(exchange), "average": average, "round": m.Steps(0, 12*steps, steps) + average} {
		c := base
		c.What, c.Predicted = what, ms(predicted)
		if what == "round" {
			c.Bound = roundOff
		}
		rows = append(rows, c.spread(measured[what]).shared())
	}
	return rows
}

// device is this machine as n agents share its cores: what as many processes of shoal bench train side by side.
func (s *shelf) device(n int) timing.Device {
	s.t.Helper()
	d := timing.Device{Profile: timing.ThisMachine, Share: 1 / float64(n), Cores: runtime.NumCPU()}
	out, errs := make([][]byte, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			out[i], errs[i] = exec.Command(s.binary, "bench", "--json", "--threads", "1", "--batch", "12", "--input", "32", "--peaks=false", "--for", "3s").Output()
		})
	}
	all.Wait()
	for i := range n {
		var r struct {
			Step float64 `json:"step_ms_mean"`
		}
		if err := errors.Join(errs[i], json.Unmarshal(out[i], &r)); err != nil {
			s.t.Fatal(err)
		}
		d.ImagesPerSecond += 12e3 / r.Step
	}
	return d
}

// phases are milliseconds by phase, one for each round after the first two: of the exchange the slowest member's, of the rest
// the mean of all.
func phases(all []Ledger, n int) map[string][]float64 {
	found := map[string][]float64{}
	for k, row := range all[0].Commits {
		if row.Round < 3 || len(row.Contributors) != n {
			continue
		}
		exchange, store, train, wait, average := 0.0, 0.0, 0.0, 0.0, 0.0
		for _, l := range all {
			c := l.Commits[k]
			exchange, store = max(exchange, c.Exchange), max(store, c.Store)
			train, wait, average = train+c.Seconds.Train/float64(n), wait+c.Seconds.Wait/float64(n), average+c.Seconds.Average/float64(n)
		}
		for what, s := range map[string]float64{"exchange": exchange, "store": store, "train": train, "wait": wait, "average": average, "round": train + wait + average} {
			found[what] = append(found[what], 1e3*s)
		}
	}
	return found
}
