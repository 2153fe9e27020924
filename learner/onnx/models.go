package onnx

import "fmt"

// conv is a convolution with square filters of the given size, each of its own channel if depthwise.
func (g *graph) conv(name string, x value, size, stride, pad int, depthwise, bias bool) value {
	weight := name + ".weight"
	groups, out, deep := 1, 0, x.channels // any number of results, each of all channels
	if depthwise {
		groups, out, deep = x.channels, x.channels, 1
	}
	out = g.tensor(weight, out, deep, size, size)[0]
	in := []string{x.name, weight}
	if bias {
		g.tensor(name+".bias", out)
		in = append(in, name+".bias")
	}
	s, p, k := int64(stride), int64(pad), int64(size)
	return g.node("Conv", name, out, in, numbers("dilations", 1, 1), number("group", groups),
		numbers("kernel_shape", k, k), numbers("pads", p, p, p, p), numbers("strides", s, s))
}

// norm is a batch norm by its running statistics.
func (g *graph) norm(name string, x value) value {
	in := []string{x.name}
	for _, part := range []string{".weight", ".bias", ".running_mean", ".running_var"} {
		g.tensor(name+part, x.channels)
		in = append(in, name+part)
	}
	return g.node("BatchNormalization", name, x.channels, in, real("epsilon", g.epsilon))
}

func (g *graph) relu(name string, x value) value {
	return g.node("Relu", name+".relu", x.channels, []string{x.name})
}

func (g *graph) relu6(name string, x value) value {
	return g.node("Clip", name+".relu6", x.channels, []string{x.name, g.scalar("zero", 0), g.scalar("six", 6)})
}

// convNorm is a convolution, batch norm and ReLU6.
func (g *graph) convNorm(name string, x value, size, stride int, depthwise bool) value {
	x = g.norm(name+".1", g.conv(name+".0", x, size, stride, size/2, depthwise, false))
	return g.relu6(name, x)
}

// mobileNetV2 is torchvision's net, of any width: the tensors say how many channels there are.
func (g *graph) mobileNetV2(x value) value {
	x = g.convNorm("features.0", x, 3, 2, false)
	index := 1
	for _, stage := range [...]struct{ expand, blocks, stride int }{
		{1, 1, 1}, {6, 2, 2}, {6, 3, 2}, {6, 4, 2}, {6, 3, 1}, {6, 3, 2}, {6, 1, 1},
	} {
		for b := range stage.blocks {
			stride := 1
			if b == 0 {
				stride = stage.stride
			}
			x = g.invertedResidual(fmt.Sprintf("features.%d.conv", index), x, stage.expand, stride)
			index++
		}
	}
	x = g.convNorm(fmt.Sprintf("features.%d", index), x, 1, 1, false)
	x = g.flat("pool", x)
	const name = "classifier.1"
	classes := g.tensor(name+".weight", 0, x.channels)[0]
	g.tensor(name+".bias", classes)
	return g.node("Gemm", "logits", classes, []string{x.name, name + ".weight", name + ".bias"}, number("transB", 1))
}

// invertedResidual widens the channels, filters them, and projects them; the input is added where it fits.
func (g *graph) invertedResidual(name string, x value, expand, stride int) value {
	y, layer := x, 0
	next := func() string { layer++; return fmt.Sprintf("%s.%d", name, layer-1) }
	if expand != 1 {
		y = g.convNorm(next(), y, 1, 1, false)
	}
	y = g.convNorm(next(), y, 3, stride, true)
	y = g.conv(next(), y, 1, 1, 0, false, false)
	y = g.norm(next(), y)
	if stride == 1 && y.channels == x.channels {
		y = g.node("Add", name+".skip", y.channels, []string{x.name, y.name})
	}
	return y
}

// flat is the mean over the pixels, (N, C).
func (g *graph) flat(name string, x value) value {
	x = g.node("GlobalAveragePool", name, x.channels, []string{x.name})
	return g.node("Flatten", name+".flat", x.channels, []string{x.name}, number("axis", 1))
}

// squeezeNet11 is torchvision's net.
func (g *graph) squeezeNet11(x value) value {
	x = g.relu("features.0", g.conv("features.0", x, 3, 2, 0, false, true))
	for _, layer := range []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} {
		name := fmt.Sprintf("features.%d", layer)
		if layer == 2 || layer == 5 || layer == 8 {
			x = g.node("MaxPool", name, x.channels, []string{x.name}, number("ceil_mode", 1), numbers("kernel_shape", 3, 3), numbers("strides", 2, 2))
			continue
		}
		x = g.fire(name, x)
	}
	x = g.relu("classifier.1", g.conv("classifier.1", x, 1, 1, 0, false, true))
	x = g.node("GlobalAveragePool", "classifier.3", x.channels, []string{x.name})
	return g.node("Flatten", "logits", x.channels, []string{x.name}, number("axis", 1))
}

// fire squeezes x to few channels and expands them with two sizes of filters, side by side.
func (g *graph) fire(name string, x value) value {
	part := func(which string, x value, size int) value {
		return g.relu(name+which, g.conv(name+which, x, size, 1, size/2, false, true))
	}
	x = part(".squeeze", x, 1)
	small, large := part(".expand1x1", x, 1), part(".expand3x3", x, 3)
	return g.node("Concat", name, small.channels+large.channels, []string{small.name, large.name}, number("axis", 1))
}
