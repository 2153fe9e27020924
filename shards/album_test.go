package shards

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"
)

func pngChecksum(b []byte) (sum [4]byte) {
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE(b))
	return sum
}

// dumbResample is the triangle filter in floating point, both directions at once.
func dumbResample(src []byte, h, w, toH, toW int) []float64 {
	weight := func(i, p, size, n int) float64 {
		scale := float64(size) / float64(n)
		return max(0, 1-math.Abs((float64(i)+0.5)*scale-float64(p)-0.5)/max(scale, 1))
	}
	dst := make([]float64, toH*toW*3)
	for y := range toH {
		for x := range toW {
			total := 0.0
			for v := range h {
				for u := range w {
					k := weight(y, v, h, toH) * weight(x, u, w, toW)
					total += k
					for c := range 3 {
						dst[(y*toW+x)*3+c] += k * float64(src[(v*w+u)*3+c])
					}
				}
			}
			for c := range 3 {
				dst[(y*toW+x)*3+c] /= total
			}
		}
	}
	return dst
}

func TestResample(t *testing.T) {
	for _, tt := range [][4]int{{1, 1, 3, 2}, {4, 4, 4, 4}, {5, 3, 10, 9}, {9, 16, 4, 4}, {7, 5, 3, 11}, {3, 40, 2, 1}} {
		h, w, toH, toW := tt[0], tt[1], tt[2], tt[3]
		src := smallSet(1, h, w).Train.Pixels
		got, want := resample(src, h, w, toH, toW), dumbResample(src, h, w, toH, toW)
		for i, v := range got {
			if math.Abs(float64(v)-want[i]) > 1.01 { // each direction rounds
				t.Errorf("%v: value %d is %d, want %.2f", tt, i, v, want[i])
				break
			}
		}
		if h == toH && w == toW && !bytes.Equal(got, src) {
			t.Errorf("%v: not the same", tt)
		}
	}
}

// FuzzDecodeImage feeds damaged images: an error or an image of the size that was looked at, never a panic.
func FuzzDecodeImage(f *testing.F) {
	f.Add(pngOf(3, 2, 1))
	f.Add(jpegOf(3, 2, 1))
	f.Add(bomb())
	f.Add([]byte("\x89PNG"))
	f.Add([]byte{0xff, 0xd8, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		if img, err := decodeImage(data); err == nil && len(img.Pix) != img.Rect.Dx()*img.Rect.Dy()*4 {
			t.Errorf("%v with %d bytes", img.Rect, len(img.Pix))
		}
	})
}
