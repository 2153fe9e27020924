package shards

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// patterned is a PNG of some pattern.
func patterned(t testing.TB, w, h int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{uint8(7*x + 3*y), uint8(x * y), uint8(200 - x), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A single image looks as it would in a folder of its like.
func TestReadImageAsOpenDoes(t *testing.T) {
	for name, v := range map[string]struct{ w, h, toW, toH int }{
		"fits": {20, 12, 20, 12}, "exact": {32, 32, 32, 32}, "wide": {33, 10, 32, 32}, "high": {5, 64, 32, 32}, "pixel": {1, 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			data := patterned(t, v.w, v.h)
			dir := t.TempDir()
			for _, file := range []string{"train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"} {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg := Defaults()
			cfg.Set = dir
			set, err := Open(context.Background(), cfg, 32, 1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ReadImage(bytes.NewReader(data), 32)
			if err != nil || got.N != 1 || got.W != v.toW || got.H != v.toH {
				t.Fatalf("%v: %d image of %d×%d", err, got.N, got.W, got.H)
			}
			for i := range set.Test.N {
				if !slices.Equal(got.Pixels, set.Test.image(i)) {
					t.Errorf("image %d of the folder looks different", i)
				}
			}
		})
	}
}

func TestReadImageRefuses(t *testing.T) {
	whole := patterned(t, 9, 9)
	for name, v := range map[string]struct {
		data  []byte
		input int
		want  string
	}{
		"nothing": {nil, 32, "decode image"}, "cut": {whole[:len(whole)-30], 32, "decode image"}, "text": {[]byte("hello"), 32, "decode image"},
		"no input": {whole, 0, "outside 1..16384"},
	} {
		if _, err := ReadImage(bytes.NewReader(v.data), v.input); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReadImage: what is read has the pixels that it says, within the input.
func FuzzReadImage(f *testing.F) {
	f.Add(patterned(f, 3, 2), 2)
	f.Add(patterned(f, 40, 4), 32)
	f.Add([]byte("\x89PNG"), 8)
	f.Fuzz(func(t *testing.T, data []byte, input int) {
		m, err := ReadImage(bytes.NewReader(data), input%64)
		if err == nil && (m.N != 1 || m.H > input%64 || m.W > input%64 || len(m.Pixels) != m.H*m.W*3 || len(m.Labels) != 1) {
			t.Errorf("%d images of %d×%d in %d bytes for %d", m.N, m.W, m.H, len(m.Pixels), input%64)
		}
	})
}
