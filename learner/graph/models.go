package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"

	"shoal/learner/kernel"
)

// channels is v·width rounded to a multiple of 8, but not down by more than a tenth, as torchvision rounds.
func channels(v int, width float64) int {
	scaled := float64(v) * width
	c := max(8, int(scaled+4)/8*8)
	if float64(c) < 0.9*scaled {
		c += 8
	}
	return c
}

// MobileNetV2 builds the net of Sandler et al. 2018 as torchvision does, for classes instead of 1000. Dropout is off.
func MobileNetV2(spec Spec) (*Net, error) {
	if !(spec.Width > 0) {
		return nil, fmt.Errorf("build mobilenet_v2: width %v must be positive", spec.Width)
	}
	return build(spec, func(n *Net, x *G.Node) *G.Node {
		in := channels(32, spec.Width)
		x = n.convNorm("features.0", x, in, 3, 2)
		index := 1
		for _, stage := range [...]struct{ expand, channels, blocks, stride int }{
			{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1},
		} {
			out := channels(stage.channels, spec.Width)
			for b := range stage.blocks {
				stride := 1
				if b == 0 {
					stride = stage.stride
				}
				x = n.invertedResidual(fmt.Sprintf("features.%d.conv", index), x, in, out, stage.expand, stride)
				in = out
				index++
			}
		}
		x = n.convNorm(fmt.Sprintf("features.%d", index), x, channels(1280, max(1, spec.Width)), 1, 1)
		return n.bias("classifier.1", n.linear("classifier.1", n.average("pool", x), spec.Classes), kernel.None)
	})
}

// convNorm is a convolution, batch norm and ReLU6.
func (n *Net) convNorm(name string, x *G.Node, c, size, stride int) *G.Node {
	return n.norm(name+".1", n.conv(name+".0", x, c, size, stride, size/2), kernel.ReLU6, nil)
}

// invertedResidual widens in channels by expand, filters them, and projects them to out; the input is added where it fits.
func (n *Net) invertedResidual(name string, x *G.Node, in, out, expand, stride int) *G.Node {
	y, layer := x, 0
	next := func() string { layer++; return fmt.Sprintf("%s.%d", name, layer-1) }
	if expand != 1 {
		y = n.convNorm(next(), y, in*expand, 1, 1)
	}
	filter := next()
	y = n.norm(filter+".1", n.depthwise(filter+".0", y, stride), kernel.ReLU6, nil)
	var skip *G.Node
	if stride == 1 && in == out {
		skip = x
	}
	y = n.conv(next(), y, out, 1, 1, 0)
	return n.norm(next(), y, kernel.None, skip)
}

// SqueezeNet11 builds SqueezeNet 1.1 (Iandola et al. 2016) as torchvision does, for classes instead of 1000. Dropout is
// off. There is no width.
func SqueezeNet11(spec Spec) (*Net, error) {
	return build(spec, func(n *Net, x *G.Node) *G.Node {
		x = n.convBias("features.0", x, 64, 3, 2, 0)
		x = n.maxPool("features.2", x)
		x = n.fire("features.3", x, 16, 64)
		x = n.fire("features.4", x, 16, 64)
		x = n.maxPool("features.5", x)
		x = n.fire("features.6", x, 32, 128)
		x = n.fire("features.7", x, 32, 128)
		x = n.maxPool("features.8", x)
		x = n.fire("features.9", x, 48, 192)
		x = n.fire("features.10", x, 48, 192)
		x = n.fire("features.11", x, 64, 256)
		x = n.fire("features.12", x, 64, 256)
		x = n.convBias("classifier.1", x, spec.Classes, 1, 1, 0)
		return n.average("classifier.3", x)
	})
}

// convBias is a convolution, bias and ReLU.
func (n *Net) convBias(name string, x *G.Node, c, size, stride, pad int) *G.Node {
	return n.bias(name, n.conv(name, x, c, size, stride, pad), kernel.ReLU)
}

// fire squeezes x to few channels and expands them with two sizes of filters, side by side.
func (n *Net) fire(name string, x *G.Node, squeeze, expand int) *G.Node {
	x = n.convBias(name+".squeeze", x, squeeze, 1, 1, 0)
	small := n.beside(name+".expand1x1", x, expand, 1, 0)
	large := n.beside(name+".expand3x3", x, expand, 3, 1)
	return n.join(name, small, large)
}
