package shards

import (
	"context"
	"math"
	"slices"
	"testing"
)

func openBuiltin(t testing.TB, cfg Config) *Set {
	t.Helper()
	cfg.Set, cfg.Partition = "builtin", "shuffled"
	set, err := Open(context.Background(), cfg, 32, 1)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// The built-in set is the same on every machine, for every seed and in every release: results are compared by it.
func TestBuiltinRecorded(t *testing.T) {
	const want = "49527bfd74bac61ebcf5658575aa240f1d4d2dc8f149f411d386a6bf3219dd41"
	set := openBuiltin(t, Config{})
	if set.Hash != want {
		t.Errorf("hash: got %s, want %s", set.Hash, want)
	}
	other, err := Open(context.Background(), Defaults(), 128, 99)
	if err != nil || other.Hash != set.Hash {
		t.Errorf("at another input and seed: %v, hash %s, want the same", err, other.Hash)
	}
	d := Describe(set)
	if d.Train.Images != 4000 || d.Test.Images != 1000 || d.Train.Width != 32 || d.Train.Height != 32 {
		t.Errorf("sizes: got %+v and %+v", d.Train, d.Test)
	}
	for c, class := range d.Classes {
		if d.Train.PerClass[c] != 400 || d.Test.PerClass[c] != 100 {
			t.Errorf("%s: %d training and %d test images, want 400 and 100", class, d.Train.PerClass[c], d.Test.PerClass[c])
		}
	}
}

func TestBuiltinLimits(t *testing.T) {
	all, some := openBuiltin(t, Config{}), openBuiltin(t, Config{Limit: 7, TestLimit: 3})
	if some.Train.N != 7 || some.Test.N != 3 || len(some.Train.Labels) != 7 || len(some.Test.Pixels) != 3*32*32*3 {
		t.Fatalf("got %d and %d images, want 7 and 3", some.Train.N, some.Test.N)
	}
	if !slices.Equal(some.Train.Pixels, all.Train.Pixels[:7*32*32*3]) || !slices.Equal(some.Test.Labels, all.Test.Labels[:3]) {
		t.Error("a limited set is not the beginning of the whole")
	}
	if some.Hash == all.Hash {
		t.Error("a limited set has the whole set's hash")
	}
	if over := openBuiltin(t, Config{Limit: 1 << 30}); over.Hash != all.Hash {
		t.Error("a limit beyond the set changes it")
	}
}

// softmax trains a linear model by gradient descent, sample by sample, and returns its accuracy on the test features.
func softmax(train, test [][]float32, labels, testLabels []int32, epochs int, rate float32) float64 {
	const classes = 10
	dim := len(train[0])
	w, score := make([]float32, classes*(dim+1)), make([]float32, classes)
	predict := func(x []float32) int {
		best := 0
		for c := range classes {
			row, sum := w[c*(dim+1):][:dim], w[c*(dim+1)+dim]
			for i, v := range row {
				sum += v * x[i]
			}
			if score[c] = sum; sum > score[best] {
				best = c
			}
		}
		return best
	}
	order := iota32(len(train))
	for e := range epochs {
		Order(order, 1, e, 0)
		for _, i := range order {
			top, total := score[predict(train[i])], float32(0)
			for c := range score {
				score[c] = float32(math.Exp(float64(score[c] - top)))
				total += score[c]
			}
			for c := range classes {
				g := score[c] / total
				if int32(c) == labels[i] {
					g--
				}
				g *= -rate
				row := w[c*(dim+1):][:dim+1]
				for k, v := range train[i] {
					row[k] += g * v
				}
				row[dim] += g
			}
		}
	}
	right := 0
	for i, x := range test {
		if int32(predict(x)) == testLabels[i] {
			right++
		}
	}
	return float64(right) / float64(len(test))
}

// grey halves images in size and centres them: 256 values each.
func grey(m Images) [][]float32 {
	all := make([][]float32, m.N)
	for i := range all {
		p, x, mean := m.image(i), make([]float32, 256), float32(0)
		for k := range 32 * 32 {
			v := float32(int(p[3*k])+int(p[3*k+1])+int(p[3*k+2])) / (4 * 3 * 255)
			x[k/64*16+k%32/2] += v
			mean += v / 256
		}
		for k := range x {
			x[k] = (x[k] - mean) * 4
		}
		all[i] = x
	}
	return all
}

// correlations are what a convolution followed by a mean could compute: how much pixels agree with those at a distance.
func correlations(images [][]float32) [][]float32 {
	all := make([][]float32, len(images))
	for i, p := range images {
		var power float32
		for _, v := range p {
			power += v * v
		}
		for dy := 0; dy <= 7; dy++ {
			for dx := -7; dx <= 7; dx++ {
				var sum, count float32
				for y := 0; y+dy < 16; y++ {
					for x := max(0, -dx); x < min(16, 16-dx); x++ {
						sum += p[y*16+x] * p[(y+dy)*16+x+dx]
						count++
					}
				}
				all[i] = append(all[i], sum/count/(power/256))
			}
		}
	}
	return all
}

// The set must need more than a linear model and give itself to anything that looks for forms wherever they are.
func TestBuiltinIsNotLinearButLearnable(t *testing.T) {
	set := openBuiltin(t, Config{})
	train, test := grey(set.Train), grey(set.Test)
	linear := softmax(train, test, set.Train.Labels, set.Test.Labels, 6, 0.003)
	if linear > 0.30 {
		t.Errorf("a linear model of the pixels is right on %.1f %%, want below 30", 100*linear)
	}
	forms := softmax(correlations(train), correlations(test), set.Train.Labels, set.Test.Labels, 15, 0.03)
	if forms < 0.9 {
		t.Errorf("a linear model of translation-invariant features is right on %.1f %%, want above 90", 100*forms)
	}
	t.Logf("linear on pixels %.1f %%, on correlations %.1f %%", 100*linear, 100*forms)
}

func TestRoot(t *testing.T) {
	for n := range 70000 {
		if r := root(n); r*r > n || (r+1)*(r+1) <= n {
			t.Fatalf("root of %d: got %d", n, r)
		}
	}
}

func BenchmarkBuiltin(b *testing.B) {
	for b.Loop() {
		openBuiltin(b, Config{})
	}
}
