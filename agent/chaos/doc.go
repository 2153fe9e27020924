// Package chaos does to real agents what happens to a shelf of small machines: it kills, stops, starves and cuts them off,
// and checks what they recorded. It holds the drivers; the scenarios are its tests, which run by make chaos.
//
// Not done here: jumps of the wall clock, which no namespace of the kernel has of its own, so that they would hit all else on
// the machine (agents measure time by the monotonic clock); and delay and loss of packets where the kernel lacks netem.
//
// A Wire is a network of namespaces in which each agent is a machine of its own. Judge checks the journals of a run, Tear
// does to a state directory what a power cut does, Growth compares a run's beginning with its end. Nothing imports it.
package chaos
