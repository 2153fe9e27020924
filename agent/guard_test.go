package agent

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Nothing steers an agent but a request from this machine, with the token, in JSON, from no web page.
func TestControlRefuses(t *testing.T) {
	t.Parallel()
	token := newToken()
	steered := 0
	handler := control(token, func(w http.ResponseWriter, _ *http.Request) {
		steered++
		w.WriteHeader(http.StatusAccepted)
	})
	for name, v := range map[string]struct {
		change func(r *http.Request)
		code   int
	}{
		"good":          {func(*http.Request) {}, 202},
		"IPv6 loopback": {func(r *http.Request) { r.RemoteAddr = "[::1]:7" }, 202},
		"mapped":        {func(r *http.Request) { r.RemoteAddr = "[::ffff:127.0.0.1]:7" }, 202},
		"remote":        {func(r *http.Request) { r.RemoteAddr = "192.168.1.12:7" }, 403},
		"no address":    {func(r *http.Request) { r.RemoteAddr = "@" }, 403},
		"no token":      {func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		"empty token":   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, 401},
		"wrong token":   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+newToken()) }, 401},
		"longer token":  {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"0") }, 401},
		"other scheme":  {func(r *http.Request) { r.Header.Set("Authorization", "Basic "+token) }, 401},
		"form":          {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 415},
		"no type":       {func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"page":          {func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:7948") }, 403},
		"cross-site":    {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1/leave", strings.NewReader("{}"))
		r.RemoteAddr = "127.0.0.1:7"
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		v.change(r)
		before, w := steered, httptest.NewRecorder()
		handler(w, r)
		if w.Code != v.code || (steered > before) != (v.code == 202) {
			t.Errorf("%s: %d, want %d; steered: %v; %s", name, w.Code, v.code, steered > before, w.Body)
		}
		if strings.Contains(w.Body.String(), token) {
			t.Errorf("%s: the answer has the token", name)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	t.Parallel()
	a, b := newToken(), newToken()
	if a == b || len(a) != 64 || Instance(a) == Instance(b) || strings.Contains(a, Instance(a)) {
		t.Errorf("tokens %s and %s, instances %s and %s", a, b, Instance(a), Instance(b))
	}
}

// newGuard guards next as an agent on loopback does.
func newGuard(next http.HandlerFunc) *guard {
	return &guard{next: next, instance: "i", local: true, turns: make(chan struct{}, httpAtOnce)}
}

func TestGuardNamesItselfAndItsHost(t *testing.T) {
	t.Parallel()
	g := newGuard(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for host, code := range map[string]int{
		"127.0.0.1:7948": 200, "127.0.0.1": 200, "[::1]:7948": 200, "[::1]": 200, "localhost:7948": 200, "LOCALHOST": 200,
		"192.168.1.2:7948": 200, "evil.example:7948": 403, "evil.example": 403, "": 403, "localhost.evil.example": 403,
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/status", nil)
		r.Host = host
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != code || w.Header().Get(APIHeader) != "1" || w.Header().Get(InstanceHeader) != "i" {
			t.Errorf("host %q: %d, want %d; headers %v", host, w.Code, code, w.Header())
		}
	}
	g.local = false
	r := httptest.NewRequest(http.MethodGet, "/v1/status", nil)
	r.Host = "pi-1.local:7948"
	w := httptest.NewRecorder()
	if g.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("a name in a network that may ask: %d", w.Code)
	}
}

func TestGuardBoundsRequests(t *testing.T) {
	t.Parallel()
	inside, release := make(chan struct{}), make(chan struct{})
	var read error
	g := newGuard(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, read = io.ReadAll(r.Body)
			return
		}
		inside <- struct{}{}
		<-release
	})
	ask := func(method, body string) int {
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.Host = "localhost"
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Code
	}
	if ask(http.MethodPost, strings.Repeat("x", httpBodyBytes)); read != nil {
		t.Errorf("the largest body: %v", read)
	}
	if ask(http.MethodPost, strings.Repeat("x", httpBodyBytes+1)); read == nil {
		t.Error("a body over the limit was read")
	}
	done := make(chan int, httpAtOnce)
	for range httpAtOnce {
		go func() { done <- ask(http.MethodGet, "") }()
		<-inside
	}
	if code := ask(http.MethodGet, ""); code != http.StatusServiceUnavailable {
		t.Errorf("one more than the limit at once: %d", code)
	}
	close(release)
	for range httpAtOnce {
		if code := <-done; code != http.StatusOK {
			t.Errorf("within the limit: %d", code)
		}
	}
	g.tokens.mu.Lock()
	g.tokens.left, g.tokens.at = 0, time.Now().Add(time.Hour)
	g.tokens.mu.Unlock()
	if code := ask(http.MethodPost, ""); code != http.StatusTooManyRequests {
		t.Errorf("more than the rate: %d", code)
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	var b bucket
	now := time.Unix(1000, 0)
	taken := func() int {
		n := 0
		for b.take(now) {
			n++
		}
		return n
	}
	if n := taken(); n != httpBurst {
		t.Errorf("%d at first, want %d", n, httpBurst)
	}
	now = now.Add(time.Second)
	if n := taken(); n != httpPerSecond {
		t.Errorf("%d after a second, want %d", n, httpPerSecond)
	}
	now = now.Add(-time.Hour) // a clock that goes back gives nothing
	if n := taken(); n != 0 {
		t.Errorf("%d after the clock went back", n)
	}
	now = now.Add(time.Hour)
	if n := taken(); n != httpBurst {
		t.Errorf("%d after a long rest, want %d", n, httpBurst)
	}
}

// A client beyond the limit waits until another has gone.
func TestConnectionsAreCapped(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newCapped(l)
	taken := make(chan net.Conn, httpClients+1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			taken <- c
		}
	}()
	dial := func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	for range httpClients + 1 {
		dial()
	}
	var open []net.Conn
	for range httpClients {
		open = append(open, <-taken)
	}
	select {
	case <-taken:
		t.Error("one more than the limit was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	for range 3 { // closing twice gives back one turn
		_ = open[0].Close()
	}
	last := <-taken
	dial()
	select {
	case <-taken:
		t.Error("a connection that was closed thrice made room for two")
	case <-time.After(50 * time.Millisecond):
	}
	_ = l.Close()
	_ = last.Close()
	for _, c := range open {
		_ = c.Close()
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("Accept does not return after the listener is closed")
	}
}
