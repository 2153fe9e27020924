package agent

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"shoal/eval"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
)

// Names of the calls by which an evaluator gives members their parts.
const (
	statisticsKind = "statistics"
	testKind       = "test"
)

// partRequest asks for parts [Lo, Hi) of the evaluation of the state with Hash.
type partRequest struct {
	Hash       string `json:"hash"`
	Lo         int    `json:"lo"`
	Hi         int    `json:"hi"`
	Statistics []byte `json:"statistics,omitempty"` // little-endian float32; none: the state's own
}

// askStatistics asks a member for statistics of a portion.
func (a *Agent) askStatistics(ctx context.Context, to roster.ID, hash string, p portion) ([][]float32, error) {
	body, err := json.Marshal(partRequest{Hash: hash, Lo: p.lo, Hi: p.hi})
	if err != nil {
		return nil, err
	}
	answer, err := a.host.Call(ctx, to, statisticsKind, body)
	if err != nil {
		return nil, err
	}
	length := a.trainer.statistics()
	if len(answer) != 4*length*(p.hi-p.lo) {
		return nil, fmt.Errorf("statistics of %d parts in %d bytes, want %d", p.hi-p.lo, len(answer), 4*length*(p.hi-p.lo))
	}
	values := decodeFloats(answer)
	return slices.Collect(slices.Chunk(values, length)), nil
}

// askTest asks a member for the score of a portion.
func (a *Agent) askTest(ctx context.Context, to roster.ID, hash string, statistics []float32, p portion) ([]eval.Sum, error) {
	body, err := json.Marshal(partRequest{Hash: hash, Lo: p.lo, Hi: p.hi, Statistics: encodeFloats(statistics)})
	if err == nil && len(body) > p2p.MaxMessageBytes {
		err = fmt.Errorf("a model with %d statistics is scored by one agent: %d bytes are over the limit of a message", len(statistics), len(body))
	}
	if err != nil {
		return nil, err
	}
	answer, err := a.host.Call(ctx, to, testKind, body)
	if err != nil {
		return nil, err
	}
	sums, err := decodeSums(answer, p.hi-p.lo)
	for i, s := range sums {
		if want := a.trainer.scorer().Images(p.lo + i); s.Images != want {
			return nil, fmt.Errorf("part %d of the test images has %d of them, want %d", p.lo+i, s.Images, want)
		}
	}
	return sums, err
}

// serveParts does an evaluator's portion. A member does one at a time, so that nobody can keep it from training by asking
// for many.
func (a *Agent) serveParts(ctx context.Context, from roster.ID, kind string, body []byte) ([]byte, error) {
	r, err := a.partOf(from, body)
	if err != nil {
		return nil, err
	}
	select {
	case a.serving <- struct{}{}:
		defer func() { <-a.serving }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p := portion{r.Lo, r.Hi}
	if kind == statisticsKind {
		parts, err := a.statisticsHere(ctx, r.Hash, p)
		return encodeFloats(slices.Concat(parts...)), err
	}
	var statistics []float32
	if len(r.Statistics) > 0 {
		statistics = decodeFloats(r.Statistics)
	}
	sums, err := a.testHere(ctx, r.Hash, statistics, p)
	return encodeSums(sums), err
}

// partOf reads a request of a member.
func (a *Agent) partOf(from roster.ID, body []byte) (r partRequest, err error) {
	if !slices.Contains(a.shown.peers(), from) {
		return r, fmt.Errorf("%s is no member here", from)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("read request for a part of an evaluation: %w", err)
	}
	switch {
	case !hashPattern.MatchString(r.Hash):
		return r, fmt.Errorf("%.80q is no state hash", r.Hash)
	case len(r.Statistics)%4 != 0:
		return r, fmt.Errorf("statistics of %d bytes are no values of four", len(r.Statistics))
	case r.Hi-r.Lo > portionBatches:
		return r, fmt.Errorf("parts [%d, %d) of an evaluation, more than %d at once", r.Lo, r.Hi, portionBatches)
	}
	return r, nil
}

func encodeFloats(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// decodeFloats reads what encodeFloats wrote; what is left of fewer than four bytes is ignored.
func decodeFloats(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// sumBytes is a Sum on the wire: the loss as float64, the images that are right, and all, as uint64, little-endian.
const sumBytes = 24

func encodeSums(sums []eval.Sum) []byte {
	var b []byte
	for _, s := range sums {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.Loss))
		b = binary.LittleEndian.AppendUint64(b, uint64(s.Correct))
		b = binary.LittleEndian.AppendUint64(b, uint64(s.Images))
	}
	return b
}

// decodeSums reads so many sums, and refuses what no part of a test set can be.
func decodeSums(b []byte, count int) ([]eval.Sum, error) {
	if len(b) != count*sumBytes {
		return nil, fmt.Errorf("%d parts in %d bytes, want %d", count, len(b), count*sumBytes)
	}
	sums := make([]eval.Sum, count)
	for i := range sums {
		at := b[i*sumBytes:]
		right, images := binary.LittleEndian.Uint64(at[8:]), binary.LittleEndian.Uint64(at[16:])
		if right > images || images > math.MaxInt32 {
			return nil, fmt.Errorf("part %d: %d of %d images are right", i, right, images)
		}
		sums[i] = eval.Sum{Loss: math.Float64frombits(binary.LittleEndian.Uint64(at)), Correct: int(right), Images: int(images)}
	}
	return sums, nil
}
