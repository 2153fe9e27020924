package eval

import (
	"strconv"

	"shoal/gossip/roster"
)

// Evaluator elects who scores a round: the first contributor that is alive, in an order that every member computes for
// itself and that changes with every round. It returns false if none is alive. Members whose views differ may elect
// different ones; both scores are then recorded, and they are of the same state.
func Evaluator(lineage string, round int, contributors []roster.ID, alive func(roster.ID) bool) (roster.ID, bool) {
	for _, id := range roster.Rendezvous(lineage+"/"+strconv.Itoa(round), contributors) {
		if alive(id) {
			return id, true
		}
	}
	return "", false
}
