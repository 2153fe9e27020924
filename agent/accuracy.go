package agent

import (
	"fmt"
	"math"
)

// agreement is how far the members' work of one round agrees, from the norms that the exchange knows anyway.
type agreement struct {
	Members int
	Images  float64 // of a member's work, on average
	Mean    float64 // squared L2 norm of the mean of the deltas
	Each    float64 // mean of the squared norms of the deltas
}

// agreementOf is the agreement of a round, given the members' norms, the images of their work together and the norm of
// its mean. Nothing is known (false) of fewer than two members, of norms that are missing, or of a mean that is longer
// than what it is of, as with an outer step or clipped work.
func agreementOf(norms []float64, images int64, mean float64) (agreement, bool) {
	a := agreement{Members: len(norms), Mean: mean * mean}
	for _, norm := range norms {
		a.Each += norm * norm / float64(len(norms))
		if !(norm > 0) || math.IsInf(norm, 0) {
			return a, false
		}
	}
	a.Images = float64(images) / float64(max(len(norms), 1))
	return a, len(norms) >= 2 && images > 0 && mean > 0 && a.Mean <= a.Each*(1+1e-6)
}

// signal estimates the squared norm of what all members' work has in common, without the noise that is left in its mean:
// (n·|mean|² − each)/(n−1). It may come out below zero, when there is nothing but noise.
func (a agreement) signal() float64 {
	n := float64(a.Members)
	return (n*a.Mean - a.Each) / (n - 1)
}

// noiseScale is the simple noise scale in images (McCandlish et al. 2018, arXiv 1812.06162, appendix A), with a member's
// whole work for the gradient of a small batch and the mean for that of a large one: the size of a batch whose noise is as
// large as its signal. Steps that follow each other agree more than batches that are drawn at once, so it is a rough lower
// bound. +Inf is nothing but noise.
func (a agreement) noiseScale() float64 {
	signal := a.signal()
	if signal <= 0 {
		return math.Inf(1)
	}
	n := float64(a.Members)
	return a.Images * (a.Each - a.Mean) * n / (n - 1) / signal
}

// distance is the root mean square of the members' distance from their mean, in lengths of the mean.
func (a agreement) distance() float64 { return math.Sqrt(max(a.Each-a.Mean, 0) / a.Mean) }

// Kinds of Warning.
const (
	warnSaturated = "saturated" // the members find the same: more of them add nothing
	warnApart     = "apart"     // the members' work cancels out
	warnShort     = "short"     // an epoch has too few steps
)

// Warning says that accuracy suffers, or would with more agents, and what to change.
type Warning struct {
	Kind string `json:"kind"` // saturated | apart | short
	Text string `json:"text"`
}

const (
	// saturatedAt is the share of what a mean is of, in images, below which the noise scale lies when further members
	// would only repeat: beyond four times the noise scale a larger batch saves a fifth of the steps at most
	// (McCandlish et al. 2018, equation 2.11).
	saturatedAt = 0.25
	// apartAt is the least part that what members have in common has of their mean, to the noise left in it, both squared.
	apartAt = 0.1
	// shortAt is the least number of steps of an epoch.
	shortAt = 20
	// relief is how far back over a limit a value must be before its warning ends.
	relief = 1.5
	// smoothing is the weight of the newest round, and patience how many rounds in a row must say so: momentum and the
	// luck of a round move every value by a half.
	smoothing = 0.2
	patience  = 5
)

// accuracy watches the agreement of rounds. The loop owns it; the zero value has seen nothing.
type accuracy struct {
	smooth agreement
	rounds int // seen with so many members
	marks  map[string]int
	on     map[string]Warning
}

// sign is one value against its limit: below it there is something to warn of.
type sign struct {
	kind         string
	value, limit float64
	text         string
}

// see takes a round's agreement, and the steps that an epoch has for each member; it returns the warnings that begin and
// the kinds of those that end with it. A warning begins after patience rounds below a limit in a row, and ends after as
// many above it by relief.
func (w *accuracy) see(a agreement, stepsPerEpoch int) (begun []Warning, ended []string) {
	if w.rounds == 0 || w.smooth.Members != a.Members {
		w.smooth, w.rounds, w.marks = a, 0, map[string]int{}
	}
	w.rounds++
	w.smooth.Mean += smoothing * (a.Mean - w.smooth.Mean)
	w.smooth.Each += smoothing * (a.Each - w.smooth.Each)
	w.smooth.Images += smoothing * (a.Images - w.smooth.Images)
	for _, s := range w.smooth.signs(stepsPerEpoch) {
		_, on := w.on[s.kind]
		if on && s.value > relief*s.limit || !on && s.value < s.limit {
			w.marks[s.kind]++
		} else {
			w.marks[s.kind] = 0
		}
		if w.marks[s.kind] < patience {
			continue
		}
		w.marks[s.kind] = 0
		if on {
			delete(w.on, s.kind)
			ended = append(ended, s.kind)
			continue
		}
		if w.on == nil {
			w.on = map[string]Warning{}
		}
		w.on[s.kind] = Warning{s.kind, s.text}
		begun = append(begun, w.on[s.kind])
	}
	return begun, ended
}

// signs are what the guard looks at.
func (a agreement) signs(stepsPerEpoch int) []sign {
	all := a.Images * float64(a.Members)
	scale := a.noiseScale()
	return []sign{
		{warnSaturated, scale / all, saturatedAt, fmt.Sprintf(
			"members find nearly the same: a mean is of %.0f images, and the gradient noise scale is %.0f; more agents would buy speed with accuracy. "+
				"Set a smaller rounds.steps or learner.batch, or train for more epochs", all, scale)},
		{warnApart, all / scale, apartAt, fmt.Sprintf(
			"members' work cancels out: they are %.1f lengths of their mean away from it, as unrelated work is; averages lose what was trained. "+
				"Set a smaller rounds.steps, a smaller learner.sgd.rate, averaging.momentum: true or data.partition: shuffled", a.distance())},
		{warnShort, float64(stepsPerEpoch), shortAt, fmt.Sprintf(
			"an epoch has %d steps for each member, which is few to learn by; more agents would buy speed with accuracy. "+
				"Set a smaller learner.batch, or train for more epochs", stepsPerEpoch)},
	}
}

// warnings are those in force, in the order of their kinds.
func (w *accuracy) warnings() []Warning {
	list := []Warning{}
	for _, kind := range []string{warnApart, warnSaturated, warnShort} {
		if x, ok := w.on[kind]; ok {
			list = append(list, x)
		}
	}
	return list
}
