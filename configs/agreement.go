package configs

import (
	"fmt"
	"slices"
	"strings"
)

// own are the paths and sections that members may set differently: they decide how this agent does its part, not what
// comes out. Every other path is shared, so that a new key is shared until someone has thought about it.
func own() []string {
	return []string{
		"name", "state", "keep",
		"data.set", // members may keep the same images in different places; their hash is compared instead
		"learner.threads",
		"learner.weights", // likewise: the hash of the state they give is compared
		"rounds.expect", "rounds.min_members", "rounds.form", "rounds.backoff", "rounds.gather", "rounds.deadline", "rounds.durable",
		"averaging.deadline",
		"gossip", "p2p", "http", "log",
		"eval.batch",
	}
}

// Agreement is what all members of a run must have the same, as path → value: everything that changes its results.
func (c Config) Agreement() map[string]string {
	shared := map[string]string{}
	for _, f := range fields() {
		section, _, _ := strings.Cut(f.path, ".")
		if !slices.Contains(own(), f.path) && !slices.Contains(own(), section) {
			shared[f.path] = yamlValue(f, &c)
		}
	}
	return shared
}

// Differences lists what two agreements do not agree on, sorted, each as "learner.width: 0.5 here, 1 there", where a is
// here and b is there.
func Differences(a, b map[string]string) []string {
	const none = "not known"
	var list []string
	for path, here := range a {
		there, ok := b[path]
		if !ok {
			there = none
		}
		if !ok || here != there {
			list = append(list, fmt.Sprintf("%s: %s here, %s there", path, here, there))
		}
	}
	for path, there := range b {
		if _, ok := a[path]; !ok {
			list = append(list, fmt.Sprintf("%s: %s here, %s there", path, none, there))
		}
	}
	slices.Sort(list)
	return list
}

// Run is what a new member needs to know of this configuration to take part: as YAML, every value that is not the
// default, but for those that are each agent's own: its name, files, addresses and threads.
func (c Config) Run() string {
	defaults := Defaults()
	return c.yaml(nil, func(f field) bool {
		section, _, _ := strings.Cut(f.path, ".")
		switch {
		case slices.Contains([]string{"name", "state", "keep", "learner.threads", "eval.batch"}, f.path),
			slices.Contains([]string{"gossip", "p2p", "http", "log"}, section):
			return false
		}
		return yamlValue(f, &c) != yamlValue(f, &defaults)
	})
}
