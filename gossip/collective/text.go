package collective

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxTextBytes bounds the text of a plan: an order and nodes of maxSize ranks take less than a tenth of it.
const MaxTextBytes = 64 << 10

// text is the form of a plan that members send each other, in JSON:
//
//	{"plan":"ring","order":[0,2,1],"nodes":[0,0,1]}
//
// order and nodes, which may be missing, are those of Arrange.
type text struct {
	Plan  string `json:"plan"`
	Order []int  `json:"order,omitempty"`
	Nodes []int  `json:"nodes,omitempty"`
}

// Encode is the text that Decode makes the same plan of.
func (p Plan) Encode() string {
	b, err := json.Marshal(text{p.Name, p.Order, p.Nodes})
	if err != nil {
		panic(fmt.Sprintf("encode plan: %v", err)) // a string and integers always have a text
	}
	return string(b)
}

// Decode makes the plan that a text names for size ranks. What the text says is checked, as a peer wrote it.
func Decode(s string, size int) (Plan, error) {
	if len(s) > MaxTextBytes {
		return Plan{}, fmt.Errorf("decode plan: %d bytes, limit %d", len(s), MaxTextBytes)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	d.DisallowUnknownFields()
	var t text
	if err := d.Decode(&t); err != nil {
		return Plan{}, fmt.Errorf("decode plan %.80q: %w", s, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Plan{}, fmt.Errorf("decode plan %.80q: more than one value", s)
	}
	p, err := Arrange(t.Plan, size, t.Order, t.Nodes)
	if err != nil {
		return Plan{}, fmt.Errorf("decode plan %.80q: %w", s, err)
	}
	return p, nil
}
