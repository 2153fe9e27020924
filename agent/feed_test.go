package agent

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"shoal/shards"
)

// A batch that comes from beside training is the one that is loaded in its turn, also when a buffer is used again and the
// last batch is short; and after the end nothing loads any more.
func TestFeed(t *testing.T) {
	tr := tinyTrainer(t, false)
	s := stretch{}
	for k := range 7 {
		indices := []int32{int32(k), int32(39 - k), int32(2 * k)}
		s.batches, s.epochs = append(s.batches, indices[:1+k%3]), append(s.epochs, k%2)
	}
	alone := shards.NewLoader(tr.set, tr.cfg.Data, 32, tr.cfg.Seed)
	failure := errors.New("enough")
	for from := range len(s.batches) + 1 {
		for last := from; last <= len(s.batches); last++ { // the step that ends it; none if it is past the end
			for _, want := range []error{nil, failure} {
				synctest.Test(t, func(t *testing.T) {
					seen := from
					err := tr.feed.run(t.Context(), s, from, func(k int, b batch) (bool, error) {
						synctest.Wait() // let the next one load: it must not touch this one
						indices := s.batches[k]
						images, labels := make([]float32, len(indices)*32*32*3), make([]int32, len(indices))
						alone.Train(images, labels, indices, s.epochs[k])
						if k != seen || !slices.Equal(b.images, images) || !slices.Equal(b.labels, labels) {
							t.Fatalf("from %d: step %d does not get batch %d", from, k, seen)
						}
						seen++
						if k == last {
							return false, want
						}
						return true, nil
					})
					if ended := last < len(s.batches); ended && err != want || !ended && err != nil {
						t.Errorf("from %d to %d: %v, want %v", from, last, err, want)
					}
					if want := min(last+1, len(s.batches)); seen != want {
						t.Errorf("from %d: ended before step %d, want %d", from, seen, want)
					}
				})
			}
		}
	}
}
