package roster

// isPaused is the reason that a paused member gives.
const isPaused = "paused"

// pause holds this member back. A ballot that it only began to gather for is left to another coordinator.
func (m *Machine) pause() {
	if m.paused {
		return
	}
	m.paused = true
	m.note("paused", "takes part with what it has until it is resumed")
	if m.phase == Polling {
		m.tell(m.alive, Message{Kind: Abort, Ballot: m.st.Promised, Reason: "the coordinator is paused"})
		m.retreat("paused")
	}
}

// resume ends a pause.
func (m *Machine) resume() {
	if !m.paused {
		return
	}
	m.paused = false
	m.note("resumed", "trains and coordinates again")
	if m.phase == Waiting {
		m.proceed()
	}
}

// Paused reports whether a Pause is in force.
func (m *Machine) Paused() bool { return m.paused }
