package shards

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// maxPixelBytes bounds the pixels of a set in memory: five times CIFAR-10, and what a Pi with 2 GB can spare.
const maxPixelBytes = 1 << 30

// Images are labelled images of one size. Image i is Pixels[i*H*W*3 : (i+1)*H*W*3].
type Images struct {
	N, H, W int
	Pixels  []byte  // (N, H, W, 3), red, green, blue
	Labels  []int32 // (N), each an index into the set's Classes
}

// Set is a training set, its test set and what is known of both. It is read only once open, so any number of
// goroutines and Loaders may share it.
type Set struct {
	Name        string
	Classes     []string
	Train, Test Images
	Mean, Std   [3]float64 // of the training pixels per channel, in units of 0..1
	Hash        string     // SHA-256 in hex over classes, sizes, labels and pixels: equal on agents that may train together
}

// Open reads the set that cfg.Set names: "builtin", or the path of a directory, .tar.gz or .zip (told by content, not
// by name) that holds at any depth either
//
//   - CIFAR-10 in its binary distribution: data_batch_1.bin … and test_batch.bin,
//   - CIFAR-10 in its python distribution: data_batch_1 … and test_batch,
//   - JPEG or PNG images as train/<class>/… and test/<class>/… (or val/ in place of test/), or
//   - JPEG or PNG images as <class>/…, of which one in five is held out for testing, drawn from seed.
//
// Images of a folder that share one size within input×input keep it. Otherwise each is resized to input×input (128 if
// input is 0), aspect ignored, so memory is bounded by their number. Their order is a fixed shuffle by path.
// Transparent pixels lie on black.
//
// The work is checked against ctx between files. Errors name the file, what is wrong with it and the remedy.
func Open(ctx context.Context, cfg Config, input int, seed uint64) (*Set, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	set, err := read(ctx, cfg, input, seed)
	if err != nil {
		return nil, fmt.Errorf("open set %s: %w", cfg.Set, err)
	}
	if set.Train.N == 0 || set.Test.N == 0 {
		return nil, fmt.Errorf("open set %s: %d training and %d test images, want at least one of each",
			cfg.Set, set.Train.N, set.Test.N)
	}
	var wg sync.WaitGroup
	wg.Go(func() { set.Mean, set.Std = moments(set.Train.Pixels) })
	wg.Go(func() { set.Hash = digest(set) })
	wg.Wait()
	return set, nil
}

func read(ctx context.Context, cfg Config, input int, seed uint64) (*Set, error) {
	if cfg.Set == "builtin" {
		return builtin(cfg), nil
	}
	src, err := openFiles(cfg.Set)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	entries, err := src.list(ctx)
	if err != nil {
		return nil, err
	}
	var set *Set
	if b := findBatches(entries); b != nil {
		set, err = b.read(ctx, src, cfg)
	} else {
		set, err = readFolder(ctx, src, entries, cfg, input, seed)
	}
	if err != nil {
		return nil, err
	}
	set.Name = filepath.Base(cfg.Set)
	return set, nil
}

// limited is how many of n images a limit leaves.
func limited(n, limit int) int {
	if limit > 0 && limit < n {
		return limit
	}
	return n
}

// newImages allocates n images, if maxPixelBytes allows.
func newImages(n, h, w int) (Images, error) {
	if bytes := int64(n) * int64(h) * int64(w) * 3; bytes > maxPixelBytes {
		return Images{}, fmt.Errorf("%d images of %d×%d need %d MiB, the limit is %d: set limit, or train at a smaller input",
			n, w, h, bytes>>20, maxPixelBytes>>20)
	}
	return Images{N: n, H: h, W: w, Pixels: make([]byte, n*h*w*3), Labels: make([]int32, n)}, nil
}

// image is the pixels of image i.
func (m Images) image(i int) []byte {
	size := m.H * m.W * 3
	return m.Pixels[i*size : (i+1)*size : (i+1)*size]
}

// moments are the mean and standard deviation per channel. The sums are integers and the rest is single IEEE
// operations, which no machine fuses, so all agents get the same bits.
func moments(pixels []byte) (mean, std [3]float64) {
	var count [3][256]uint64
	for i := 0; i+2 < len(pixels); i += 3 {
		count[0][pixels[i]]++
		count[1][pixels[i+1]]++
		count[2][pixels[i+2]]++
	}
	n := uint64(len(pixels) / 3)
	for c := range count {
		var sum, square uint64
		for v, k := range count[c] {
			sum += uint64(v) * k
			square += uint64(v) * uint64(v) * k
		}
		m := float64(sum) / float64(n)
		variance := float64(square)/float64(n) - float64(m*m)
		mean[c], std[c] = m/255, math.Sqrt(max(variance, 0))/255
	}
	return mean, std
}

func digest(s *Set) string {
	h := sha256.New()
	fmt.Fprintf(h, "shoal set 1\n%d\n", len(s.Classes))
	for _, c := range s.Classes {
		fmt.Fprintf(h, "%q\n", c)
	}
	digestImages(h, s.Train)
	digestImages(h, s.Test)
	return hex.EncodeToString(h.Sum(nil))
}

func digestImages(h hash.Hash, m Images) {
	fmt.Fprintf(h, "%d %d %d\n", m.N, m.H, m.W)
	labels := make([]byte, 0, 4*len(m.Labels))
	for _, l := range m.Labels {
		labels = binary.LittleEndian.AppendUint32(labels, uint32(l))
	}
	h.Write(labels)
	h.Write(m.Pixels)
}

// Description is what a person wants to know of a set.
type Description struct {
	Name    string     `json:"name"`
	Classes []string   `json:"classes"`
	Train   Portion    `json:"train"`
	Test    Portion    `json:"test"`
	Mean    [3]float64 `json:"mean"` // of the training pixels per channel, in units of 0..1
	Std     [3]float64 `json:"std"`
	Hash    string     `json:"hash"`
	Bytes   int64      `json:"bytes"` // of memory that the pixels take
}

// Portion is the training or the test part of a Description.
type Portion struct {
	Images   int   `json:"images"`
	Height   int   `json:"height"`
	Width    int   `json:"width"`
	PerClass []int `json:"per_class"` // images of each class
}

// Describe counts what is in a set.
func Describe(set *Set) Description {
	portion := func(m Images) Portion {
		p := Portion{Images: m.N, Height: m.H, Width: m.W, PerClass: make([]int, len(set.Classes))}
		for _, l := range m.Labels {
			p.PerClass[l]++
		}
		return p
	}
	return Description{
		Name: set.Name, Classes: set.Classes, Train: portion(set.Train), Test: portion(set.Test),
		Mean: set.Mean, Std: set.Std, Hash: set.Hash, Bytes: int64(len(set.Train.Pixels) + len(set.Test.Pixels)),
	}
}

// openFiles tells a directory, a gzipped tar and a zip apart.
func openFiles(name string) (files, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(filepath.Base(name), "cifar-10-") {
		return nil, fmt.Errorf("%w: fetch it (shoal data fetch cifar10), or give the path of a directory, .tar.gz or .zip, or set: builtin", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: give the path of a directory, .tar.gz or .zip, or set: builtin", err)
	}
	if info.IsDir() {
		return fsFiles{fsys: os.DirFS(name)}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	src, err := openArchive(f, info.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	return src, nil
}
