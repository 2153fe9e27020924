package chaos

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// reachable asks over the wire who answers whom: a letter of the answer for each pair, in order, "." for nobody.
func reachable(t *testing.T, w *Wire, servers []net.PacketConn) string {
	t.Helper()
	var got strings.Builder
	for i := range servers {
		for j := range servers {
			if i == j {
				continue
			}
			mark := "."
			if err := w.Enter(i, func() error { return ask(w.Addr(j) + ":9") }); err == nil {
				mark = "x"
			}
			got.WriteString(mark)
		}
		got.WriteString(" ")
	}
	return strings.TrimSpace(got.String())
}

// ask sends a packet and awaits its echo.
func ask(addr string) error {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("there?")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 16))
	return err
}

// echo answers every packet that comes to agent i.
func echo(t *testing.T, w *Wire, i int) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	if err := w.Enter(i, func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(context.Background(), "udp4", w.Addr(i)+":9")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 16)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	return c
}

// What a wire does to packets, pair by pair: without this, a scenario whose partition does not part would pass.
func TestWire(t *testing.T) {
	if err := Able(); err != nil {
		t.Skip(err)
	}
	w, err := NewWire(int(wires.Add(1)), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	var servers []net.PacketConn
	for i := range 3 {
		servers = append(servers, echo(t, w, i))
	}
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"whole", func() error { return nil }, "xx xx xx"},
		{"split", func() error { return w.Split([]int{0, 2}, []int{1}) }, ".x .. x."},
		{"split otherwise", func() error { return w.Split([]int{0}, []int{1, 2}) }, ".. .x .x"},
		{"healed", w.Heal, "xx xx xx"},
		{"one way: no echo either, as it takes two", func() error { return w.Mute(0, 1) }, ".x .x xx"},
		{"healed again", w.Heal, "xx xx xx"},
		{"pulled", func() error { return w.Pull(2) }, "x. x. .."},
		{"plugged", func() error { return w.Plug(2) }, "xx xx xx"},
		{"slow", func() error { return w.Rate(0, "100mbit") }, "xx xx xx"},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		got := ""
		for range 5 { // a card that got its carrier back takes a moment
			if got = reachable(t, w, servers); got == step.want {
				break
			}
		}
		if got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	if err := w.Rate(1, "10mbit"); err != nil {
		t.Fatal(err)
	}
	if took, want := transfer(t, w, 1, 0, 2<<20), 1500*time.Millisecond; took < want {
		t.Errorf("2 MiB over 10 Mb/s took %v, want at least %v", took, want)
	}
}

// transfer times so many bytes over TCP.
func transfer(t *testing.T, w *Wire, from, to, bytes int) time.Duration {
	t.Helper()
	var l net.Listener
	if err := w.Enter(to, func() (err error) {
		l, err = net.Listen("tcp4", w.Addr(to)+":10")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		b, n := make([]byte, 64<<10), 0
		for n < bytes {
			k, err := c.Read(b)
			if n += k; err != nil {
				done <- fmt.Errorf("after %d bytes: %w", n, err)
				return
			}
		}
		done <- nil
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := w.Dial(ctx, from, w.Addr(to)+":10")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	if _, err := c.Write(make([]byte, bytes)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}
