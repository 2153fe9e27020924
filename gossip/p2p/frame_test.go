package p2p

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"shoal/gossip/roster"
)

func TestFrameLooksAsDocumented(t *testing.T) {
	got, err := appendFrame(nil, "hi", []byte("abc"))
	if want := []byte("\x00\x00\x00\x06\x02hiabc"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestReadFrame(t *testing.T) {
	long := strings.Repeat("k", MaxKindBytes)
	for _, row := range []struct {
		name, wire string
		kind, body string
		fails      bool
	}{
		{name: "body", wire: "\x00\x00\x00\x06\x02hiabc", kind: "hi", body: "abc"},
		{name: "no body", wire: "\x00\x00\x00\x03\x02hi", kind: "hi"},
		{name: "longest", wire: "\x00\x00\x00\x4b\x40" + long + "0123456789", kind: long, body: "0123456789"},
		{name: "body over the limit", wire: "\x00\x00\x00\x0e\x02hi0123456789A", fails: true},
		{name: "frame over the limit", wire: "\x00\x00\x00\x4c\x40" + long + "0123456789A", fails: true},
		{name: "no kind", wire: "\x00\x00\x00\x02\x00a", fails: true},
		{name: "kind beyond the frame", wire: "\x00\x00\x00\x03\x03hi", fails: true},
		{name: "kind too long", wire: "\x00\x00\x00\x42\x41" + long + "k", fails: true},
		{name: "cut in the length", wire: "\x00\x00", fails: true},
		{name: "cut in the body", wire: "\x00\x00\x00\x06\x02hi", fails: true},
		{name: "size 0", wire: "\x00\x00\x00\x00", fails: true},
		{name: "size 1", wire: "\x00\x00\x00\x01\x00", fails: true},
		{name: "largest size", wire: "\xff\xff\xff\xff", fails: true},
	} {
		kind, body, err := readFrame(strings.NewReader(row.wire), 10)
		if (err != nil) != row.fails || kind != row.kind || string(body) != row.body {
			t.Errorf("%s: got %q %q, %v", row.name, kind, body, err)
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%s: a cut frame passes for a clean end: %v", row.name, err)
		}
	}
	if _, _, err := readFrame(strings.NewReader(""), 10); err != io.EOF {
		t.Errorf("nothing: %v, want EOF", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x06\x02hiabc"))
	f.Add([]byte("\xff\xff\xff\xff\x02hi"))
	f.Add([]byte("\x00\x00\x00\x02\x01a"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		kind, body, err := readFrame(bytes.NewReader(wire), 100)
		if err != nil {
			return
		}
		again, err := appendFrame(nil, kind, body)
		if err != nil || !bytes.HasPrefix(wire, again) {
			t.Errorf("%q was read as %q %q, which is written as %q, %v", wire, kind, body, again, err)
		}
	})
}

func FuzzLinkHead(f *testing.F) {
	head := linkHead{roster.Tag{Lineage: "a1", Generation: 2, Ballot: roster.Ballot{Round: 7, View: 1, Coordinator: "c"}}, 0, 1, "5eed"}
	text, err := head.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"from":-1,"to":0}`))
	f.Add([]byte(`{"from":1e99}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLinkHead(text)
		if err != nil {
			return
		}
		if l.From < 0 || l.To < 0 || l.From == l.To {
			t.Fatalf("took ranks %d and %d", l.From, l.To)
		}
		again, err := l.encode()
		if err != nil {
			return // grew over the limit by escapes
		}
		if back, err := parseLinkHead(again); err != nil || back != l {
			t.Errorf("%q became %v, %v", text, back, err)
		}
	})
}
