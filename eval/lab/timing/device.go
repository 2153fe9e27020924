package timing

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// ThisMachine is the profile of the machine that computes the experiment. It has no rates of its own: Measure gives them.
const ThisMachine = "this-machine"

// Device is a node. In a file it is the name of a profile, or a mapping; what that leaves out is the profile's, which is
// that of Defaults if none is named.
type Device struct {
	Profile         string        `yaml:"profile" json:"profile,omitempty"`
	ImagesPerSecond float64       `yaml:"images_per_second" json:"images_per_second,omitempty"` // trained by a whole node at this work's batch; 0: the profile's
	Step            time.Duration `yaml:"step" json:"step,omitempty"`                           // of a step, beside its images
	Evaluate        float64       `yaml:"evaluate" json:"evaluate,omitempty"`                   // images per second evaluated by a whole node; 0: from training
	Start           time.Duration `yaml:"start" json:"start,omitempty"`                         // from the start of the process to the first local step
	Exchange        float64       `yaml:"exchange" json:"exchange,omitempty"`                   // bytes per second that an agent sends, and receives, if the network is no bound
	Encode          float64       `yaml:"encode" json:"encode,omitempty"`                       // values per second that an agent encodes, or decodes, beside that, where the wire is not fp32
	Keep            float64       `yaml:"keep" json:"keep,omitempty"`                           // bytes per second at which a whole node takes over a state: passes over it, and a file
	Hash            float64       `yaml:"hash" json:"hash,omitempty"`                           // bytes per second of SHA-256, one core
	Round           time.Duration `yaml:"round" json:"round,omitempty"`                         // of a round, whatever the state: messages, promises, the journal
	Disk            float64       `yaml:"disk" json:"disk,omitempty"`                           // bytes per second written, where the work is durable
	Sync            time.Duration `yaml:"sync" json:"sync,omitempty"`                           // the disk takes to make a round's promises durable
	Cores           int           `yaml:"cores" json:"cores,omitempty"`                         // of a node; 0: the profile's
	Share           float64       `yaml:"share" json:"share,omitempty"`                         // of the node that one agent has; 0: by agents on a node
}

// UnmarshalYAML reads the name of a profile or a mapping.
func (d *Device) UnmarshalYAML(decode func(any) error) error {
	var name string
	if err := decode(&name); err == nil {
		*d = Device{Profile: name}
		return nil
	}
	type plain Device
	p := plain{Profile: Defaults().Device.Profile}
	if err := decode(&p); err != nil {
		return err
	}
	*d = Device(p)
	return nil
}

func (d Device) validate() error {
	var errs []error
	if d.Profile != "" {
		if _, err := profileNamed(d.Profile); err != nil {
			errs = append(errs, err)
		}
	}
	for _, v := range []struct {
		key   string
		value float64
	}{
		{"images_per_second", d.ImagesPerSecond}, {"evaluate", d.Evaluate}, {"exchange", d.Exchange}, {"encode", d.Encode}, {"keep", d.Keep}, {"hash", d.Hash}, {"cores", float64(d.Cores)}, {"disk", d.Disk},
		{"step", d.Step.Seconds()}, {"start", d.Start.Seconds()}, {"sync", d.Sync.Seconds()}, {"round", d.Round.Seconds()},
	} {
		if v.value != 0 && !positive(v.value) {
			errs = append(errs, fmt.Errorf("device.%s: %v; give a positive value, or leave it out for the profile's", v.key, v.value))
		}
	}
	if !(d.Share >= 0 && d.Share <= 1) {
		errs = append(errs, fmt.Errorf("device.share: %v is outside [0, 1]; 0.5 gives an agent half of its node", d.Share))
	}
	return errors.Join(errs...)
}

// Profile is what is known, or assumed, of a kind of node.
type Profile struct {
	Name     string        `yaml:"name"`
	About    string        `yaml:"about"`    // one line
	Estimate bool          `yaml:"estimate"` // nothing of it was measured on such a device
	Cores    int           `yaml:"cores"`
	Achieved float64       `yaml:"achieved"` // share of the rates below that is taken; they are limits if it is below 1
	Scale    float64       `yaml:"scale"`    // and a factor on them, where they are another device's
	Rates    []Measured    `yaml:"rates"`
	RatesOf  string        `yaml:"rates_of"` // the profile whose rates are scaled
	Forward  float64       `yaml:"forward"`  // share of a training step that its forward pass takes
	Exchange float64       `yaml:"exchange"` // as Device has them
	Encode   float64       `yaml:"encode"`
	Keep     float64       `yaml:"keep"`
	Hash     float64       `yaml:"hash"`
	Round    time.Duration `yaml:"round"`
	Disk     float64       `yaml:"disk"`
	Sync     time.Duration `yaml:"sync"`
	Start    time.Duration `yaml:"start"`
	Assumes  []string      `yaml:"assumes"` // sentences, each with its source
}

// Measured is how fast a node trains: between From and To images per second.
type Measured struct {
	Model string  `yaml:"model"`
	Width float64 `yaml:"width"`
	Input int     `yaml:"input"`
	Batch int     `yaml:"batch"` // of each agent; 0: whatever the batch
	From  float64 `yaml:"from"`
	To    float64 `yaml:"to"`
}

//go:embed profiles.yaml
var profilesText []byte

// Profiles are the known ones. The slice is the caller's.
func Profiles() []Profile {
	var all []Profile
	if err := yaml.UnmarshalWithOptions(profilesText, &all, yaml.Strict()); err != nil {
		panic("timing: profiles.yaml: " + err.Error()) // a test reads it
	}
	for i, p := range all {
		if of := slices.IndexFunc(all, func(q Profile) bool { return q.Name == p.RatesOf }); of >= 0 {
			all[i].Rates = all[of].Rates
		}
	}
	return all
}

func profileNamed(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("device: profile %.40q is unknown; give one of %s, or a mapping with images_per_second", name, strings.Join(names, ", "))
}

// pace is how long training takes on a whole node: of an image, and of a step beside its images.
type pace struct{ image, step float64 } // seconds

// pace is the profile's for the work: through the rates at the two batches nearest to it, since a step's time is a constant
// (the parameters' traffic) and a part for each image; with one rate, or one for any batch, all time is the images'.
func (p Profile) pace(w Work) (pace, error) {
	var known []Measured
	for _, m := range p.Rates {
		if m.Model == w.Model && m.Width == w.width() && m.Input == w.Input {
			known = append(known, m)
		}
	}
	scale := p.Achieved * max(p.Scale, 0)
	if p.Scale == 0 {
		scale = p.Achieved
	}
	switch len(known) {
	case 0:
		return pace{}, fmt.Errorf("device: profile %s has no rate for %s at %d×%d; give device: {profile: %s, images_per_second: …}",
			p.Name, w.title(), w.Input, w.Input, p.Name)
	case 1:
		return pace{image: 1 / (known[0].middle() * scale)}, nil
	}
	slices.SortFunc(known, func(a, b Measured) int { return abs(a.Batch-w.Batch) - abs(b.Batch-w.Batch) })
	a, b := known[0], known[1]
	ta, tb := float64(a.Batch)/a.middle(), float64(b.Batch)/b.middle() // of a step
	image := (tb - ta) / float64(b.Batch-a.Batch)
	step := ta - image*float64(a.Batch)
	if image <= 0 || step < 0 {
		image, step = 1/a.middle(), 0
	}
	return pace{image / scale, step / scale}, nil
}

func (m Measured) middle() float64 { return (m.From + m.To) / 2 }

func abs(x int) int { return max(x, -x) }
