package roster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// MaxMessageBytes bounds an encoded message: a record names every member a few times, some 60 bytes each.
const MaxMessageBytes = 1 << 20

// MaxMembers bounds the members that a message may name: what fits into MaxMessageBytes.
const MaxMembers = 2048

// maxSamples bounds the samples of one member, so that the sum over MaxMembers fits an int64.
const maxSamples = 1 << 50

// MaxPlanBytes bounds the text of a plan: an order of MaxMembers ranks and their nodes.
const MaxPlanBytes = 64 << 10

// maxBlames bounds the members that one may blame in a round: as many as the search for those to leave out looks at.
const maxBlames = 8

// maxReasonBytes bounds why a member is blamed, so that a record can hold it for every member.
const maxReasonBytes = 200

// Kind says what a message asks or tells.
type Kind string

// The kinds of messages between machines. Every one goes over a direct, ordered, authenticated stream.
const (
	Ask   Kind = "ask"   // which record are you at? Answered by Head
	Head  Kind = "head"  // my last record
	Poll  Kind = "poll"  // promise me this ballot, and tell what you have; repeated while the coordinator gathers
	Ready Kind = "ready" // promised; my local steps are done
	Busy  Kind = "busy"  // promised; still training or catching up
	Nack  Kind = "nack"  // I promised a later ballot
	Begin Kind = "begin" // the roster is settled: reduce, or adopt what someone has prepared
	Done  Kind = "done"  // reduced and stored; this is the hash
	Abort Kind = "abort" // this ballot failed here
)

// Message is what machines say to each other. Which fields are set depends on the kind.
type Message struct {
	Kind     Kind          `json:"kind"`
	Ballot   Ballot        `json:"ballot,omitzero"`
	Record   *Record       `json:"record,omitempty"`   // head, poll: the sender's last record
	Cut      bool          `json:"cut,omitempty"`      // poll: stop training now
	Samples  int64         `json:"samples,omitempty"`  // ready: trained since the last record
	Work     int64         `json:"work,omitempty"`     // ready: names what was trained
	Norm     float64       `json:"norm,omitempty"`     // ready: L2 norm of what was trained
	Took     time.Duration `json:"took,omitempty"`     // ready: time the local steps took
	Prepared *Prepared     `json:"prepared,omitempty"` // ready: stored for this round; begin: what to adopt
	Holders  []ID          `json:"holders,omitempty"`  // begin: who holds what is to be adopted
	Settled  *Settled      `json:"settled,omitempty"`  // begin
	Hash     string        `json:"hash,omitempty"`     // done
	Reason   string        `json:"reason,omitempty"`   // abort, busy; ready: why there are no samples
	Blame    ID            `json:"blame,omitempty"`    // abort: who made the ballot fail
	Blames   []Absence     `json:"blames,omitempty"`   // ready: whom the sender blamed in this round, and why
}

// Settled is the coordinator's decision on one ballot.
type Settled struct {
	Roster  Roster          `json:"roster"`  // takes part in the ballot, and is the next round's if it commits
	Samples []int64         `json:"samples"` // by rank; what each brings
	Work    []int64         `json:"work"`    // by rank; its name
	Norms   []float64       `json:"norms"`   // by rank; L2 norm of what the work changed
	Took    []time.Duration `json:"took"`    // by rank; 0: did not train
	Plan    string          `json:"plan,omitempty"`
	Missing []Absence       `json:"missing,omitempty"`
	Lineage string          `json:"lineage"`
}

// Prepared is a reduced state that is stored but not committed. All of it but Ballot is what gets committed.
type Prepared struct {
	Ballot  Ballot    `json:"ballot"` // the last one to store it
	Origin  Ballot    `json:"origin"` // the one that reduced it
	Hash    string    `json:"hash"`
	Lineage string    `json:"lineage"`
	Roster  Roster    `json:"roster"`
	Shares  []Share   `json:"shares,omitempty"`
	Missing []Absence `json:"missing,omitempty"`
}

// Encode is the message's form on the wire, JSON.
func (m Message) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err == nil && len(b) > MaxMessageBytes {
		return nil, fmt.Errorf("encode %s: %d bytes, more than the limit of %d", m.Kind, len(b), MaxMessageBytes)
	}
	return b, err
}

