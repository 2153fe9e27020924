package part

import (
	"context"

	"shoal/shards"
)

// Batch is the images and labels of one step.
type Batch struct {
	Images []float32 // (len(Labels), input, input, 3)
	Labels []int32
}

// Feed loads the batches of a stretch beside training: while the learner works on one, the next is resized and augmented.
// It has two buffers, so it is never more than one batch ahead. It runs one stretch at a time.
type Feed struct {
	loader *shards.Loader // of its own: a loader is for one goroutine
	pixels int            // of an image, times channels
	whole  [2]Batch       // memory for a batch of the configured size
}

// NewFeed makes a Feed that owns loader, for images of so many pixels a side and batches of at most size.
func NewFeed(loader *shards.Loader, side, size int) *Feed {
	f := &Feed{loader: loader, pixels: side * side * 3}
	for i := range f.whole {
		f.whole[i] = Batch{make([]float32, size*f.pixels), make([]int32, size)}
	}
	return f
}

// Run loads the batches of s from step on, in order, and calls train with each while the next is being loaded; a batch is
// train's until that returns. Run returns when all are through, train asks to stop or fails, or ctx ends; its goroutine has ended then.
func (f *Feed) Run(ctx context.Context, s Stretch, from int, train func(k int, b Batch) (more bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	loaded, free := make(chan Batch), make(chan struct{}, len(f.whole))
	for range f.whole {
		free <- struct{}{}
	}
	go func() {
		defer close(loaded)
		for k := from; k < len(s.Batches); k++ {
			select {
			case <-free:
			case <-ctx.Done():
				return
			}
			b := f.load(k, s)
			select {
			case loaded <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range loaded { // until the goroutine has ended: it may be writing to a buffer
		}
	}()
	k := from
	for b := range loaded {
		if more, err := train(k, b); !more || err != nil {
			return err
		}
		free <- struct{}{}
		k++
	}
	return nil
}

// load fills buffer k mod 2 with batch k.
func (f *Feed) load(k int, s Stretch) Batch {
	indices, whole := s.Batches[k], f.whole[k%len(f.whole)]
	b := Batch{whole.Images[:len(indices)*f.pixels], whole.Labels[:len(indices)]}
	f.loader.Train(b.Images, b.Labels, indices, s.Epochs[k])
	return b
}
