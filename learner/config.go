package learner

// The models that there are.
const (
	MobileNetV2  = "mobilenet_v2"  // Sandler et al. 2018, as torchvision builds it
	SqueezeNet11 = "squeezenet1_1" // Iandola et al. 2016, version 1.1, as torchvision builds it; no batch norm
)

// Config says what is trained, and how.
type Config struct {
	Model      string    `yaml:"model"`       // mobilenet_v2 | squeezenet1_1
	Width      float64   `yaml:"width"`       // MobileNetV2's width multiplier
	Input      int       `yaml:"input"`       // side of the square input in pixels; images are resized to it
	Batch      int       `yaml:"batch"`       // images per step
	Threads    int       `yaml:"threads"`     // worker threads; 0: one per CPU
	Init       string    `yaml:"init"`        // he: as torchvision draws | xavier: as Keras does
	InitScale  float64   `yaml:"init_scale"`  // factor on the filters drawn before batch norm; see draw
	InitBranch float64   `yaml:"init_branch"` // scale of batch norm at the end of residual branches; 0: blocks begin as if they were not there
	Weights    string    `yaml:"weights"`     // file to begin from instead: a model of Shoal's or torchvision's; other classes: a new classifier
	Optimizer  SGD       `yaml:"sgd"`
	Schedule   Schedule  `yaml:"schedule"`
	BatchNorm  BatchNorm `yaml:"batch_norm"`
}

// SGD is stochastic gradient descent as PyTorch defines it: v = momentum·v + (g + decay·w); w -= rate·v, or with Nesterov
// w -= rate·(g + decay·w + momentum·v). With Clip, g is first made as short as Clip where it is longer, all parameters taken
// together [Pascanu et al. 2013, arXiv 1211.5063]: a channel that hardly varies over a batch makes batch norm's gradient a
// hundred times the usual one, and a single such step costs hundreds of others.
type SGD struct {
	Rate        float64 `yaml:"rate"`
	Momentum    float64 `yaml:"momentum"`
	Nesterov    bool    `yaml:"nesterov"`
	WeightDecay float64 `yaml:"weight_decay"`
	Clip        float64 `yaml:"clip"` // greatest L2 norm of a step's gradient; 0: any
}

// Schedule is the learning rate's course over the run, as a factor of SGD.Rate. Times are in rounds, so that members with
// shards of different length agree.
type Schedule struct {
	Kind   string  `yaml:"kind"`   // constant | step | cosine
	Warmup float64 `yaml:"warmup"` // rounds of linear warm-up
	Every  float64 `yaml:"every"`  // step: rounds between drops
	Gamma  float64 `yaml:"gamma"`  // step: factor of each drop
	Floor  float64 `yaml:"floor"`  // cosine: last factor
}

// BatchNorm is how running statistics follow the batches: new = decay·old + (1-decay)·batch.
type BatchNorm struct {
	Decay   float64 `yaml:"decay"`
	Epsilon float64 `yaml:"epsilon"`
}

// Defaults are the values of an absent configuration.
func Defaults() Config {
	return Config{
		Model: MobileNetV2, Width: 0.5, Input: 32, Batch: 12, Init: "he", InitScale: 1, InitBranch: 1,
		Optimizer: SGD{Rate: 0.01, Momentum: 0.9, WeightDecay: 1e-4},
		Schedule:  Schedule{Kind: "cosine", Warmup: 0.5, Gamma: 0.1, Every: 3},
		BatchNorm: BatchNorm{Decay: 0.9, Epsilon: 1e-5},
	}
}
