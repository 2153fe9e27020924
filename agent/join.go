package agent

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"shoal/gossip"
)

// topic is where agents announce what is periodic and superseded.
const topic = "shoal/scores"

// join opens announcements and membership. sign signs with this agent's identity.
func (a *Agent) join(ctx context.Context, keys gossip.Keys, sign func([]byte) ([]byte, error)) error {
	record, err := a.host.Record()
	if err != nil {
		return fmt.Errorf("sign peer record: %w", err)
	}
	if a.announcer, err = gossip.NewAnnouncer(ctx, a.host.Libp2p(), topic); err != nil {
		return fmt.Errorf("open announcements: %w", err)
	}
	a.gossip, err = gossip.Start(ctx, a.cfg.Gossip, gossip.Setup{
		Self: gossip.Node{ID: a.host.ID(), Name: a.cfg.Name, Record: record}, Keys: keys, Admit: a.host.Admit, Prove: sign,
		Memory: a.store.path("peers.json"), Log: memberlistLog{a.log},
	})
	if err != nil {
		return busy(err)
	}
	a.start(func() {
		if err := gossip.WatchAddresses(ctx, a.host.Libp2p(), a.readdress); err != nil {
			a.log.Warn().Str("event", "addresses_unwatched").Err(err).Msg("when this node's addresses change, the others are not told")
		}
	})
	a.log.Info().Str("event", "agent_started").Str("name", a.cfg.Name).Str("id", string(a.host.ID())).Str("version", a.version).
		Str("gossip", a.gossip.Addr()).Strs("streams", a.host.Addrs()).Msg("agent started")
	return nil
}

// readdress tells the others new addresses of this node. It runs beside the loop.
func (a *Agent) readdress() {
	record, err := a.host.Record()
	if err == nil {
		err = a.gossip.Renew(record)
	}
	if err != nil {
		a.log.Warn().Str("event", "addresses_untold").Err(err).Msg("new addresses are not told to the others; they may not reach this agent")
		return
	}
	a.log.Info().Str("event", "addresses_told").Strs("streams", a.host.Addrs()).Msg("told the others this node's addresses")
}

// memberlistLog takes memberlist's log lines, which begin with their level in brackets.
type memberlistLog struct{ log zerolog.Logger }

func (w memberlistLog) Write(line []byte) (int, error) {
	level := zerolog.DebugLevel
	for mark, l := range map[string]zerolog.Level{"[INFO]": zerolog.DebugLevel, "[WARN]": zerolog.InfoLevel, "[ERR]": zerolog.WarnLevel} {
		if bytes.Contains(line, []byte(mark)) {
			level = l
		}
	}
	w.log.WithLevel(level).Str("event", "memberlist").Msg(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// conflict handles a second agent with the identity of a member. If it is this agent's and the other one was here first,
// this one ends, and without a goodbye: that would be the other's.
func (a *Agent) conflict(c gossip.Conflict) {
	a.log.Error().Str("event", "identity_conflict").Str("id", string(c.ID)).Str("here", c.Here).Str("there", c.There).Bool("later", c.Later).
		Msg("two agents use one identity: copied state directory?")
	if c.Later {
		a.ending.fail(fmt.Errorf("%w: identity %s is in use at %s by an agent that was there before this one at %s; move the copied state directory %s away, and this agent gets an identity of its own",
			ErrRefused, c.ID, c.There, c.Here, a.store.dir))
	}
}

// even is how little two running times may differ for the calendar to decide.
const even = time.Second

// namesake handles a member that has this agent's name, and reports whether one has. The one that was here first goes
// on and leaves the other out; the other ends. Clocks of Pis are wrong after boot, so that what counts is how long each
// has run, and the calendar only between two that started at once.
func (a *Agent) namesake(m *member, theirs hello) bool {
	if m.Name != a.cfg.Name {
		return false
	}
	ahead := time.Duration(theirs.Up) - time.Since(a.started)
	first := ahead > even || ahead > -even && theirs.Started < a.started.UnixNano()
	m.refused = "it has the name of this agent"
	a.log.Error().Str("event", "name_conflict").Str("name", m.Name).Str("peer", string(m.ID)).Str("here", a.gossip.Addr()).Str("there", m.Addr).Bool("later", first).
		Msg("two agents have one name")
	if first {
		a.ending.fail(fmt.Errorf("%w: the name %q is in use at %s by an agent that was there before this one at %s; give this one another with --set name=NAME",
			ErrRefused, m.Name, m.Addr, a.gossip.Addr()))
		a.goodbye()
	}
	return true
}

// refused handles the word of membership that a seed does not let us in.
func (a *Agent) refused(err error) {
	if err == nil {
		return
	}
	a.log.Error().Str("event", "join_refused").Err(err).Msg("a seed refuses this agent")
	if len(a.view.Members) <= 1 {
		a.ending.fail(fmt.Errorf("%w: %w", ErrRefused, err))
	}
}
