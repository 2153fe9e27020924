package main

import (
	"fmt"
	"slices"
	"strings"
)

// The forms of a study's table that are not a line for each configuration.
const (
	scaling = "scaling" // the papers' columns, by ranks
	batches = "batches" // the papers' columns, by batch
)

// page is one of docs/experiments: what it asks, and what of its rows it shows. No result stands here.
type page struct {
	name     string // of its file and of the experiment
	Title    string
	Question string            // in sentences
	Images   string            // what the images are, for those who take its accuracies elsewhere
	Columns  string            // what the table's columns do not say themselves
	pins     map[string]string // an axis' path, or variant, and its value in what a configuration is compared with
	table    string
	figures  []string // of the report, in order; those that the rows do not allow are left out
	part     bool     // its rows are part of the page collapse, and it has none of its own
}

// What the accuracies are of.
const (
	builtin = "The images are the ones that are built in, drawn by a procedure in ten classes: easier than photographs, so that differences between configurations say more than the accuracies themselves."
	cifar   = "The images are CIFAR-10, ten epochs or what the table says."
)

// pages are all that there can be, in the order of the index.
func pages() []page { return append(ofThePapers(), ofAgents()...) }

// ofThePapers are those whose experiments begin with the papers' design.
func ofThePapers() []page {
	return []page{
		{name: "papers-mobilenetv2", table: scaling, part: true},
		{name: "causes", part: true},
		{name: "shoal-48", part: true},
		{
			name: "shoal-24", Title: "One agent on each of 24 Raspberry Pis", Images: cifar,
			Question: "What does the preset shoal-48 reach when each of 24 Raspberry Pi 4s runs one agent of four threads, which is the cluster that [docs/lab.md](../lab.md) predicts the times of?",
			figures:  []string{"curve-test-accuracy-reestimated", "curve-train-loss", "phases"},
		},
		{
			name: "papers-squeezenet", Title: "The papers' scaling of SqueezeNet", table: scaling, Images: cifar,
			Question: "What happens to SqueezeNet 1.1, which has no batch norm, when two to 48 agents share ten epochs of CIFAR-10 as Papakyriakou and Barbounakis (2025, IJCA 187-47) had them: shards `i mod N`, batch 12, SGD 5e-4 with momentum, one average by a root after each epoch?",
			figures:  []string{"test-accuracy-running", "test-accuracy", "train-loss", "speed-up", "total-time"},
		},
		{
			name: "papers-batch", Title: "The papers' sweep of batches", table: batches, Images: cifar,
			Question: "How does the batch change the time of an epoch of MobileNetV2 on one node of two ranks, as Papakyriakou and Barbounakis (2025, IJCA 187-41) measured it? Times here are predicted for a Raspberry Pi 4 that runs Shoal; memory and CPU are measured on a real node by `shoal bench --sweep`.",
			figures:  []string{"total-time", "train-loss"},
		},
	}
}

// ofAgents are those of questions that any cluster asks.
func ofAgents() []page {
	return []page{
		{
			name: "federated-shards", Title: "Shards of different labels", Images: builtin, pins: map[string]string{"variant": "equal-mix"},
			Question: "What does it cost ten agents that their shards differ: labels drawn from a Dirichlet distribution (Hsu et al. 2019, arXiv 1909.06335), or two labels each (McMahan et al. 2017, arXiv 1602.05629), against shards of equal mix? And does it matter whether momentum is each agent's own or averaged?",
			figures:  []string{"test-accuracy", "curve-test-accuracy-reestimated", "distance"},
		},
		{
			name: "federated-participation", Title: "A part of the agents in each round", Images: builtin, pins: map[string]string{"schedule.participation": "1"},
			Question: "What is lost when only half or a fifth of ten agents train in a round (McMahan et al. 2017, arXiv 1602.05629), on equal and on skewed shards? As many images are seen in all, so that fewer agents in a round are more rounds.",
			figures:  []string{"test-accuracy-reestimated", "test-accuracy", "curve-test-accuracy-reestimated", "total-time"},
		},
		{
			name: "stragglers", Title: "Slow agents", Images: builtin, pins: map[string]string{"variant": "none"},
			Question: "One agent in ten is slow, always the same or by chance. Is it better to wait for it, which costs time, or to cut it when patience ends, which costs the images that it had not seen?",
			figures:  []string{"phases", "test-accuracy", "curve-test-accuracy-reestimated"},
		},
		{
			name: "unequal-nodes", Title: "Fast nodes and slow ones", Images: builtin, pins: map[string]string{"variant": "alike"},
			Question: "Four of eight agents train at a third of the others' speed. Should they be waited for, be cut when patience ends, or have a third of the images from the start, so that all are ready at about the same time?",
			figures:  []string{"phases", "test-accuracy", "curve-test-accuracy-reestimated"},
		},
		{
			name: "churn", Title: "Agents that come and go", Images: builtin, pins: map[string]string{"variant": "all-stay"},
			Question: "What does the model lose when two of eight agents are away for a while, or when half of them leave for good? The shards of each epoch are drawn anew for who is there.",
			figures:  []string{"test-accuracy", "curve-test-accuracy-reestimated", "phases"},
		},
		{
			name: "exchanges", Title: "Plans and wire types", Images: builtin, pins: map[string]string{"variant": "ring"},
			Question: "Sixteen agents average by a ring, trees, a star or a mesh, in numbers of 32, 16 or 8 bits. How long does that take on Raspberry Pis, how much does each send, and does the model notice? And what if they never average all together, but in pairs drawn anew in each round (randomized gossip, Boyd et al. 2006; AD-PSGD, Lian et al. 2017, arXiv 1710.06952; GoSGD, Blot et al. 2016, arXiv 1611.09726), which agents of Shoal do not do?",
			Columns:  "Numbers have 32 bits where the name does not say otherwise. By ring, tree, star and mesh all members end a round with the same state, which is the one scored. In pairs each has a state of its own, and a partner that it waits for; scored is the mean of all members' states, which none of them has, and *members apart* is how far theirs are from it after the last round: the root mean square of the distance of the parameters, in parts of their length. `pairs-often` averages after every step, so that sixteen members have as many exchanges of two as it takes to reach everybody, four, where the others have one of all. Virtual time begins with the start of an agent; averaging and waiting are those of the member that was last in each round.",
			figures:  []string{"phases", "test-accuracy"},
		},
		{
			name: "outer", Title: "Outer optimisers", Images: builtin, pins: map[string]string{"variant": "mean"},
			Question: "Long rounds save exchanges and cost accuracy. How much of that does an outer optimiser give back, that makes more of each mean: SlowMo (Wang et al. 2020, arXiv 1910.00643) or Nesterov's momentum (Douillard et al. 2023, arXiv 2311.08105)?",
			figures:  []string{"test-accuracy-reestimated", "test-accuracy", "curve-test-accuracy-reestimated", "total-time"},
		},
	}
}

// pageOf is the page that the rows of an experiment are for.
func pageOf(experiment string) (page, error) {
	all := pages()
	if i := slices.IndexFunc(all, func(p page) bool { return p.name == experiment }); i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	return page{}, fmt.Errorf("no page is made of experiment %q; there are pages of %s", experiment, strings.Join(names, ", "))
}
