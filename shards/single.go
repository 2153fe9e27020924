package shards

import (
	"fmt"
	"io"
)

// ReadImage reads one JPEG or PNG as Open reads those of a folder: an image within input×input keeps its size, another is
// resized to it, aspect ignored. The result is one image without a meaning to its label, for the Loader of a Set that is
// made of it.
func ReadImage(r io.Reader, input int) (Images, error) {
	if input < 1 || input > maxImageSide {
		return Images{}, fmt.Errorf("read image for an input of %d pixels: outside 1..%d", input, maxImageSide)
	}
	data, err := readAll(r, maxImageBytes)
	if err != nil {
		return Images{}, fmt.Errorf("read image: %w", err)
	}
	rgba, err := decodeImage(data)
	if err != nil {
		return Images{}, err
	}
	side := rgba.Rect.Size()
	a := album{pictures: make([]picture, 1), input: input, resize: side.X > input || side.Y > input}
	if err := a.add(0, data); err != nil {
		return Images{}, err
	}
	return a.all, nil
}
