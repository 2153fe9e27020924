package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"shoal/gossip/collective"
	"shoal/gossip/roster"
)

// Limits of what a benchmark of averaging may be asked for.
const (
	maxCollectiveRanks = 64
	maxCollectiveLen   = 1 << 28
)

// collectiveFlags are what bench --collective is asked for.
type collectiveFlags struct {
	on       bool
	ranks    int
	length   int
	peers    []string
	rank     int
	plain    bool
	rate     float64
	training bool
}

// collectiveHelp is the part of the command's help.
const collectiveHelp = "\n\n" +
	"  shoal bench --collective                        averaging instead: 4 ranks in this process, over loopback\n" +
	"  shoal bench --collective --rank 0 --peers 10.0.0.1:9000,10.0.0.2:9000 --rate 1000\n" +
	"                                                  one rank in this process, one process per --rank; rank 0 reports\n" +
	"  shoal bench --collective --training             what averaging every epoch and every 8 steps costs real agents\n\n" +
	"With --collective, plan, wire type, combination and segment are the configuration's, such as\n" +
	"--set averaging.plan=tree --set averaging.wire=int8, --steps counts all-reduces, and links are the agents' own,\n" +
	"encrypted, unless --unencrypted takes plain TCP."

func (f *collectiveFlags) add(cmd *cobra.Command) {
	cmd.Long += collectiveHelp
	flags := cmd.Flags()
	flags.BoolVar(&f.on, "collective", false, "measure averaging instead of training")
	flags.IntVar(&f.ranks, "ranks", 4, "`number` of ranks in this process, if there are no --peers; of agents, with --training")
	flags.IntVar(&f.length, "length", 700_490, "`number` of floats that are averaged; MobileNetV2 at width 0.5 has 700490")
	flags.StringSliceVar(&f.peers, "peers", nil, "`host:port` of every rank, in the order of ranks, each process listening at its own")
	flags.IntVar(&f.rank, "rank", 0, "this process's `place` in --peers, from 0")
	flags.BoolVar(&f.plain, "unencrypted", false, "send over plain TCP")
	flags.Float64Var(&f.rate, "rate", 0, "`Mbit/s` of each rank's link; the result then says what share of the bound is reached")
	flags.BoolVar(&f.training, "training", false, "run real agents, and tell the cost of averaging as a share of their time")
}

func (f *collectiveFlags) check() error {
	switch {
	case !f.on:
		if f.training || len(f.peers) > 0 {
			return errors.New("read flags: --training and --peers belong to --collective; give that too")
		}
		return nil
	case f.ranks < 1 || f.ranks > maxCollectiveRanks:
		return fmt.Errorf("read --ranks %d: outside 1..%d", f.ranks, maxCollectiveRanks)
	case f.length < 1 || f.length > maxCollectiveLen:
		return fmt.Errorf("read --length %d: outside 1..%d", f.length, maxCollectiveLen)
	case len(f.peers) > maxCollectiveRanks:
		return fmt.Errorf("read --peers: %d addresses, at most %d", len(f.peers), maxCollectiveRanks)
	case len(f.peers) > 0 && (f.rank < 0 || f.rank >= len(f.peers)):
		return fmt.Errorf("read --rank %d: outside 0..%d, the places in --peers", f.rank, len(f.peers)-1)
	case !(f.rate >= 0):
		return fmt.Errorf("read --rate %v: give Mbit/s from 0", f.rate)
	}
	return nil
}

// rankTimes is what one rank measured.
type rankTimes struct {
	Milliseconds []float64 `json:"ms"`           // of each all-reduce, opening and closing its links included
	CPU          float64   `json:"cpu_ns"`       // of the rank's process in all of them
	Sent         int64     `json:"sent"`         // bytes in one of them
	Hash         string    `json:"hash"`         // of the vector at the end
	Latency      float64   `json:"latency_s"`    // between ranks 0 and 1
	Shared       bool      `json:"shared"`       // the process holds all ranks
	Rank         int       `json:"rank"`         // whose this is
	Length       int       `json:"length"`       // of the vector, which all ranks must have the same
	Plan         string    `json:"plan"`         // likewise
	Wire         string    `json:"wire"`         // likewise
	Unencrypted  bool      `json:"unencrypted"`  // likewise
	Combine      string    `json:"combine"`      // likewise
	Segment      int       `json:"segment_size"` // likewise
}

