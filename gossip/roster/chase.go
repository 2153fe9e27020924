package roster

import "time"

// maxChased is how often the state of a lineage ahead may be fetched in vain before this member leaves it alone for a while.
const maxChased = 3

// maxLineages bounds the lineages whose failed chases are remembered.
const maxLineages = 64

// chase is what came of fetching the states of one lineage.
type chase struct {
	failed int       // times in a row
	until  time.Time // left alone so long
}

// missed remembers that a state of a lineage could not be had. Whoever is ahead and never gives its state, because it lies
// or lost it, would otherwise keep the others from their own rounds for ever. From the third time on its lineage is left
// alone for 8 Gather, and twice as long each time after, up to 256.
func (m *Machine) missed(lineage string) {
	if len(m.chases) >= maxLineages {
		clear(m.chases)
	}
	c := m.chases[lineage]
	if c.failed++; c.failed >= maxChased {
		c.until = m.now.Add(m.cfg.Gather << min(c.failed, 8))
	}
	m.chases[lineage] = c
}

// shuns reports whether r is left alone for now. That is as safe as not to hear of it.
func (m *Machine) shuns(r Record) bool { return m.now.Before(m.chases[r.Lineage].until) }
