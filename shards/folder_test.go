package shards

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// drawn is an image that is darker to the right and redder below.
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

// A set that is not there is told with what to do, CIFAR-10 with how to get it.
func TestOpenAbsent(t *testing.T) {
	for name, want := range map[string]string{
		"photos":                  "no such file or directory: give the path of a directory",
		"cifar-10-binary.tar.gz":  "no such file or directory: fetch it (shoal data fetch cifar10), or give the path",
		"cifar-10-python.tar.gz":  "shoal data fetch cifar10",
		"cifar-100-binary.tar.gz": "no such file or directory: give the path of a directory",
	} {
		_, err := openFiles(filepath.Join(t.TempDir(), name))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