// collective measures averaging: all ranks here, or one of them.
func (b *bench) averaging(ctx context.Context) (interface{ text() string }, error) {
	f := &b.collectiveFlags
	if f.training {
		return b.averagingCost(ctx)
	}
	if len(f.peers) > 0 {
		listener, err := net.Listen("tcp", f.peers[f.rank])
		if err != nil {
			return nil, fmt.Errorf("listen as rank %d: %w", f.rank, err)
		}
		return b.asRank(ctx, listener, f.peers, f.rank)
	}
	listeners, peers := make([]net.Listener, f.ranks), make([]string, f.ranks)
	for r := range listeners {
		var err error
		if listeners[r], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("listen as rank %d: %w", r, err)
		}
		peers[r] = listeners[r].Addr().String()
	}
	group, ctx := errgroup.WithContext(ctx)
	results := make([]interface{ text() string }, f.ranks)
	for r := range peers {
		group.Go(func() (err error) {
			results[r], err = b.asRank(ctx, listeners[r], peers, r)
			return err
		})
	}
	err := group.Wait()
	return results[0], err
}

// asRank takes part as one rank. Rank 0 gets the result of all, others their own.
func (b *bench) asRank(ctx context.Context, listener net.Listener, peers []string, rank int) (interface{ text() string }, error) {
	m, err := joinMesh(ctx, listener, peers, rank)
	if err != nil {
		return nil, err
	}
	defer m.close()
	stop := context.AfterFunc(ctx, m.close)
	defer stop()
	link, finish, err := b.linker(m, listener.Addr())
	if err != nil {
		return nil, err
	}
	defer finish()
	own := rankTimes{
		Rank: rank, Length: b.length, Wire: b.cfg.Averaging.Wire, Unencrypted: b.plain, Shared: len(b.peers) == 0,
		Combine: b.cfg.Averaging.Combine, Segment: b.cfg.Averaging.Segment,
	}
	plan, err := b.averagingPlan(len(peers))
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	own.Plan = plan.Encode()
	if own.Latency, err = m.latency(); err != nil {
		return nil, err
	}
	if err := b.allReduce(ctx, m, link, plan, &own); err != nil {
		return nil, err
	}
	all, err := gather(m, own)
	if err != nil || rank > 0 {
		return &own, err
	}
	return b.conclude(plan, all)
}

// averagingPlan is the configured plan; auto is chosen for links of --rate.
func (b *bench) averagingPlan(ranks int) (collective.Plan, error) {
	cfg := b.cfg.Averaging
	if cfg.Plan != collective.Auto {
		return collective.New(cfg.Plan, ranks)
	}
	links := make(collective.Matrix, ranks) // nothing is known of them
	if b.rate > 0 {
		links = collective.Uniform(ranks, 0, b.rate*1e6/8)
	}
	return collective.Choose(collective.Bytes(cfg.Wire, b.length, cfg.Segment), links, nil), nil
}

// allReduce averages the same vector again and again.
func (b *bench) allReduce(ctx context.Context, m *mesh, link linker, plan collective.Plan, own *rankTimes) error {
	vec, same := make([]float32, b.length), make([]float64, plan.Size)
	rng := rand.New(rand.NewPCG(b.cfg.Seed, uint64(m.rank)))
	for i := range vec {
		vec[i] = float32(rng.NormFloat64())
	}
	for r := range same {
		same[r] = 1
	}
	averager := collective.NewAverager(b.cfg.Averaging)
	var busy time.Duration
	for i := -b.warmup; i < b.steps; i++ {
		if err := m.barrier(); err != nil {
			return err
		}
		if i == 0 {
			busy = cpuTime()
		}
		began := time.Now()
		l, done, err := link(ctx, i+b.warmup)
		if err != nil {
			return err
		}
		result, err := averager.Mean(ctx, plan, m.rank, same, same, 0, vec, l)
		if err := errors.Join(err, done(err == nil)); err != nil {
			return err
		}
		averager.Commit()
		if i >= 0 {
			own.Milliseconds = append(own.Milliseconds, milliseconds(time.Since(began)))
		}
		own.Sent = result.Sent
	}
	own.CPU = float64((cpuTime() - busy).Nanoseconds())
	sum := sha256.Sum256(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(vec))), 4*len(vec)))
	own.Hash = hex.EncodeToString(sum[:])
	return m.barrier()
}

// text is one rank's line; rank 0 prints the result.
func (r *rankTimes) text() string {
	return fmt.Sprintf("rank %d: %d all-reduces of %d floats, median %.2f ms\n", r.Rank, len(r.Milliseconds), r.Length, median(r.Milliseconds))
}

