package roster

// Stable is what a machine must find again after a restart. It is durable before any message that rests on it is sent.
type Stable struct {
	Next     uint64    `json:"next"` // the round to be committed next; 0: the roster is not formed
	Last     Record    `json:"last"` // the last committed record; zero before formation
	Promised Ballot    `json:"promised"`
	Prepared *Prepared `json:"prepared,omitempty"`
}

// Event is something that happened: an input of Machine.Step.
type Event interface{ event() }

// Start begins the machine's life, once.
type Start struct{}

// ViewChange is a new view: members alive (self among them), and members known to have left on purpose.
type ViewChange struct{ Alive, Departed []ID }

// Unreachable says that a message to a member could not be delivered.
type Unreachable struct{ ID ID }

// Received is a message of an authenticated peer.
type Received struct {
	From    ID
	Message Message
}

// Trained ends the local steps of Next: all done, or cut. Samples counts everything in the local state that no committed
// state holds, so with what was carried over from rounds that went on without this member; Norm is the L2 norm of what
// that work changed, 0 if it is not known. Reason says why there are no samples, for the record; empty if that needs none.
type Trained struct {
	Samples int64
	Norm    float64
	Reason  string
}

// Reduced says that the exchange of a ballot succeeded and its result is stored durably under Hash.
type Reduced struct {
	Ballot Ballot
	Hash   string
}

// Failed says that the exchange of a ballot failed here. Blame names the member that sent what no honest one can; empty
// if nobody is to blame.
type Failed struct {
	Ballot Ballot
	Reason string
	Blame  ID
}

// Fetched says that the state with Hash is stored durably here.
type Fetched struct{ Hash string }

// FetchFailed says that nobody asked had the state.
type FetchFailed struct{ Hash, Reason string }

// Adopted says that the last record's state is loaded, with Carry samples of local work on top that are not in it; Norm is
// the L2 norm of what that work changed, 0 if it is not known.
type Adopted struct {
	Carry int64
	Norm  float64
}

// Pause holds this member back until Resume, or until the process ends: it begins no local steps and coordinates nothing,
// and local steps at work are to be held between two of them. The others need not wait: a poll cuts the steps held at
// once, and the member takes part with what it had. If all members are paused, no round runs.
type Pause struct{}

// Resume ends a Pause: local steps held go on, and those not begun begin.
type Resume struct{}

// Tick says only that time has passed.
type Tick struct{}

func (Start) event()       {}
func (ViewChange) event()  {}
func (Unreachable) event() {}
func (Received) event()    {}
func (Trained) event()     {}
func (Reduced) event()     {}
func (Failed) event()      {}
func (Fetched) event()     {}
func (FetchFailed) event() {}
func (Adopted) event()     {}
func (Tick) event()        {}
func (Pause) event()       {}
func (Resume) event()      {}

// Effect is something to be done, in the order given: an output of Machine.Step.
type Effect interface{ effect() }

// Persist makes the state durable before the effects after it are carried out.
type Persist struct{ Stable Stable }

// Send delivers a message to a member; a failure comes back as Unreachable.
type Send struct {
	To      ID
	Message Message
}

// Train begins the local steps of Round on this member's shard of Roster; Trained answers.
type Train struct {
	Round  uint64
	Roster Roster
}

// Cut stops the local steps after the one at work; Trained answers.
type Cut struct{}

// Reduce exchanges the local states; Reduced or Failed answers.
type Reduce struct {
	Tag     Tag
	Roster  Roster
	Samples []int64   // by rank
	Norms   []float64 // by rank: the L2 norm of what each member's work changed; 0: not known, or no work
	Plan    string    // what the coordinator's planner said, the same on every member; empty: the configured plan
}

// Cancel stops the exchange of a ballot. Nothing answers.
type Cancel struct{ Ballot Ballot }

// Fetch gets the state with Hash from one of the members and stores it; Fetched or FetchFailed answers.
type Fetch struct {
	Hash string
	From []ID
}

// Adopt loads the state of a committed record; Adopted answers. Counted says that this member's local work is in it;
// if not, the work is to be carried over on top.
type Adopt struct {
	Record  Record
	Counted bool
	Own     bool // committed here, by taking part; not learned from a peer
}

// Finish says that the last round is committed and every member alive knows it, or had time enough to.
type Finish struct{}

// Note tells what the machine waits for or decided, for the log. Event is a stable name.
type Note struct{ Event, Detail string }

func (Persist) effect() {}
func (Send) effect()    {}
func (Train) effect()   {}
func (Cut) effect()     {}
func (Reduce) effect()  {}
func (Cancel) effect()  {}
func (Fetch) effect()   {}
func (Adopt) effect()   {}
func (Finish) effect()  {}
func (Note) effect()    {}

// Phase is what a machine is doing.
type Phase string

// The phases of a machine.
const (
	Joining    Phase = "join"    // looking for peers, before the first roster or after a restart
	Training   Phase = "train"   // local steps
	Waiting    Phase = "wait"    // local steps done, no ballot yet
	Polling    Phase = "poll"    // coordinating: gathering answers
	Following  Phase = "follow"  // promised, and ready
	Reducing   Phase = "reduce"  // exchanging
	Preparing  Phase = "prepare" // reduced and stored, waiting for the others to be
	CatchingUp Phase = "catch-up"
	Adopting   Phase = "adopt"
	Lingering  Phase = "linger" // all rounds committed; still answering those behind
	Ended      Phase = "end"
)
