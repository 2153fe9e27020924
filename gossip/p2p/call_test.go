package p2p

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"shoal/gossip/roster"
)

func TestCallAnswers(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	state := make([]byte, 5*chunkBytes+17)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range state {
		state[i] = byte(r.Uint32())
	}
	b.HandleCall("state", func(_ context.Context, from roster.ID, body []byte) ([]byte, error) {
		if from != a.ID() {
			t.Errorf("call of %s, want %s", from, a.ID())
		}
		return state[:binary.BigEndian.Uint32(body)], nil
	})
	for _, n := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, len(state)} {
		got, err := a.Call(within(t, 5*time.Second), b.ID(), "state", binary.BigEndian.AppendUint32(nil, uint32(n)))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if sha256.Sum256(got) != sha256.Sum256(state[:n]) {
			t.Errorf("%d bytes: got others, %d of them", n, len(got))
		}
	}
}

func TestCallFailures(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	a, b := hosts[0], hosts[1]
	b.HandleCall("fail", func(context.Context, roster.ID, []byte) ([]byte, error) {
		return []byte("never seen"), errors.New("no such hash")
	})
	gone := make(chan error, 1)
	b.HandleCall("wait", func(ctx context.Context, _ roster.ID, _ []byte) ([]byte, error) {
		<-ctx.Done()
		gone <- ctx.Err()
		return nil, ctx.Err()
	})
	var remote *RemoteError
	_, err := a.Call(within(t, 5*time.Second), b.ID(), "fail", nil)
	if !errors.As(err, &remote) || *remote != (RemoteError{b.ID(), "fail", "no such hash"}) {
		t.Errorf("failing handler: %v", err)
	}
	var refused *RefusedError
	if _, err := a.Call(within(t, 5*time.Second), b.ID(), "what", nil); !errors.As(err, &refused) || refused.Reason != `call "what" is unknown` {
		t.Errorf("unknown call: %v", err)
	}
	if _, err := a.Call(within(t, 50*time.Millisecond), b.ID(), "wait", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow handler: %v, want DeadlineExceeded", err)
	}
	if err := <-gone; err == nil {
		t.Error("the handler's ctx did not end with the caller's deadline")
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := a.Call(ctx, b.ID(), "wait", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled call: %v, want Canceled", err)
	}
	<-gone
}

func TestCallFailsWhenThePeerDies(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	entered := make(chan struct{})
	hosts[1].HandleCall("wait", func(ctx context.Context, _ roster.ID, _ []byte) ([]byte, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	go func() {
		<-entered
		_ = hosts[1].Close()
	}()
	start := time.Now()
	if _, err := hosts[0].Call(within(t, 10*time.Second), hosts[1].ID(), "wait", nil); err == nil {
		t.Error("a dead peer answered")
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("took %v; a reset connection shows at once", d)
	}
}

func TestReadAnswerBelievesNoLength(t *testing.T) {
	if _, err := readAnswer(bytes.NewReader(nil), MaxAnswerBytes+1); err == nil {
		t.Error("an answer over the limit was read")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readAnswer(bytes.NewReader(make([]byte, 10)), MaxAnswerBytes); err == nil {
		t.Error("ten bytes passed for 256 MiB")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16*chunkBytes { // other goroutines allocate too
		t.Errorf("a claimed length took %d bytes", n)
	}
}