// collectiveResult is what all-reduces of one kind cost. MB are of 10⁶ bytes.
type collectiveResult struct {
	Plan      string  `json:"plan"`
	Ranks     int     `json:"ranks"`
	Length    int     `json:"length"` // floats
	Wire      string  `json:"wire"`
	Combine   string  `json:"combine"`
	Segment   int     `json:"segment"`
	Encrypted bool    `json:"encrypted"`
	Processes int     `json:"processes"`
	Count     int     `json:"count"`     // all-reduces measured
	Median    float64 `json:"ms_median"` // of an all-reduce, at the rank that takes longest
	Min       float64 `json:"ms_min"`
	Max       float64 `json:"ms_max"`
	Bus       float64 `json:"bus_mb_s"`            // 2(n−1)/n of the vector on the wire, over the median
	Rate      float64 `json:"rate_mbit,omitempty"` // of a link, as given
	Bound     float64 `json:"bound_ms,omitempty"`  // 2(n−1)/n of the vector on the wire at that rate
	Share     float64 `json:"bound_share,omitempty"`
	Predicted float64 `json:"predicted_ms,omitempty"` // by the plan's cost at that rate and the latency measured
	Latency   float64 `json:"latency_us"`
	CPU       float64 `json:"cpu_ns_per_byte"` // of all ranks, over all bytes sent
	Sent      float64 `json:"bytes_sent"`      // by a rank in an all-reduce, mean over ranks
	SentMost  int64   `json:"bytes_sent_max"`
	Machine   machine `json:"machine"`
	Build     build   `json:"build"`
}

// conclude makes one result of all ranks'.
func (b *bench) conclude(plan collective.Plan, all []rankTimes) (*collectiveResult, error) {
	own, n := all[0], len(all)
	r := &collectiveResult{
		Plan: own.Plan, Ranks: n, Length: own.Length, Wire: own.Wire, Combine: own.Combine, Segment: own.Segment, Encrypted: !own.Unencrypted,
		Processes: n, Count: len(own.Milliseconds), Latency: own.Latency * 1e6, Machine: thisMachine(), Build: thisBuild(version),
	}
	slowest, cpu, sent := make([]float64, r.Count), 0.0, int64(0)
	for i, a := range all {
		if a.Length != own.Length || a.Plan != own.Plan || a.Wire != own.Wire || len(a.Milliseconds) != r.Count || a.Hash != own.Hash {
			return nil, fmt.Errorf("compare ranks: rank %d differs from rank 0 in its flags or its result; give all the same", i)
		}
		for k, ms := range a.Milliseconds {
			slowest[k] = max(slowest[k], ms)
		}
		sent += a.Sent
		r.SentMost = max(r.SentMost, a.Sent)
		if i == 0 || !a.Shared {
			cpu += a.CPU
		}
	}
	if own.Shared {
		r.Processes = 1
	}
	r.Median, r.Min, r.Max = median(slowest), slices.Min(slowest), slices.Max(slowest)
	wire := collective.Bytes(r.Wire, r.Length, r.Segment)
	least := 2 * float64(n-1) / float64(n) * float64(wire)
	r.Bus, r.Sent = least/r.Median/1e3, float64(sent)/float64(n)
	if sent > 0 {
		r.CPU = cpu / float64(sent) / float64(r.Count)
	}
	if r.Rate = b.rate; r.Rate > 0 {
		rate := r.Rate * 1e6 / 8
		r.Bound = least / rate * 1e3
		r.Share = r.Bound / r.Median
		segment := collective.Bytes(r.Wire, r.Segment, r.Segment)
		r.Predicted = 1e3 * plan.Cost(wire, segment, collective.Uniform(n, own.Latency, rate), nil)
	}
	return r, nil
}

func (r *collectiveResult) text() string {
	var s strings.Builder
	kind := map[bool]string{true: "encrypted", false: "unencrypted"}[r.Encrypted]
	fmt.Fprintf(&s, "%d ranks in %d processes average %d floats as %s by %s, %s\n", r.Ranks, r.Processes, r.Length, r.Wire, r.Plan, kind)
	fmt.Fprintf(&s, "  time       %.2f ms (%.2f to %.2f in %d all-reduces)\n", r.Median, r.Min, r.Max, r.Count)
	fmt.Fprintf(&s, "  bus        %.1f MB/s\n", r.Bus)
	if r.Rate > 0 {
		fmt.Fprintf(&s, "  bound      %.2f ms at %g Mbit/s: %.1f %% of it reached; the plan's cost says %.2f ms\n", r.Bound, r.Rate, 100*r.Share, r.Predicted)
	}
	fmt.Fprintf(&s, "  CPU        %.2f ns per byte sent, both ends\n", r.CPU)
	fmt.Fprintf(&s, "  sent       %.0f bytes by a rank, at most %d\n", r.Sent, r.SentMost)
	fmt.Fprintf(&s, "  latency    %.0f µs\n", r.Latency)
	return s.String()
}

// linker opens the links of one all-reduce; done closes them, or aborts them.
type linker func(ctx context.Context, round int) (l collective.Link, done func(well bool) error, err error)

// benchTag names an all-reduce as agents name theirs.
func benchTag(r roster.Roster, round int) roster.Tag {
	return roster.Tag{Lineage: "bench", Generation: r.Generation, Ballot: roster.Ballot{Round: uint64(round + 1), View: 1, Coordinator: r.Members[0]}}
}
