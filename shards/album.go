package shards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Limits of an image file.
const (
	maxImageBytes = 32 << 20 // encoded
	maxImageSide  = 1 << 14  // pixels
	maxImageSize  = 16 << 20 // pixels in all: 64 MiB once decoded, per decoder
	maxDecoders   = 4        // at once
)

var errMixed = errors.New("images of mixed sizes")

// album decodes pictures into images of one size.
type album struct {
	pictures []picture
	input    int
	resize   bool // to input×input; otherwise the first to be decoded says what all must be

	mu  sync.Mutex
	all Images
}

// read decodes in parallel what src delivers one after the other.
func (a *album) read(ctx context.Context, src files) error {
	want := make([]string, len(a.pictures))
	for i, p := range a.pictures {
		want[i] = p.name
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(runtime.GOMAXPROCS(0), maxDecoders))
	err := src.each(ctx, want, func(i int, r io.Reader) error {
		data, err := readAll(r, maxImageBytes)
		if err != nil {
			return err
		}
		g.Go(func() error {
			if err := a.add(i, data); err != nil {
				return fmt.Errorf("%s: %w", want[i], err)
			}
			return nil
		})
		return nil
	})
	if failed := g.Wait(); failed != nil { // the cause; err is then the cancelled context
		return failed
	}
	return err
}

// add decodes image i and puts it in its place.
func (a *album) add(i int, data []byte) error {
	rgba, err := decodeImage(data)
	if err != nil {
		return err
	}
	h, w := rgba.Rect.Dy(), rgba.Rect.Dx()
	if err := a.fit(h, w); err != nil {
		return err
	}
	pixels := make([]byte, 0, h*w*3)
	for p := 0; p < len(rgba.Pix); p += 4 {
		pixels = append(pixels, rgba.Pix[p:p+3]...)
	}
	if h != a.all.H || w != a.all.W {
		pixels = resample(pixels, h, w, a.all.H, a.all.W)
	}
	copy(a.all.image(i), pixels)
	a.all.Labels[i] = a.pictures[i].class
	return nil
}

// fit allocates at the first image and says whether an image of this size has a place.
func (a *album) fit(h, w int) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.resize && (h > a.input || w > a.input || a.all.N > 0 && (h != a.all.H || w != a.all.W)) {
		return errMixed
	}
	if a.all.N > 0 {
		return nil
	}
	if a.resize {
		h, w = a.input, a.input
	}
	a.all, err = newImages(len(a.pictures), h, w)
	return err
}

// decodeImage reads a JPEG or PNG, of which it looks at the size before it believes the rest.
func decodeImage(data []byte) (*image.RGBA, error) {
	config, decode := jpeg.DecodeConfig, jpeg.Decode
	switch {
	case bytes.HasPrefix(data, []byte("\x89PNG")):
		config, decode = png.DecodeConfig, png.Decode
	case !bytes.HasPrefix(data, []byte("\xff\xd8")):
		return nil, errors.New("decode image: it is neither a JPEG nor a PNG: replace it or take it away")
	}
	c, err := config(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode image: %w: replace it or take it away", err)
	}
	if min(c.Width, c.Height) < 1 || max(c.Width, c.Height) > maxImageSide || c.Width > maxImageSize/c.Height {
		return nil, fmt.Errorf("image of %d×%d pixels, want at most %d a side and %d in all: make it smaller",
			c.Width, c.Height, maxImageSide, maxImageSize)
	}
	img, err := decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode image: %w: replace it or take it away", err)
	}
	rgba := image.NewRGBA(image.Rect(0, 0, c.Width, c.Height))
	draw.Draw(rgba, rgba.Rect, img, img.Bounds().Min, draw.Src)
	return rgba, nil
}

// resample resizes (h, w, 3) pixels with a triangle filter: bilinear with half-pixel centres when it enlarges, and
// widened to the size of a target pixel when it shrinks, so that nothing is skipped. It is all in integers, as the
// result must be the same on every machine.
func resample(src []byte, h, w, toH, toW int) []byte {
	rows := make([]byte, h*toW*3)
	for x := range toW {
		lo, weights, sum := triangle(x, w, toW)
		for y := range h {
			blend(rows[(y*toW+x)*3:], src[(y*w+lo)*3:], 3, weights, sum)
		}
	}
	dst := make([]byte, toH*toW*3)
	for y := range toH {
		lo, weights, sum := triangle(y, h, toH)
		for x := range toW {
			blend(dst[(y*toW+x)*3:], rows[(lo*toW+x)*3:], toW*3, weights, sum)
		}
	}
	return dst
}

// triangle is the filter of pixel i of n for a source of size pixels: the weights from source pixel lo on, which is
// max(0, 1 - distance/width) times an integer that makes it whole.
func triangle(i, size, n int) (lo int, weights []int, sum int) {
	width, centre := 2*max(size, n), (2*i+1)*size // in units of 1/(2n) source pixels
	for p := max(0, (centre-width)/(2*n)-1); p < size; p++ {
		weight := width - abs((2*p+1)*n-centre)
		if weight <= 0 {
			if len(weights) > 0 {
				break
			}
			continue
		}
		if len(weights) == 0 {
			lo = p
		}
		weights, sum = append(weights, weight), sum+weight
	}
	return lo, weights, sum
}

// blend writes the weighted mean of pixels that are step bytes apart.
func blend(dst, src []byte, step int, weights []int, sum int) {
	for c := range 3 {
		v := int64(sum / 2)
		for k, weight := range weights {
			v += int64(weight) * int64(src[k*step+c])
		}
		dst[c] = byte(v / int64(sum))
	}
}

func abs(x int) int { return max(x, -x) }
