package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProbeMeasures(t *testing.T) {
	hosts, _ := newCluster(t, 2)
	p, err := hosts[0].Probe(within(t, 10*time.Second), hosts[1].ID())
	if err != nil {
		t.Fatal(err)
	}
	if p.RTT <= 0 || p.RTT > time.Second || p.BytesPerSecond < 1e6 || p.BytesPerSecond > 1e12 {
		t.Errorf("over loopback: %+v", p)
	}
}

// slow is a wire that lets so many bytes pass each second.
type slow struct {
	io.ReadWriter
	rate int
}

func (s slow) Read(b []byte) (int, error) {
	n, err := s.ReadWriter.Read(b)
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

func TestProbeKnowsASlowLink(t *testing.T) {
	for _, rate := range []int{50_000, 1_250_000, 12_500_000} {
		synctest.Test(t, func(t *testing.T) {
			here, there := newPipe()
			go func() { _ = answerProbe(slow{there, rate}) }()
			p, err := measure(here, "peer")
			if err != nil {
				t.Fatal(err)
			}
			if r := p.BytesPerSecond / float64(rate); r < 0.95 || r > 1.05 {
				t.Errorf("%d bytes per second were measured as %.0f", rate, p.BytesPerSecond)
			}
			_ = here.Close()
		})
	}
}

func TestProbeYieldsToExchanges(t *testing.T) {
	hosts, r := newCluster(t, 3)
	ctx := within(t, 10*time.Second)
	release, ok := hosts[0].probing(func() {})
	if !ok {
		t.Fatal("busy with nothing")
	}
	if _, err := hosts[0].Probe(ctx, hosts[1].ID()); !errors.Is(err, ErrBusy) {
		t.Errorf("a second probe here: %v, want ErrBusy", err)
	}
	if _, err := hosts[1].Probe(ctx, hosts[0].ID()); !errors.Is(err, ErrBusy) {
		t.Errorf("a second probe there: %v, want ErrBusy", err)
	}
	release()
	l, err := hosts[0].Links(context.Background(), tagOf(r, 1), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hosts[0].Probe(ctx, hosts[1].ID()); !errors.Is(err, ErrBusy) {
		t.Errorf("during an exchange here: %v, want ErrBusy", err)
	}
	if _, err := hosts[1].Probe(ctx, hosts[0].ID()); !errors.Is(err, ErrBusy) {
		t.Errorf("during an exchange there: %v, want ErrBusy", err)
	}
	l.Abort()
	if _, err := hosts[1].Probe(ctx, hosts[0].ID()); err != nil {
		t.Errorf("after the exchange: %v", err)
	}
	ended := make(chan struct{})
	if _, ok := hosts[2].probing(func() { close(ended) }); !ok {
		t.Fatal("busy with nothing")
	}
	next, err := hosts[2].Links(context.Background(), tagOf(r, 2), r)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Abort()
	<-ended
}

func TestProbeFailures(t *testing.T) {
	hosts, _ := newCluster(t, 1)
	if _, err := hosts[0].Probe(within(t, time.Second), newHost(t).ID()); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("probe a stranger: %v, want ErrNotAdmitted", err)
	}
	for _, wire := range []string{
		"\x00\x00\x00\x0d\x04load\x00\x00\x00\x00\x7f\xff\xff\xff", "\x00\x00\x00\x0d\x04ping\x00\x00\x00\x00\x00\x00\x00\x01",
		"\x00\x00\x00\x05\x04ping", "\x00\x00\x00\x0d\x04pong\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		if err := answerProbe(readWriter{strings.NewReader(wire), io.Discard}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q was answered: %v", wire, err)
		}
	}
}

// readWriter joins two halves.
type readWriter struct {
	io.Reader
	io.Writer
}

func FuzzAnswerProbe(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0d\x04ping\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x0d\x04load\x00\x00\x00\x00\x00\x00\x00\x04abcd"))
	f.Add([]byte("\x00\x00\x00\x0d\x04load\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		var said bytes.Buffer
		if err := answerProbe(readWriter{bytes.NewReader(wire), &said}); err == nil {
			t.Error("answered without end")
		}
		if said.Len() > len(wire) {
			t.Errorf("%d bytes were answered with %d", len(wire), said.Len())
		}
	})
}

func FuzzProbeAnswers(f *testing.F) {
	f.Add(bytes.Repeat([]byte("\x00\x00\x00\x0d\x04ping\x00\x00\x00\x00\x00\x00\x00\x00"), 4))
	f.Add(append(bytes.Repeat([]byte("\x00\x00\x00\x0d\x04ping\x00\x00\x00\x00\x00\x00\x00\x00"), 4),
		"\x00\x00\x00\x0d\x04took\xff\xff\xff\xff\xff\xff\xff\xff"...))
	f.Add(append([]byte("\x00\x00\x00\x05\x04busy"), binary.BigEndian.AppendUint64(nil, 1)...))
	f.Fuzz(func(t *testing.T, said []byte) {
		p, err := measure(&saying{r: bytes.NewReader(said)}, "peer")
		if err == nil && (p.RTT < 0 || !(p.BytesPerSecond > 0)) {
			t.Errorf("%q makes %+v", said, p)
		}
	})
}
