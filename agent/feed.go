package agent

import (
	"context"

	"shoal/shards"
)

// batch is the images and labels of one step.
type batch struct {
	images []float32 // (len(labels), input, input, 3)
	labels []int32
}

// feed loads the batches of a stretch beside training: while the learner works on one, the next is resized and augmented.
// It has two buffers, so it is never more than one batch ahead.
type feed struct {
	loader *shards.Loader // of its own: a loader is for one goroutine
	pixels int            // of an image, times channels
	whole  [2]batch       // memory for a batch of the configured size
}

func newFeed(loader *shards.Loader, pixels, size int) *feed {
	f := &feed{loader: loader, pixels: pixels}
	for i := range f.whole {
		f.whole[i] = batch{make([]float32, size*pixels), make([]int32, size)}
	}
	return f
}

// run loads the batches of s from step on, in order, and calls train with each while the next is being loaded. It returns
// when all are through, train asks to stop or fails, or ctx ends; its goroutine has ended then.
func (f *feed) run(ctx context.Context, s stretch, from int, train func(k int, b batch) (more bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	loaded, free := make(chan batch), make(chan struct{}, len(f.whole))
	for range f.whole {
		free <- struct{}{}
	}
	go func() {
		defer close(loaded)
		for k := from; k < len(s.batches); k++ {
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
func (f *feed) load(k int, s stretch) batch {
	indices, whole := s.batches[k], f.whole[k%len(f.whole)]
	b := batch{whole.images[:len(indices)*f.pixels], whole.labels[:len(indices)]}
	f.loader.Train(b.images, b.labels, indices, s.epochs[k])
	return b
}
