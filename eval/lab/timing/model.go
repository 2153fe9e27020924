// Package timing says how long the parts of a training run take on machines and a network that are described, not present:
// the clock of a virtual cluster. What it rests on is told in plain sentences by Assumptions, and docs/lab.md tells how its
// predictions compare with real agents over shaped links.
package timing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"shoal/gossip/collective"
	"shoal/learner"
)

// Work is what the machines do.
type Work struct {
	Model         string  // as learner.model
	Width         float64 // of a MobileNet; 0 counts as 1
	Input         int     // side of the images, pixels
	Batch         int     // of one agent
	Threads       int     // of one agent; 0: all cores of its node
	Parameters    int     // elements of the model
	Train         int     // images of the whole training set
	Test          int     // images of the whole test set
	Agents        int
	AgentsPerNode int  // 0: 1
	Durable       bool // as rounds.durable: round; else nobody waits for the disk
	Segment       int  // elements of a segment on the wire; 0: the configuration's default
}

func (w Work) width() float64 {
	if w.Width == 0 || w.Model != mobileNet {
		return 1
	}
	return w.Width
}

// mobileNet is the model that has a width.
const mobileNet = learner.MobileNetV2

func (w Work) title() string {
	if w.Model != mobileNet {
		return w.Model
	}
	return fmt.Sprintf("%s at width %g", w.Model, w.width())
}

func (w Work) validate() error {
	switch {
	case w.Agents < 1 || w.AgentsPerNode < 0:
		return fmt.Errorf("agents: %d, %d on a node; give 1 or more", w.Agents, w.AgentsPerNode)
	case w.Batch < 1 || w.Input < 1:
		return fmt.Errorf("batch %d of %d×%d; give positive ones", w.Batch, w.Input, w.Input)
	case w.Segment < 0 || w.Threads < 0 || w.Parameters < 0:
		return fmt.Errorf("segment %d, threads %d, parameters %d; give none that is negative", w.Segment, w.Threads, w.Parameters)
	}
	return nil
}

// Model is the clock of one experiment. It is for one goroutine: Begin changes it.
type Model struct {
	cfg      Config
	work     Work
	profile  Profile
	pace     pace      // of one agent
	evaluate float64   // seconds an image, one agent
	slow     []float64 // by rank, in this round
	links    collective.Matrix
	nodes    []int
	jitter   *rand.Rand
}

// New makes the model of a configuration for the work. Zero values of the device are its profile's.
func New(cfg Config, work Work) (*Model, error) {
	work.AgentsPerNode = max(work.AgentsPerNode, 1)
	if work.Segment == 0 {
		work.Segment = collective.Defaults().Segment
	}
	err := cfg.Validate()
	if err == nil {
		err = work.validate()
	}
	m := &Model{cfg: cfg, work: work}
	if err == nil {
		err = m.settle()
	}
	if err != nil {
		return nil, fmt.Errorf("model the time: %w", err)
	}
	m.connect()
	m.Begin(0)
	return m, nil
}

// settle fills the device from its profile, and says how fast one agent is.
func (m *Model) settle() error {
	d := &m.cfg.Device
	if d.Profile != "" {
		p, err := profileNamed(d.Profile)
		if err != nil {
			return err
		}
		m.profile = p
	}
	p := m.profile
	whole := pace{image: 1 / d.ImagesPerSecond, step: d.Step.Seconds()}
	if d.ImagesPerSecond == 0 {
		if p.Name == ThisMachine || p.Name == "" {
			return fmt.Errorf("device %q: give images_per_second too, or measure it with shoal lab device", p.Name)
		}
		var err error
		if whole, err = p.pace(m.work); err != nil {
			return err
		}
	}
	if d.Cores == 0 {
		d.Cores = p.Cores
	}
	share := m.share()
	m.pace = pace{whole.image / share, whole.step / share}
	m.evaluate = m.pace.image * p.Forward
	if d.Evaluate > 0 {
		m.evaluate = 1 / (d.Evaluate * share)
	}
	for _, v := range []struct{ have, profiles *float64 }{{&d.Exchange, &p.Exchange}, {&d.Encode, &p.Encode}, {&d.Keep, &p.Keep}, {&d.Hash, &p.Hash}, {&d.Disk, &p.Disk}} {
		if *v.have == 0 {
			*v.have = *v.profiles
		}
	}
	if d.Start == 0 {
		d.Start = p.Start
	}
	if d.Sync == 0 {
		d.Sync = p.Sync
	}
	if d.Round == 0 {
		d.Round = p.Round
	}
	return nil
}

