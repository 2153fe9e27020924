package learner

import (
	"math"
	"math/rand/v2"
	"strings"

	"shoal/learner/graph"
)

// draw sets parameters and running statistics to where training begins, and the momentum to zero. Filters are uniform in
// ±√(6/fan) (he, He et al. 2015) or ±√(6/(inputs+outputs)) (xavier, Glorot & Bengio 2010), scales are 1 and biases 0;
// only operations that round the same everywhere are used. he is torchvision's: the fan is the inputs in SqueezeNet, but
// the outputs in MobileNetV2, whose filters thereby begin small. Batch norm hides their size from the next layer, but the
// smaller a filter is the further a step turns it, and a model drawn by inputs learns slower at the same rate. Under he
// the classifier begins near zero, too: large first logits cost the first hundred steps.
//
// Config.InitScale makes the filters before batch norm smaller or larger. What they compute stays, but a step of rate r
// turns filters of scale s as far as one of rate r/s² would turn those of scale 1 [van Laarhoven 2017, arXiv 1706.05350],
// and moves scales, biases and the classifier by r: a small s with a small rate keeps the classifier, whose steps a small
// batch makes noisy, from undoing between two averages what the filters learn.
//
// Config.InitBranch is what the last batch norm of a residual branch multiplies by at first. With 0 a block passes on its
// input until it has learnt something better [Goyal et al. 2017, arXiv 1706.02677, section 5.1]: a shallow net, whose
// gradients are less noisy, begins.
func (l *Learner) draw(seed uint64) {
	for i, t := range l.net.Params {
		values := l.params[t.Offset:][:t.Len()]
		switch t.Kind {
		case graph.Filter:
			in, out := t.Fans()
			fan := float64(in)
			switch {
			case l.cfg.Init == "xavier":
				fan = float64(in + out)
			case l.cfg.Model == MobileNetV2:
				fan = float64(out)
			}
			limit := math.Sqrt(6 / fan)
			classifier := strings.HasPrefix(t.Name, "classifier.")
			if classifier && l.cfg.Init == "he" {
				limit = 0.01 * math.Sqrt(3)
			}
			if !classifier && len(l.running) > 0 {
				limit *= l.cfg.InitScale
			}
			uniform(values, limit, rand.New(rand.NewPCG(seed, uint64(i))))
		case graph.Scale:
			fill(values, 1)
		case graph.Branch:
			fill(values, float32(l.cfg.InitBranch))
		case graph.Bias:
			clear(values)
			if l.cfg.Model == SqueezeNet11 && l.cfg.Init == "he" && t.Name == "classifier.1.bias" {
				fill(values, 1) // before a ReLU: a class whose logits are all 0 could never learn, and softmax ignores what is common
			}
		default:
			clear(values)
		}
	}
	for _, t := range l.net.Running {
		value := float32(0)
		if t.Kind == graph.Variance {
			value = 1
		}
		fill(l.running[t.Offset:][:t.Len()], value)
	}
	clear(l.momentum)
}

// uniform draws from ±limit.
func uniform(values []float32, limit float64, rng *rand.Rand) {
	for i := range values {
		values[i] = float32((2*rng.Float64() - 1) * limit)
	}
}

func fill(values []float32, value float32) {
	for i := range values {
		values[i] = value
	}
}
