package roster

// tamper plants a fault between machine and world, to see whether the simulation finds it. Nil functions plant none.
type tamper struct {
	onMessage func(from *node, to ID, msg Message) (Message, bool)
	onPersist func(before, next Stable) Stable
	onCounted func(counted bool) bool
	onReduced func(n *node, e Reduced)
	onEvent   func(n *node, e Event) bool // whether the machine hears of it
	encode    bool                        // messages cross as bytes
	deaf      bool                        // a disk that is full takes nothing, and nobody is told
}

func (p tamper) message(from *node, to ID, msg Message) (Message, bool) {
	if p.onMessage == nil {
		return msg, true
	}
	return p.onMessage(from, to, msg)
}

func (p tamper) persist(before, next Stable) Stable {
	if p.onPersist == nil {
		return next
	}
	return p.onPersist(before, next)
}

func (p tamper) forget(counted bool) bool {
	if p.onCounted == nil {
		return counted
	}
	return p.onCounted(counted)
}

// reduced acts after a machine took the outcome of an exchange.
func (p tamper) reduced(n *node, e Event) {
	if r, ok := e.(Reduced); ok && p.onReduced != nil {
		p.onReduced(n, r)
	}
}

func (p tamper) hears(n *node, e Event) bool { return p.onEvent == nil || p.onEvent(n, e) }

// wire passes a message through its encoding.
func (p tamper) wire(w *world, msg Message) Message {
	if !p.encode {
		return msg
	}
	b, err := msg.Encode()
	if err == nil {
		msg, err = Decode(b)
	}
	if err != nil {
		w.violate("wire: %v", err)
	}
	return msg
}