// share is the part of its node that one agent has.
func (m *Model) share() float64 {
	if m.cfg.Device.Share > 0 {
		return m.cfg.Device.Share
	}
	share := 1 / float64(m.work.AgentsPerNode)
	if cores := m.cfg.Device.Cores; m.work.Threads > 0 && cores > 0 {
		share = min(share, float64(m.work.Threads)/float64(cores))
	}
	return share
}

// crowd is by how much longer an agent's work on so many threads takes because its node has too few cores for that of all
// its agents: 1, as long as there are enough.
func (m *Model) crowd(threads int) float64 {
	cores := m.cfg.Device.Cores
	if cores == 0 {
		return 1
	}
	return max(1, m.agents()*float64(threads)/float64(cores))
}

// Begin draws what is random of a round: who is slow in it, and how late segments come. It is a pure function of the seed
// and the round, so that a run that is resumed has the same times.
func (m *Model) Begin(round int) {
	m.slow = m.cfg.Stragglers.draw(m.work.Agents, round)
	m.jitter = rand.New(rand.NewPCG(m.cfg.Stragglers.Seed^jitterStream, uint64(round)))
}

// jitterStream tells the network's draws from the stragglers'.
const jitterStream = 0x6a69747465720000

// Start is from the start of an agent's process to its first local step.
func (m *Model) Start() time.Duration { return m.cfg.Device.Start }

// Steps is how long a rank trains on so many images in so many steps, in the round begun last.
func (m *Model) Steps(rank, images, steps int) time.Duration {
	slow := 1.0
	if rank >= 0 && rank < len(m.slow) {
		slow = m.slow[rank]
	}
	return seconds(slow * (float64(images)*m.pace.image + float64(steps)*m.pace.step))
}

// Evaluate is how long an agent scores so many images: its share of an evaluation, if members divide it. It looks at the
// state that was committed meanwhile, which takes passes over that.
func (m *Model) Evaluate(images int) time.Duration {
	return seconds(float64(images)*m.evaluate + m.passes(8*float64(m.work.Parameters)))
}

// Keep is how long an agent needs, beside the exchange, to take over a state of so many elements: it copies its work out,
// makes the state that follows, hashes and stores it, and does what a round takes whatever the state. All cores do that, as
// far as other agents of the node leave them.
func (m *Model) Keep(elements int) time.Duration {
	d, bytes := &m.cfg.Device, 4*float64(elements)
	kept := m.passes(bytes) + d.Round.Seconds()*m.crowd(1)
	if d.Hash > 0 {
		kept += bytes / d.Hash / m.cores()
	}
	if d.Disk > 0 && m.work.Durable {
		kept += bytes/d.Disk + d.Sync.Seconds()
	}
	return seconds(kept)
}

// passes are the seconds in which an agent's part of its node takes over so many bytes, without hashing them.
func (m *Model) passes(bytes float64) float64 {
	if m.cfg.Device.Keep == 0 {
		return 0
	}
	return bytes / m.cfg.Device.Keep * m.agents()
}

// agents is by how many agents a node is shared.
func (m *Model) agents() float64 {
	if m.cfg.Device.Share > 0 {
		return 1 / m.cfg.Device.Share
	}
	return float64(m.work.AgentsPerNode)
}

// cores is how many cores of its node an agent has while all its agents are busy.
func (m *Model) cores() float64 { return max(float64(m.cfg.Device.Cores), 1) / m.agents() }

// Latency is how long a short message takes from one rank to another.
func (m *Model) Latency(from, to int) time.Duration {
	switch {
	case from == to:
		return 0
	case m.nodes[from] == m.nodes[to]:
		return localLatency
	}
	return m.cfg.Network.Latency + seconds(messageBits/float64(m.cfg.Network.Rate))
}

func seconds(s float64) time.Duration {
	if s > math.MaxInt64/2e9 {
		return math.MaxInt64 / 2
	}
	return time.Duration(math.Round(s * 1e9))
}
