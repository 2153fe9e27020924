package roster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// MaxMessageBytes bounds an encoded message: a record names every member a few times, some 60 bytes each.
const MaxMessageBytes = 1 << 20

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
	Took     time.Duration `json:"took,omitempty"`     // ready: time the local steps took
	Prepared *Prepared     `json:"prepared,omitempty"` // ready: stored for this round; begin: what to adopt
	Holders  []ID          `json:"holders,omitempty"`  // begin: who holds what is to be adopted
	Settled  *Settled      `json:"settled,omitempty"`  // begin
	Hash     string        `json:"hash,omitempty"`     // done
	Reason   string        `json:"reason,omitempty"`   // abort, busy
}

// Settled is the coordinator's decision on one ballot.
type Settled struct {
	Roster  Roster          `json:"roster"`  // takes part in the ballot, and is the next round's if it commits
	Samples []int64         `json:"samples"` // by rank; what each brings
	Took    []time.Duration `json:"took"`    // by rank; 0: did not train
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
		return m, fmt.Errorf("decode message: %w", err)
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("decode %q message: %w", m.Kind, err)
	}
	return m, nil
}

func (m Message) check() error {
	if m.Record != nil {
		if err := m.Record.check(); err != nil {
			return err
		}
	}
	switch m.Kind {
	case Ask, Nack, Busy, Abort:
		return nil
	case Head, Poll:
		if m.Record == nil {
			return errors.New("no record")
		}
	case Ready:
		if m.Samples < 0 || m.Took < 0 {
			return fmt.Errorf("%d samples in %v", m.Samples, m.Took)
		}
	case Begin:
		if m.Settled == nil {
			return errors.New("no roster")
		}
		return m.Settled.check()
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
	if !ordered(r.Roster.Members) {
		return errors.New("members of the record are not sorted and distinct")
	}
	for id, n := range r.Samples {
		if n < 0 {
			return fmt.Errorf("%d samples of %s", n, id)
		}
	}
	for _, s := range r.Shares {
		if s.Samples < 0 {
			return fmt.Errorf("%d samples of %s", s.Samples, s.ID)
		}
	}
	return nil
}

func (s Settled) check() error {
	if n := len(s.Roster.Members); n == 0 || len(s.Samples) != n || len(s.Took) != n {
		return fmt.Errorf("%d members, %d samples, %d times", n, len(s.Samples), len(s.Took))
	}
	if !ordered(s.Roster.Members) {
		return errors.New("members are not sorted and distinct")
	}
	if slices.Min(s.Samples) < 0 || slices.Min(s.Took) < 0 {
		return errors.New("negative samples or time")
	}
	return nil
}

func ordered(ids []ID) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i-1] >= ids[i] {
			return false
		}
	}
	return true
}
