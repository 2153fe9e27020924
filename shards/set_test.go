package shards

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
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

// open opens a tree as a directory, a zip and a tar, and checks that it makes no difference.
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
		"cifar-10-batches-bin/data_batch_9.bin":   a,
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
		{"a batch missing", bin(func(f tree) { f[dir+"data_batch_7.bin"] = f[dir+"data_batch_9.bin"] }), "no data_batch_8: fetch CIFAR-10 again"},
		{"no test batch", bin(func(f tree) { delete(f, dir+"test_batch.bin") }), "no test_batch"},
		{"only a test batch", bin(func(f tree) { delete(f, dir+"data_batch_9.bin"); delete(f, dir+"data_batch_10.bin") }), "no data_batch_1"},
		{"two copies", bin(func(f tree) { f["copy/data_batch_9.bin"] = f[dir+"data_batch_9.bin"] }), "two copies of one batch"},
		{"no class names", bin(func(f tree) { f[dir+"batches.meta.txt"] = []byte("\n \n") }), "batches.meta.txt: names 0 classes"},
		{"nothing", tree{"a.txt": nil}, "neither CIFAR-10 nor a JPEG"},
		{"an archive", tree{"x/cifar-10-binary.tar.gz": nil}, "but x/cifar-10-binary.tar.gz: give the path of that"},
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
		{"not an image", two(tree{"train/a/2.png": []byte("text")}), "train/a/2.png: decode image: it is neither a JPEG nor a PNG"},
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
