package cluster

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"shoal/agent/part"
)

// A snapshot is all that a cluster is between two rounds: a line of JSON, vectors of little-endian float32 (the state, then
// of each member its momentum, what its encodings lost, and with pairs its state), and the SHA-256 of all before it, 32 bytes.
//
//	{"tag":"…","number":12,"images":6144,…,"state":2246000,"members":[{"momentum":1111000,"lost":0},…]}
//
// It is read on the kind of machine that wrote it: agents' files go elsewhere, this one does not.
type head struct {
	Tag     string          `json:"tag"`
	Number  int             `json:"number"`
	Images  int64           `json:"images"`
	Now     time.Duration   `json:"now"`
	Busy    []time.Duration `json:"busy"`
	History []time.Duration `json:"history"`
	Clocks  []time.Duration `json:"clocks,omitempty"` // with pairs
	State   int             `json:"state"`            // elements
	Members []lengths       `json:"members"`
}

// lengths are the elements that a member keeps.
type lengths struct {
	Momentum int `json:"momentum"`
	Lost     int `json:"lost"`
	State    int `json:"state,omitempty"` // with pairs
}

const maxHeadBytes = 1 << 20 // some hundred bytes a member

// Save writes a snapshot. Tag says what the cluster runs, in one line.
func (c *Cluster) Save(w io.Writer, tag string) error {
	h := head{tag, c.number, c.images, c.now, c.busy, c.history, c.clocks, len(c.state), nil}
	vectors := [][]float32{c.state}
	for _, m := range c.members {
		h.Members = append(h.Members, lengths{len(m.momentum), len(m.averager.Lost()), len(m.state)})
		vectors = append(vectors, m.momentum, m.averager.Lost(), m.state)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("save the cluster: %w", err)
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	_, err = both.Write(append(text, '\n'))
	for _, v := range vectors {
		if err == nil {
			_, err = both.Write(part.Bytes(v))
		}
	}
	if err == nil {
		_, err = w.Write(sum.Sum(nil))
	}
	if err != nil {
		return fmt.Errorf("save the cluster: %w", err)
	}
	return nil
}

// Load makes the cluster what a snapshot with the tag says, of round most or an earlier one. After an error it is as it was.
func (c *Cluster) Load(r io.Reader, tag string, most int) error {
	h, vectors, err := c.read(r, tag)
	if err == nil && h.Number > most {
		err = fmt.Errorf("it is of round %d, and rows are known to round %d", h.Number, most)
	}
	if err != nil {
		return fmt.Errorf("load the cluster: %w", err)
	}
	c.number, c.images, c.now, c.history = h.Number, h.Images, h.Now, h.History
	copy(c.busy, h.Busy)
	copy(c.clocks, h.Clocks)
	copy(c.state, vectors[0])
	for i, m := range c.members {
		own := vectors[1+3*i:]
		m.momentum = own[0]
		if lost := own[1]; len(lost) > 0 {
			m.averager.Recall(lost)
		}
		copy(m.state, own[2])
	}
	return nil
}

// read reads and checks a snapshot.
func (c *Cluster) read(r io.Reader, tag string) (head, [][]float32, error) {
	var h head
	sum := sha256.New()
	in := bufio.NewReaderSize(r, maxHeadBytes)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return h, nil, fmt.Errorf("read its head: %w", err)
	}
	sum.Write(line)
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return h, nil, fmt.Errorf("read its head: %w", err)
	}
	if err := c.suits(h, tag); err != nil {
		return h, nil, err
	}
	lens := []int{h.State}
	for _, m := range h.Members {
		lens = append(lens, m.Momentum, m.Lost, m.State)
	}
	vectors, err := readVectors(in, sum, lens)
	return h, vectors, err
}

// suits refuses a snapshot of another cluster. Invariant: what it lets through is not larger than the cluster itself.
func (c *Cluster) suits(h head, tag string) error {
	switch {
	case h.Tag != tag:
		return fmt.Errorf("it is of %.80q, not of %.80q", h.Tag, tag)
	case h.State != len(c.state) || len(h.Members) != c.agents || len(h.Busy) != c.agents || len(h.Clocks) != len(c.clocks):
		return fmt.Errorf("it has %d values and %d members, not %d and %d", h.State, len(h.Members), len(c.state), c.agents)
	case h.Number < 1 || h.Images < 0 || h.Now < 0 || len(h.History) > historyLen:
		return fmt.Errorf("round %d, %d images, %v, history of %d: they cannot be", h.Number, h.Images, h.Now, len(h.History))
	}
	for i, at := range h.Clocks {
		if at < 0 || at > h.Now {
			return fmt.Errorf("member %d was done at %v, and it is %v: that cannot be", i, at, h.Now)
		}
	}
	own := len(c.workers[0].learner.Shared(true)) - c.shared
	for i, m := range h.Members {
		if m.Momentum != 0 && m.Momentum != own || m.Lost != 0 && m.Lost != c.shared || m.State != len(c.members[i].state) {
			return fmt.Errorf("member %d has %d values of momentum, %d lost and %d of a state, not %d, %d and %d",
				i, m.Momentum, m.Lost, m.State, own, c.shared, len(c.members[i].state))
		}
	}
	return nil
}

// readVectors reads vectors of the lengths, and the check sum after them.
func readVectors(in io.Reader, sum hash.Hash, lens []int) ([][]float32, error) {
	both := io.TeeReader(in, sum)
	vectors := make([][]float32, len(lens))
	for i, n := range lens {
		vectors[i] = make([]float32, n)
		if _, err := io.ReadFull(both, part.Bytes(vectors[i])); err != nil {
			return nil, fmt.Errorf("read vector %d: %w", i, err)
		}
	}
	want := sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, want) {
		return nil, fmt.Errorf("its check sum is wrong: %w", errOr(err))
	}
	return vectors, nil
}

// errOr is err, or that the content differs.
func errOr(err error) error {
	if err == nil {
		return fmt.Errorf("the file is damaged")
	}
	return err
}
