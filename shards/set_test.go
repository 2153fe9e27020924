package shards

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is files by path; a path that ends in a slash is a directory.
type tree map[string][]byte

// dir, zip and tar write a tree as what Open reads, and return its path.
func (f tree) dir(t testing.TB) string {
	root := filepath.Join(t.TempDir(), "data")
	for name, data := range f {
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if data == nil {
			data = []byte{}
		}
		write(t, filepath.Join(root, name), data)
	}
	return root
}

func (f tree) zip(t testing.TB) string {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(f[name])
	}
	z.Close()
	name := filepath.Join(t.TempDir(), "data.zip")
	write(t, name, buf.Bytes())
	return name
}

func (f tree) tar(t testing.TB) string {
	name := filepath.Join(t.TempDir(), "data.tar.gz")
	write(t, name, f.tarBytes())
	return name
}

func (f tree) tarBytes() []byte {
	var buf bytes.Buffer
	g := gzip.NewWriter(&buf)
	w := tar.NewWriter(g)
	names := slices.Sorted(maps.Keys(f))
	slices.Reverse(names) // nothing may depend on the order in an archive
	for _, name := range names {
		h := &tar.Header{Name: "./" + name, Size: int64(len(f[name])), Mode: 0o644}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		w.WriteHeader(h)
		w.Write(f[name])
	}
	w.Close()
	g.Close()
	return buf.Bytes()
}

// everyway opens a tree as a directory, a zip and a tar, and checks that it makes no difference.
func (f tree) open(t testing.TB, cfg Config, input int) *Set {
	t.Helper()
	var sets []*Set
	for _, path := range []string{f.dir(t), f.zip(t), f.tar(t)} {
		set, err := openAt(path, cfg, input)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		sets = append(sets, set)
	}
	if sets[0].Hash != sets[1].Hash || sets[0].Hash != sets[2].Hash {
		t.Fatalf("hashes of directory, zip and tar differ: %s, %s, %s", sets[0].Hash, sets[1].Hash, sets[2].Hash)
	}
	return sets[0]
}

func openAt(path string, cfg Config, input int) (*Set, error) {
	cfg.Set, cfg.Partition = path, Strided
	return Open(context.Background(), cfg, input, 1)
}

// records are n random CIFAR-10 records with labels i mod 10 and, to compare with, their pixels interleaved.
func records(n int, seed uint64) (raw, pixels []byte, labels []int32) {
	s := newRand(seed)
	for i := range n {
		rec := make([]byte, cifarRecord)
		rec[0] = byte(i % 10)
		for p := range cifarPixels {
			rec[1+p] = byte(s.below(256))
		}
		raw, labels = append(raw, rec...), append(labels, int32(i%10))
		for p := range cifarPlane {
			pixels = append(pixels, rec[1+p], rec[1+cifarPlane+p], rec[1+2*cifarPlane+p])
		}
	}
	return raw, pixels, labels
}

func binaryTree() (f tree, pixels []byte, labels []int32) {
	a, ap, al := records(70, 1)
	b, bp, bl := records(3, 2)
	c, _, _ := records(12, 3)
	f = tree{
		"cifar-10-batches-bin/data_batch_1.bin":   a,
		"cifar-10-batches-bin/data_batch_10.bin":  b,
		"cifar-10-batches-bin/test_batch.bin":     c,
		"cifar-10-batches-bin/batches.meta.txt":   []byte(strings.Join(cifarClasses(), "\n") + "\n\n"),
		"cifar-10-batches-bin/readme.html":        []byte("<html>"),
		"cifar-10-batches-bin/._data_batch_2.bin": []byte("left by a desktop"),
	}
	return f, slices.Concat(ap, bp), slices.Concat(al, bl)
}

func TestOpenBinary(t *testing.T) {
	f, pixels, labels := binaryTree()
	set := f.open(t, Config{}, 32)
	if !bytes.Equal(set.Train.Pixels, pixels) || !slices.Equal(set.Train.Labels, labels) {
		t.Error("training images differ from those written")
	}
	if set.Test.N != 12 || set.Train.H != 32 || set.Train.W != 32 || !slices.Equal(set.Classes, cifarClasses()) {
		t.Errorf("got %d test images of %d×%d, classes %v", set.Test.N, set.Train.W, set.Train.H, set.Classes)
	}
	limited := f.open(t, Config{Limit: 71, TestLimit: 5}, 32)
	if limited.Train.N != 71 || limited.Test.N != 5 || !bytes.Equal(limited.Train.Pixels, pixels[:71*cifarPixels]) {
		t.Errorf("limited: got %d and %d images, want the first 71 and 5", limited.Train.N, limited.Test.N)
	}
	delete(f, "cifar-10-batches-bin/batches.meta.txt")
	if again := f.open(t, Config{}, 32); again.Hash != set.Hash {
		t.Error("without batches.meta.txt the classes are not the usual ones")
	}
}

