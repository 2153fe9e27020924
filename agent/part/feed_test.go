package part

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
	const images, side, seed = 40, 32, 1
	cfg := shards.Config{Set: "builtin", Partition: "shuffled", Limit: images, TestLimit: 10, Flip: true}
	set, err := shards.Open(t.Context(), cfg, side, seed)
	if err != nil {
		t.Fatal(err)
	}
	feed := NewFeed(shards.NewLoader(set, cfg, side, seed), side, 10)
	s := Stretch{}
	for k := range 7 {
		indices := []int32{int32(k), int32(39 - k), int32(2 * k)}
		s.Batches, s.Epochs = append(s.Batches, indices[:1+k%3]), append(s.Epochs, k%2)
	}
	alone := shards.NewLoader(set, cfg, side, seed)
	failure := errors.New("enough")
	for from := range len(s.Batches) + 1 {
		for last := from; last <= len(s.Batches); last++ { // the step that ends it; none if it is past the end
			for _, want := range []error{nil, failure} {
				synctest.Test(t, func(t *testing.T) {
					seen := from
					err := feed.Run(t.Context(), s, from, func(k int, b Batch) (bool, error) {
						synctest.Wait() // let the next one load: it must not touch this one
						indices := s.Batches[k]
						images, labels := make([]float32, len(indices)*32*32*3), make([]int32, len(indices))
						alone.Train(images, labels, indices, s.Epochs[k])
						if k != seen || !slices.Equal(b.Images, images) || !slices.Equal(b.Labels, labels) {
							t.Fatalf("from %d: step %d does not get batch %d", from, k, seen)
						}
						seen++
						if k == last {
							return false, want
						}
						return true, nil
					})
					if ended := last < len(s.Batches); ended && err != want || !ended && err != nil {
						t.Errorf("from %d to %d: %v, want %v", from, last, err, want)
					}
					if want := min(last+1, len(s.Batches)); seen != want {
						t.Errorf("from %d: ended before step %d, want %d", from, seen, want)
					}
				})
			}
		}
	}
}
