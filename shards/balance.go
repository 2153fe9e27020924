package shards

import (
	"cmp"
	"slices"
)

// Balance moves the samples of a shard in place so that every stretch of it has the labels in the proportions of the whole
// shard, give or take one sample of each: the k-th of a label's n samples goes to where (k+½)/n of the shard is behind it.
// Samples of one label keep their order, and with equal places the sample that came first is first. labels are by sample.
//
// Which labels a small batch happens to have is most of the noise of the classifier's gradient; even batches take it away.
//
// For example labels a a a a b b in this order become a b a a b a.
func Balance(indices, labels []int32) {
	count := map[int32]uint64{}
	for _, i := range indices {
		count[labels[i]]++
	}
	type place struct {
		index    int32
		odd, all uint64 // at odd/(2·all) of the shard
	}
	places, seen := make([]place, len(indices)), map[int32]uint64{}
	for j, i := range indices {
		label := labels[i]
		places[j] = place{i, 2*seen[label] + 1, count[label]}
		seen[label]++
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.odd*b.all, b.odd*a.all) })
	for j, p := range places {
		indices[j] = p.index
	}
}
