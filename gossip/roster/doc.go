// Package roster decides: who takes part in a round, who coordinates it, when its result is committed, and under which
// lineage. Everything in it is a pure function or a pure state machine: messages, views and clock readings in, messages
// and effects out.
package roster
