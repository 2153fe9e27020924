package gossip

import (
	"io"
	"log"
	"math"
	"testing"
)

// When a cluster forms, every member hears of every other by gossip, but for one formation in fifty.
func TestGossipReachesEverybody(t *testing.T) {
	conf := settings(pi(), nil, log.New(io.Discard, "", 0))
	for n := 2; n <= 64; n++ {
		size := float64(n)
		sends := size * float64(conf.RetransmitMult) * math.Ceil(math.Log10(size+1))
		missed := size * (size - 1) * math.Pow(1-1/(size-1), sends) // pairs, on average; all sends go anywhere
		if n > 2 && missed > 0.02 {
			t.Errorf("%d members: %.3g pairs do not hear of each other", n, missed)
		}
	}
}
