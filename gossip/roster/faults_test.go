package roster

import (
	"slices"
	"time"
)

// fault does one thing that goes wrong, and plans the next.
func (w *world) fault() {
	if !w.now.Before(w.calm) {
		return
	}
	w.after(w.between(w.plan.every/4, 2*w.plan.every), w.fault)
	faults := []struct {
		weight float64
		do     func(n *node)
	}{
		{w.plan.crash, w.crash}, {w.plan.blank, w.wipe}, {w.plan.stop, w.stop}, {w.plan.suspicion, w.slander},
		{w.plan.part, w.part}, {w.plan.oneway, w.deafen}, {w.plan.snap, w.tear}, {w.plan.leave, w.leave},
		{w.plan.ambush, w.lurk}, {w.plan.hold, w.hold}, {w.plan.slow, w.slow}, {w.plan.lag, w.lag}, {w.plan.garble, w.corrupt},
		{w.plan.full, w.fill},
	}
	var total float64
	for _, f := range faults {
		total += f.weight
	}
	draw, n := w.rng.Float64()*total, w.nodes[w.rng.IntN(len(w.nodes))]
	for _, f := range faults {
		if draw -= f.weight; draw < 0 {
			f.do(n)
			return
		}
	}
}

// ambush is a fault that waits for the moment at which it hurts most.
type ambush struct {
	moment func(e Effect) bool
	skip   int // so many moments pass first
	do     func()
}

func sends(kind Kind) func(Effect) bool {
	return func(e Effect) bool { s, ok := e.(Send); return ok && s.Message.Kind == kind }
}

// lurk lays an ambush for a member: it will die, stop or be cut off amid a ballot.
func (w *world) lurk(n *node) {
	moments := []func(Effect) bool{
		sends(Done), sends(Done), sends(Begin), sends(Ready),
		func(e Effect) bool { p, ok := e.(Persist); return ok && p.Stable.Prepared != nil },
		func(e Effect) bool { _, ok := e.(Adopt); return ok },
	}
	actions := []func(){
		func() { n.crash(); w.after(w.between(50*time.Millisecond, 2*time.Second), func() { w.revive(n) }) },
		func() { n.crash(); w.after(w.between(2*time.Second, 15*time.Second), func() { w.revive(n) }) },
		func() {
			w.isolate(n, w.between(500*time.Millisecond, 15*time.Second), w.rng.Float64()+0.3, w.chance(0.5))
		},
		func() { w.stop(n) },
	}
	n.ambush = &ambush{moments[w.rng.IntN(len(moments))], w.rng.IntN(4), actions[w.rng.IntN(len(actions))]}
}

// spring lets an ambush happen if its moment has come.
func (w *world) spring(n *node, e Effect) {
	a := n.ambush
	if a == nil || !a.moment(e) {
		return
	}
	if a.skip--; a.skip < 0 {
		n.ambush = nil
		w.hit("ambush")
		a.do()
	}
}

// isolate cuts a member off from a share of the others.
func (w *world) isolate(n *node, long time.Duration, share float64, silent bool) {
	w.hit("cut off")
	w.printf("network: %s is cut off", n.id)
	for _, o := range w.nodes {
		if o != n && w.chance(share) && w.open(n.id, o.id) {
			w.block(n.id, o.id, silent)
			w.block(o.id, n.id, silent)
			w.after(long, func() { w.unblock(n.id, o.id); w.unblock(o.id, n.id) })
		}
	}
}

// crash ends a process, half of the time amid the effects of a step, and starts it again, soon or later.
func (w *world) crash(n *node) {
	if !n.running() {
		return
	}
	w.hit("kill")
	if w.chance(0.5) {
		n.crashIn = 1 + w.rng.IntN(40)
	} else {
		n.crash()
	}
	wait := w.between(100*time.Millisecond, 4*time.Second)
	if w.chance(0.5) {
		wait = w.between(4*time.Second, 20*time.Second)
	}
	w.after(wait, func() { w.revive(n) })
}

func (w *world) revive(n *node) {
	if n.born && !n.up && !n.ended {
		n.boot()
	}
}

// wipe ends a process for good; a new member takes its place.
func (w *world) wipe(n *node) {
	if !n.running() {
		return
	}
	w.hit("kill, disk lost")
	n.crash()
	n.ended = true
	m := w.add()
	w.after(w.between(time.Second, 10*time.Second), m.boot)
}

func (w *world) stop(n *node) {
	w.hit("SIGSTOP")
	n.pause()
	life := n.life
	w.after(w.between(500*time.Millisecond, 45*time.Second), func() {
		if n.life == life {
			n.resume()
		}
	})
}

// slander makes one detector think a member dead for a while.
func (w *world) slander(n *node) {
	if o := w.other(n); o != nil && n.running() && !n.paused {
		w.hit("false suspicion")
		w.printf("%s suspects %s, falsely", n.id, o.id)
		n.look(o.id, false)
		n.soon(w.between(500*time.Millisecond, 10*time.Second), func() { n.look(o.id, w.visible(n.id, o.id)) })
	}
}

func (w *world) other(n *node) *node {
	o := w.nodes[w.rng.IntN(len(w.nodes))]
	if o == n || !o.running() {
		return nil
	}
	return o
}

// part divides the network in two for a while.
func (w *world) part(*node) {
	silent := w.chance(0.5)
	side := map[ID]bool{}
	for _, n := range w.nodes {
		side[n.id] = w.chance(0.5)
	}
	w.hit("partition")
	w.printf("network: parts %v silent %v", side, silent)
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if side[a.id] != side[b.id] && !w.link(a.id, b.id).blocked {
				w.block(a.id, b.id, silent)
				w.after(w.between(5*time.Second, 6*time.Second), func() { w.unblock(a.id, b.id) })
			}
		}
	}
}

// deafen lets nothing through from one member to another for a while.
func (w *world) deafen(n *node) {
	if o := w.other(n); o != nil && !w.link(n.id, o.id).blocked {
		w.hit("one-way partition")
		w.printf("network: %s cannot reach %s", n.id, o.id)
		w.block(n.id, o.id, w.chance(0.5))
		w.after(w.between(time.Second, 15*time.Second), func() { w.unblock(n.id, o.id) })
	}
}

func (w *world) tear(n *node) {
	if o := w.other(n); o != nil {
		w.hit("connection breaks")
		w.snap(n.id, o.id)
	}
}

// leave ends a process on purpose; it may come back.
func (w *world) leave(n *node) {
	if !n.running() || n.paused {
		return
	}
	w.hit("leave")
	w.printf("%s: leaves", n.id)
	if n.training == nil && !n.machine.Offered() {
		n.disk.local, n.disk.base = n.local, n.base
	}
	n.crash()
	n.ended = true
	w.noticed(n)
	if w.chance(0.5) {
		w.after(w.between(time.Second, 20*time.Second), func() {
			n.ended = false
			n.boot()
		})
	}
}

// heal ends all faults: from now on everyone alive must get through.
func (w *world) heal() {
	w.printf("network and members are well from now on")
	for _, l := range w.links {
		l.blocked, l.garbled, l.lag = false, false, 0
	}
	for _, n := range w.nodes {
		n.crashIn, n.ambush, n.full = 0, nil, false
		w.revive(n)
		n.resume()
		n.hold(false)
	}
	for _, n := range slices.Clone(w.nodes) {
		if n.running() {
			w.noticed(n)
		}
	}
	w.plan.failing, w.plan.flipping = 0, 0
}
