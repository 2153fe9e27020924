package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Limits of HTTP, far above what people, dashboards and Prometheus need: an agent's CPU is for training.
const (
	httpPerSecond = 200 // requests, over time
	httpBurst     = 400 // requests at once
	httpAtOnce    = 16  // requests that are worked on
	httpBodyBytes = 1 << 10
	httpClients   = 64 // connections; more wait in the system's queue
)

// capped gives out at most httpClients connections at a time.
type capped struct {
	net.Listener
	turns chan struct{}
}

func newCapped(l net.Listener) *capped { return &capped{l, make(chan struct{}, httpClients)} }

// Accept waits until one of the connections given out is closed, if there are too many. When the listener is closed
// meanwhile, the next to close lets it return.
func (l *capped) Accept() (net.Conn, error) {
	l.turns <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.turns
		return nil, err
	}
	return &cappedConn{Conn: c, done: sync.OnceFunc(func() { <-l.turns })}, nil
}

// cappedConn gives its turn back when it is closed.
type cappedConn struct {
	net.Conn
	done func()
}

func (c *cappedConn) Close() error {
	defer c.done()
	return c.Conn.Close()
}

// Headers of every answer: the number of the interface, and which start of which agent answers.
const (
	APIHeader      = "Shoal-API"
	InstanceHeader = "Shoal-Instance"
)

// guard stands before every request: it names the interface, bounds how many there are, and keeps web pages of others out.
type guard struct {
	next     http.Handler
	instance string
	local    bool // the listener is on loopback: a page that has its own name point there must not read anything
	turns    chan struct{}
	tokens   bucket
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(APIHeader, fmt.Sprint(API))
	w.Header().Set(InstanceHeader, g.instance)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case !g.tokens.take(time.Now()):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "more than %d requests a second; ask less often", httpPerSecond)
		return
	case g.local && !localHost(r.Host):
		refuse(w, http.StatusForbidden, "host %q is not this machine; ask by its address", r.Host)
		return
	}
	select {
	case g.turns <- struct{}{}:
		defer func() { <-g.turns }()
	default:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "more than %d requests at once; ask again", httpAtOnce)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, httpBodyBytes)
	g.next.ServeHTTP(w, r)
}

// localHost reports whether a request's host is an address, or localhost: no name that others could point here.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// bucket gives out httpPerSecond tokens a second, and holds httpBurst.
type bucket struct {
	mu   sync.Mutex
	left float64
	at   time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.left = httpBurst
	} else {
		b.left = min(b.left+max(now.Sub(b.at).Seconds(), 0)*httpPerSecond, httpBurst)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// tokenFile holds the secret that control calls must present: who can read the state directory may steer its agent. It is
// made anew at each start.
const tokenFile = "http.token"

// newToken is 256 random bits in hexadecimal.
func newToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return hex.EncodeToString(b[:])
}

// Instance is what InstanceHeader says of an agent whose token is known: that it is the one which wrote it.
func Instance(token string) string {
	sum := sha256.Sum256([]byte("shoal instance " + token))
	return hex.EncodeToString(sum[:8])
}

// control lets a request through to next if it may steer this agent: from this machine, with the token, not from a web
// page, and in JSON, which no form can send.
func control(token string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case err != nil || !from.Addr().Unmap().IsLoopback():
			refuse(w, http.StatusForbidden, "only from this machine: the token would cross the network in the clear; run the command here, for instance over ssh")
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			refuse(w, http.StatusForbidden, "not from a web page; use the command")
		case r.Header.Get("Content-Type") != "application/json":
			refuse(w, http.StatusUnsupportedMediaType, "content type %q; send application/json", r.Header.Get("Content-Type"))
		case !bearer || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1:
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "the token of the agent's state directory, file %s, is missing or wrong", tokenFile)
		default:
			next(w, r)
		}
	}
}

// refuse answers with an error for people, {"error": "…"}.
func refuse(w http.ResponseWriter, code int, format string, args ...any) {
	answer(w, code, map[string]string{"error": fmt.Sprintf(format, args...)})
}
