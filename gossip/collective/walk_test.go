package collective

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// paced is a link that takes a while for each byte that it sends, and fails at the deadline.
type paced struct {
	*plug
	perByte time.Duration
	sizes   []int
}

func (p *paced) Send(to int, segment []byte, deadline time.Time) error {
	p.sizes = append(p.sizes, len(segment))
	if took := time.Duration(len(segment)) * p.perByte; time.Until(deadline) < took {
		time.Sleep(time.Until(deadline))
		return errDeadline
	} else if took > 0 {
		time.Sleep(took)
	}
	return p.plug.Send(to, segment, deadline)
}

// A link on which one segment takes most of the deadline gets one at a time, and the exchange succeeds; a quick one gets more
// and more at once, up to the limit, and never more than a turn has.
func TestOnlyQuickLinksGetManySegmentsAtOnce(t *testing.T) {
	const n, segment, each = 2, 4, 40 // segments in a chunk
	for _, c := range []struct {
		name    string
		perByte time.Duration
		largest int
	}{
		{"quick", 0, sendMost},
		{"slow", 500 * time.Millisecond, 1},   // 8 s of 10 for a segment
		{"edge", 9 * time.Millisecond, 2},     // 144 ms: two at once are over the part that is at ease
		{"later", 19 * time.Millisecond, 1},   // 304 ms: one is
		{"brisk", 2400 * time.Microsecond, 8}, // 38 ms: eight are
	} {
		for _, wire := range []string{"fp32", "int8"} {
			synctest.Test(t, func(t *testing.T) {
				cfg := Defaults()
				cfg.Segment, cfg.Wire = segment, wire
				bytes := Bytes(wire, segment, segment)
				links, vecs := plugs(n, 100), [][]float32{ramp(n * each * segment), ramp(n * each * segment)}
				slow := &paced{plug: links[0].(*plug), perByte: c.perByte * 16 / time.Duration(bytes)}
				links[0] = slow
				_, errs := meanAll(t.Context(), Ring(n), []float64{1, 1}, vecs, links, cfg)
				if errs[0] != nil || errs[1] != nil {
					t.Fatalf("%s, %s: %v", c.name, wire, errs)
				}
				if got := slices.Max(slow.sizes); got != c.largest*bytes {
					t.Errorf("%s, %s: at most %d bytes at once, want %d segments of %d", c.name, wire, got, c.largest, bytes)
				}
				if !slices.Equal(vecs[0], vecs[1]) {
					t.Errorf("%s, %s: ranks differ", c.name, wire)
				}
			})
		}
	}
}

// ramp is a vector whose every segment is another.
func ramp(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i + 1)
	}
	return v
}