// Decode reads a message and checks its form, so that a machine only sees messages that could be true.
func Decode(b []byte) (Message, error) {
	var m Message
	if len(b) > MaxMessageBytes {
		return m, fmt.Errorf("decode message: %d bytes, more than the limit of %d", len(b), MaxMessageBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Message{}, fmt.Errorf("decode message: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Message{}, fmt.Errorf("decode %q message: more behind it at byte %d of %d", m.Kind, d.InputOffset(), len(b))
	}
	if err := m.check(); err != nil {
		return Message{}, fmt.Errorf("decode %q message: %w", m.Kind, err)
	}
	return m, nil
}

func (m Message) check() error {
	if len(m.Holders) > MaxMembers {
		return fmt.Errorf("%d holders, more than the limit of %d", len(m.Holders), MaxMembers)
	}
	if m.Samples < 0 || m.Samples > maxSamples || m.Took < 0 {
		return fmt.Errorf("%d samples in %v", m.Samples, m.Took)
	}
	if err := checkNorm(m.Norm); err != nil {
		return err
	}
	if err := checkBlames(m.Blames); err != nil {
		return err
	}
	if m.Record != nil {
		if err := m.Record.check(); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	if m.Prepared != nil {
		if err := m.Prepared.check(); err != nil {
			return fmt.Errorf("prepared: %w", err)
		}
	}
	if m.Settled != nil {
		if err := m.Settled.check(); err != nil {
			return fmt.Errorf("settled: %w", err)
		}
	}
	return m.complete()
}

// complete checks that what a kind of message needs is there.
func (m Message) complete() error {
	switch m.Kind {
	case Ask, Ready, Nack, Busy, Abort:
	case Head, Poll:
		if m.Record == nil {
			return errors.New("no record")
		}
	case Begin:
		if m.Settled == nil {
			return errors.New("no roster")
		}
		if m.Prepared != nil && len(m.Holders) == 0 {
			return errors.New("nobody holds what is to be adopted")
		}
	case Done:
		if m.Hash == "" {
			return errors.New("no hash")
		}
	default:
		return errors.New("unknown kind")
	}
	return nil
}

func (r Record) check() error {
	if r.Hash == "" {
		if r.Round != 0 || r.Lineage != "" || r.Roster.Size() != 0 || len(r.Samples) != 0 {
			return errors.New("no hash")
		}
		return nil
	}
	if r.Lineage == "" || r.Roster.Size() == 0 {
		return errors.New("no lineage or no members")
	}
	if n := max(len(r.Samples), len(r.Work)); n > MaxMembers {
		return fmt.Errorf("samples of %d members, more than the limit of %d", n, MaxMembers)
	}
	for id, n := range r.Samples {
		if n < 0 || n > maxSamples {
			return fmt.Errorf("%d samples of %s", n, id)
		}
	}
	return cmp.Or(r.Roster.check(), checkShares(r.Shares, r.Missing))
}

func (p Prepared) check() error {
	if p.Hash == "" || p.Lineage == "" || p.Roster.Size() == 0 {
		return errors.New("no hash, no lineage or no members")
	}
	return cmp.Or(p.Roster.check(), checkShares(p.Shares, p.Missing))
}

func (s Settled) check() error {
	if n := len(s.Roster.Members); n == 0 || len(s.Samples) != n || len(s.Work) != n || len(s.Norms) != n || len(s.Took) != n {
		return fmt.Errorf("%d members, %d samples, %d names of work, %d norms, %d times", n, len(s.Samples), len(s.Work), len(s.Norms), len(s.Took))
	}
	if len(s.Plan) > MaxPlanBytes {
		return fmt.Errorf("a plan of %d bytes, more than the limit of %d", len(s.Plan), MaxPlanBytes)
	}
	for _, x := range s.Norms {
		if err := checkNorm(x); err != nil {
			return err
		}
	}
	if slices.Min(s.Samples) < 0 || slices.Max(s.Samples) > maxSamples || slices.Min(s.Took) < 0 {
		return errors.New("samples or times out of bounds")
	}
	return cmp.Or(s.Roster.check(), checkShares(nil, s.Missing))
}

func (r Roster) check() error {
	if r.Size() > MaxMembers {
		return fmt.Errorf("%d members, more than the limit of %d", r.Size(), MaxMembers)
	}
	for i := 1; i < r.Size(); i++ {
		if r.Members[i-1] >= r.Members[i] {
			return fmt.Errorf("members are not sorted and distinct at rank %d", i)
		}
	}
	return nil
}

func checkShares(shares []Share, missing []Absence) error {
	if len(shares) > MaxMembers || len(missing) > MaxMembers {
		return fmt.Errorf("%d shares and %d absences, more than the limit of %d", len(shares), len(missing), MaxMembers)
	}
	for _, s := range shares {
		if s.Samples < 0 || s.Samples > maxSamples {
			return fmt.Errorf("%d samples of %s", s.Samples, s.ID)
		}
		if err := checkNorm(s.Norm); err != nil {
			return fmt.Errorf("share of %s: %w", s.ID, err)
		}
	}
	return nil
}

// checkNorm refuses what is no L2 norm. JSON has no word for what is not finite; a caller in Go has.
func checkNorm(x float64) error {
	if !(x >= 0 && x <= math.MaxFloat64) {
		return fmt.Errorf("a norm of %v", x)
	}
	return nil
}

func checkBlames(blames []Absence) error {
	if len(blames) > maxBlames {
		return fmt.Errorf("%d members blamed, more than the limit of %d", len(blames), maxBlames)
	}
	for _, b := range blames {
		if b.ID == "" || len(b.Reason) > maxReasonBytes {
			return fmt.Errorf("%q is blamed with %d bytes of reason; the limit is %d", b.ID, len(b.Reason), maxReasonBytes)
		}
	}
	return nil
}