func TestMomentsAgainstTwoPasses(t *testing.T) {
	_, pixels, _ := records(9, 5)
	mean, std := moments(pixels)
	for c := range 3 {
		var sum, square float64
		n := float64(len(pixels) / 3)
		for i := c; i < len(pixels); i += 3 {
			sum += float64(pixels[i]) / 255 / n
		}
		for i := c; i < len(pixels); i += 3 {
			d := float64(pixels[i])/255 - sum
			square += d * d / n
		}
		if d := mean[c] - sum; d > 1e-9 || d < -1e-9 {
			t.Errorf("mean of channel %d: got %v, want %v", c, mean[c], sum)
		}
		if d := std[c]*std[c] - square; d > 1e-9 || d < -1e-9 {
			t.Errorf("variance of channel %d: got %v, want %v", c, std[c]*std[c], square)
		}
	}
}

// pngOf and jpegOf draw an image that is darker to the right and redder below.
func drawn(w, h, tint int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		x, y := i%w, i/w
		img.Set(x, y, color.NRGBA{byte(255 * y / h), byte(255 - 255*x/w), byte(tint), 255})
	}
	return img
}

func pngOf(w, h, tint int) []byte {
	var buf bytes.Buffer
	png.Encode(&buf, drawn(w, h, tint))
	return buf.Bytes()
}

func jpegOf(w, h, tint int) []byte {
	var buf bytes.Buffer
	jpeg.Encode(&buf, drawn(w, h, tint), nil)
	return buf.Bytes()
}

func TestOpenFolder(t *testing.T) {
	f := tree{
		"pets/train/dog/1.png": pngOf(8, 6, 1), "pets/train/dog/2.JPG": jpegOf(8, 6, 2), "pets/train/cat/1.jpeg": jpegOf(8, 6, 3),
		"pets/test/cat/9.png": pngOf(8, 6, 4), "pets/test/dog/9.png": pngOf(8, 6, 5), "pets/README.md": []byte("pets"),
		"pets/.git/config": []byte("x"), "__MACOSX/pets/train/dog/._1.png": []byte("x"),
	}
	set := f.open(t, Config{}, 8)
	if !slices.Equal(set.Classes, []string{"cat", "dog"}) || set.Train.N != 3 || set.Test.N != 2 || set.Train.H != 6 || set.Train.W != 8 {
		t.Fatalf("got %+v", Describe(set))
	}
	for i, label := range set.Test.Labels {
		if blue := set.Test.image(i)[2]; int32(blue) != 4+label {
			t.Errorf("test image %d of class %d has tint %d", i, label, blue)
		}
	}
	if p := set.Test.image(0); p[0] != 0 || p[1] != 255 || p[(5*8+7)*3] != 212 || p[(5*8+7)*3+1] != 32 {
		t.Errorf("corners: got % v and % v", p[:3], p[(5*8+7)*3:])
	}
	if set, err := openAt(f.dir(t), Config{Limit: 1, TestLimit: 1}, 8); err != nil || set.Train.N != 1 || set.Test.N != 1 {
		t.Errorf("limited to one: %v", err)
	}
	small := f.open(t, Config{}, 4)
	if small.Train.H != 4 || small.Train.W != 4 {
		t.Errorf("8×6 at input 4: got %d×%d, want 4×4", small.Train.W, small.Train.H)
	}
	f["pets/train/cat/2.png"] = pngOf(30, 20, 7)
	if mixed := f.open(t, Config{}, 64); mixed.Train.H != 64 || mixed.Train.W != 64 || mixed.Train.N != 4 {
		t.Errorf("mixed sizes at input 64: got %d of %d×%d", mixed.Train.N, mixed.Train.W, mixed.Train.H)
	}
}

