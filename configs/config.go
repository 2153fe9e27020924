// Package configs composes the configurations of the other packages into one, loads it strictly, says where each value
// came from, and carries the presets.
//
// A value is taken from the first of these that has it: a flag, a SHOAL_… environment variable, the YAML file, the preset
// that the file, environment or flag names, the default. A path names a value: the YAML keys from the top, joined by
// dots, such as learner.sgd.rate. Its environment variable is the path in upper case with underscores,
// SHOAL_LEARNER_SGD_RATE. File names in a configuration are relative to the current directory.
package configs

import (
	"shoal/eval"
	"shoal/gossip"
	"shoal/gossip/collective"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
	"shoal/learner"
	"shoal/shards"
)

// Config is everything that an agent can be told.
type Config struct {
	Name      string            `yaml:"name"`  // human name of this agent, at most 64 bytes; Load gives the host's when empty
	State     string            `yaml:"state"` // directory of the identity, checkpoints, journal and reports
	Seed      uint64            `yaml:"seed"`  // of all that is random in the run: initial parameters, shards, augmentation
	Keep      int               `yaml:"keep"`  // checkpoints kept, the newest ones
	Scaling   Scaling           `yaml:"scaling"`
	Data      shards.Config     `yaml:"data"`
	Learner   learner.Config    `yaml:"learner"`
	Rounds    roster.Config     `yaml:"rounds"`
	Averaging collective.Config `yaml:"averaging"`
	Gossip    gossip.Config     `yaml:"gossip"`
	P2P       p2p.Config        `yaml:"p2p"`
	Eval      eval.Config       `yaml:"eval"`
	HTTP      HTTP              `yaml:"http"`
	Log       Log               `yaml:"log"`
}

// HTTP says where status, metrics and reports are served. They are neither encrypted nor authenticated; what steers the
// agent wants a token of the state directory, and comes from the same machine.
type HTTP struct {
	Listen      string `yaml:"listen"`       // host:port; port 0: any free one; empty: no HTTP at all
	AllowRemote bool   `yaml:"allow_remote"` // let listen be an address that other machines can reach
	Obey        string `yaml:"obey"`         // whose requests to pause, resume or leave count: members | self; members: any member may pass one on
}

// Log says what is logged, to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug | info | warn | error
	Format string `yaml:"format"` // console | json | auto: console on a terminal, json elsewhere
}

// Defaults are the values of an absent configuration. Name is empty.
func Defaults() Config {
	return Config{
		State: "shoal-state", Seed: 1, Keep: 2, Scaling: Scaling{Epochs: 10},
		Data: shards.Defaults(), Learner: learner.Defaults(), Rounds: roster.Defaults(), Averaging: collective.Defaults(),
		Gossip: gossip.Defaults(), P2P: p2p.Defaults(), Eval: eval.Defaults(),
		HTTP: HTTP{Listen: "127.0.0.1:7948", Obey: "members"}, Log: Log{Level: "info", Format: "auto"},
	}
}