func TestOpenFolderHoldsOut(t *testing.T) {
	f := tree{}
	for i := range 20 {
		f[fmt.Sprintf("a/%d.png", i)] = pngOf(2, 2, i)
		f[fmt.Sprintf("b/%d.png", i)] = pngOf(2, 2, 100+i)
		if i < 3 {
			f[fmt.Sprintf("c/%d.png", i)] = pngOf(2, 2, 200+i)
		}
	}
	set := f.open(t, Config{}, 2)
	d := Describe(set)
	if !slices.Equal(d.Train.PerClass, []int{16, 16, 2}) || !slices.Equal(d.Test.PerClass, []int{4, 4, 1}) {
		t.Errorf("got %v for training and %v for testing, want one in five held out", d.Train.PerClass, d.Test.PerClass)
	}
	seen := map[byte]bool{}
	for _, m := range []Images{set.Train, set.Test} {
		for i := range m.N {
			seen[m.image(i)[2]] = true
		}
	}
	if len(seen) != 43 {
		t.Errorf("%d distinct images, want 43", len(seen))
	}
	cfg := Defaults()
	cfg.Set = f.dir(t)
	other, err := Open(t.Context(), cfg, 2, 2)
	if err != nil || other.Hash == set.Hash {
		t.Errorf("seeds 1 and 2 hold the same images out (%v)", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	bin := func(change func(f tree)) tree {
		f, _, _ := binaryTree()
		change(f)
		return f
	}
	dir := "cifar-10-batches-bin/"
	img := pngOf(2, 2, 0)
	two := func(more tree) tree {
		f := tree{"train/a/1.png": img, "train/b/1.png": img, "test/a/1.png": img, "test/b/1.png": img}
		maps.Copy(f, more)
		return f
	}
	for _, tt := range []struct {
		name string
		tree tree
		want string
	}{
		{"cut short", bin(func(f tree) { f[dir+"data_batch_10.bin"] = f[dir+"data_batch_10.bin"][:5000] }),
			"data_batch_10.bin: 5000 bytes is not a number of 3073-byte records: it is cut short"},
		{"empty batch", bin(func(f tree) { f[dir+"test_batch.bin"] = nil }), "test_batch.bin: 0 bytes is not"},
		{"label out of range", bin(func(f tree) { f[dir+"data_batch_10.bin"][2*cifarRecord] = 77 }),
			"data_batch_10.bin: record 2 has label 77, want 0..9"},
		{"no test batch", bin(func(f tree) { delete(f, dir+"test_batch.bin") }), "no test_batch"},
		{"only a test batch", bin(func(f tree) { delete(f, dir+"data_batch_1.bin"); delete(f, dir+"data_batch_10.bin") }), "no data_batch_1"},
		{"two copies", bin(func(f tree) { f["copy/data_batch_1.bin"] = f[dir+"data_batch_1.bin"] }), "two copies of one batch"},
		{"no class names", bin(func(f tree) { f[dir+"batches.meta.txt"] = []byte("\n \n") }), "batches.meta.txt: names 0 classes"},
		{"nothing", tree{"a.txt": nil}, "neither CIFAR-10 nor"},
		{"image without a class", tree{"x.png": img}, "x.png: not in a folder named for its class"},
		{"flat portions", tree{"train/x.png": img, "test/y.png": img}, "not in a folder named for its class"},
		{"one class", tree{"a/1.png": img, "a/2.png": img}, "1 classes ([a]), want 2"},
		{"two depths", tree{"a/1.png": img, "x/b/1.png": img}, "keep one tree of classes"},
		{"outside of train", two(tree{"c/1.png": img}), "outside of train/ and test/"},
		{"no test folder", tree{"train/a/1.png": img, "train/b/1.png": img}, "train/ but no test/<class>/ folders"},
		{"no train folder", tree{"test/a/1.png": img, "test/b/1.png": img}, "no train/<class>/"},
		{"test and val", two(tree{"val/a/1.png": img}), "both test/ and val/"},
		{"other classes", two(tree{"test/c/1.png": img}), "classes differ: train/ has [a b], test/ has [a b c]"},
		{"empty folder", two(tree{"train/c/": nil}), "train/c: no images in this folder"},
		{"empty class", tree{"a/1.png": img, "b/1.png": img, "c/": nil}, "c: no images in this folder"},
		{"one image of a class", tree{"a/1.png": img, "a/2.png": img, "b/1.png": img}, "class b has 1 image"},
		{"another format", two(tree{"train/a/2.webp": img}), "2.webp: want JPEG or PNG"},
		{"not an image", two(tree{"train/a/2.png": []byte("text")}), "train/a/2.png: decode image"},
		{"cut image", two(tree{"train/a/2.png": img[:len(img)-20]}), "train/a/2.png: decode image"},
		{"bomb", two(tree{"train/a/2.png": bomb()}), "train/a/2.png: image of 60000×60000 pixels"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{tt.tree.dir(t), tt.tree.tar(t)} {
				_, err := openAt(path, Config{}, 32)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: got %v, want %q", filepath.Base(path), err, tt.want)
				}
			}
		})
	}
}

// bomb is a PNG that claims 60000×60000 pixels.
func bomb() []byte {
	b := pngOf(2, 2, 0)
	copy(b[16:], []byte{0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60})
	sum := pngChecksum(b[12:29])
	copy(b[29:], sum[:])
	return b
}

func TestOpenRefusesDamagedArchives(t *testing.T) {
	f, _, _ := binaryTree()
	whole := f.tarBytes()
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 0xff
	z, _ := os.ReadFile(f.zip(t))
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"tar cut", whole[:len(whole)/2], "damaged or cut short"},
		{"tar flipped", flipped, "damaged or cut short"},
		{"tar header", whole[:10], "damaged or cut short"},
		{"zip cut", z[:len(z)-100], "damaged, fetch it again"},
		{"neither", []byte("text"), "neither a .tar.gz nor a .zip"},
		{"empty", []byte{}, "0 bytes is too short"},
	} {
		path := filepath.Join(t.TempDir(), "x.tar.gz")
		write(t, path, tt.data)
		if _, err := openAt(path, Config{}, 32); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := openAt(filepath.Join(t.TempDir(), "none"), Config{}, 32); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such path: got %v", err)
	}
}

func TestOpenStopsWithItsContext(t *testing.T) {
	f, _, _ := binaryTree()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, path := range []string{f.dir(t), f.zip(t), f.tar(t)} {
		cfg := Defaults()
		cfg.Set = path
		if _, err := Open(ctx, cfg, 32, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want it cancelled", path, err)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	bad := Config{Set: " ", Partition: "x", Crop: -1, Limit: -1, TestLimit: -1, Mean: []float64{1, 2}, Std: []float64{1, 0, 1}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("all is accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, key := range []string{"set: ", "partition: ", "crop: -1", "limit: -1", "test_limit: -1", "mean: 2 values", "std: 0 is outside"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], key) {
			t.Errorf("line %d of %q: want it to begin with %q", i, lines, key)
		}
	}
	if p := NewPartition(Config{Partition: Dirichlet, Alpha: 2, Labels: 3}, 4); p != (Partition{Dirichlet, 2, 3, 4}) {
		t.Errorf("partition: got %+v", p)
	}
}

// FuzzPlanFolder: whatever the paths, a refusal or a plan that names each image at most once and has no empty class.
func FuzzPlanFolder(f *testing.F) {
	f.Add("train/a/1.png\ntrain/b/1.png\ntest/a/1.png\ntest/b/1.png")
	f.Add("a/1.png\na/2.png\nb/1.jpg\nb/2.jpg\nc/")
	f.Add("/\n..\n../x/1.png\ntrain/train/1.png\n.png")
	f.Fuzz(func(t *testing.T, names string) {
		var entries []entry
		for name := range strings.SplitSeq(names, "\n") {
			trimmed := strings.TrimSuffix(name, "/")
			entries = append(entries, entry{name: trimmed, dir: trimmed != name})
		}
		plan, err := planFolder(entries, 1)
		if err != nil {
			return
		}
		counts := make([]int, len(plan.classes))
		for _, p := range slices.Concat(plan.train, plan.test) {
			counts[p.class]++
		}
		if len(plan.train)+len(plan.test) > len(entries) || len(plan.train) == 0 || len(plan.test) == 0 || slices.Contains(counts, 0) {
			t.Errorf("%d for training and %d for testing of %d files, per class %v", len(plan.train), len(plan.test), len(entries), counts)
		}
	})
}

// FuzzOpenArchive: whatever the bytes of an archive, an error or a whole set.
func FuzzOpenArchive(f *testing.F) {
	small := tree{"a/1.png": pngOf(1, 1, 0), "a/2.png": pngOf(1, 1, 1), "b/1.png": pngOf(1, 1, 2), "b/2.png": pngOf(1, 1, 3)}
	f.Add(small.tarBytes())
	zipped, err := os.ReadFile(small.zip(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(zipped)
	f.Add(zipped[:len(zipped)/2])
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "archive")
		write(t, path, data)
		set, err := openAt(path, Config{}, 8)
		if err == nil && (len(set.Train.Labels) != set.Train.N || len(set.Train.Pixels) != set.Train.N*set.Train.H*set.Train.W*3) {
			t.Errorf("got %+v", Describe(set))
		}
	})
}
