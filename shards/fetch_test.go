package shards

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// server answers requests from memory, as a round tripper, so that tests need neither network nor real time.
type server struct {
	body    []byte
	noRange bool // serves the whole, whatever is asked for
	unknown bool // does not tell the length
	fail    []int
	// cut ends the body of the k-th answer after so many bytes, stall lets it hang there.
	cut, stall map[int]int
	ranges     []string // of the requests
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	k := len(s.ranges)
	s.ranges = append(s.ranges, req.Header.Get("Range"))
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, Request: req}
	body, from := s.body, 0
	if k < len(s.fail) && s.fail[k] != 0 {
		resp.StatusCode, body = s.fail[k], nil
	} else if n, _ := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from); n == 1 && !s.noRange {
		if from >= len(body) {
			resp.StatusCode, body = 416, nil
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", len(s.body)))
		} else {
			resp.StatusCode, body = 206, body[from:]
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(s.body)-1, len(s.body)))
		}
	}
	resp.Status = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	resp.ContentLength = int64(len(body))
	if s.unknown {
		resp.ContentLength = -1
	}
	r := io.Reader(bytes.NewReader(body))
	if n, ok := s.cut[k]; ok {
		r = io.MultiReader(bytes.NewReader(body[:n]), failing{io.ErrUnexpectedEOF})
	}
	if n, ok := s.stall[k]; ok {
		r = io.MultiReader(bytes.NewReader(body[:n]), hanging{req.Context()})
	}
	resp.Body = io.NopCloser(r)
	return resp, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type hanging struct{ ctx context.Context }

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

func sha(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func TestFetch(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 50000)
	other := bytes.Repeat([]byte("x"), 1000)
	for _, tt := range []struct {
		name   string
		server server
		part   []byte // what an earlier call left
		dest   []byte // what is there already
		sum    string // "" for the body's
		want   string // of the error, "" for none
		is     error
		left   int // bytes of the part file after an error, -1 for none
		ranges string
	}{
		{name: "at once", ranges: "[]"},
		{name: "upper case checksum", sum: strings.ToUpper(sha(body)), ranges: "[]"},
		{name: "length unknown", server: server{unknown: true}, ranges: "[]"},
		{name: "resumes", part: body[:1234], ranges: "[bytes=1234-]"},
		{name: "server without ranges", part: body[:1234], server: server{noRange: true}, ranges: "[bytes=1234-]"},
		{name: "part is whole", part: body, ranges: "[bytes=500000-]"},
		{name: "part is longer", part: append(body, 'x'), ranges: "[bytes=500001- ]"},
		{name: "part of another file", part: other, ranges: "[bytes=1000- ]"},
		{name: "there already", dest: body, ranges: "[]"},
		{name: "another file is there", dest: other, want: "take it away", is: ErrChecksum, left: -1, ranges: "[]"},
		{name: "connection cut twice", server: server{cut: map[int]int{0: 100, 1: 200}}, ranges: "[ bytes=100- bytes=300-]"},
		{name: "short with the right length told", server: server{cut: map[int]int{0: 499999}}, ranges: "[ bytes=499999-]"},
		{name: "stalls", server: server{stall: map[int]int{0: 100}}, ranges: "[ bytes=100-]"},
		{name: "busy server", server: server{fail: []int{503, 429}}, ranges: "[  ]"},
		{name: "not found", server: server{fail: []int{404}}, want: "404 Not Found: the file has moved, give another URL", left: 0, ranges: "[]"},
		{name: "forbidden", server: server{fail: []int{403}}, want: "403 Forbidden: give another URL", left: 0, ranges: "[]"},
		{name: "never up", server: server{fail: []int{500, 500, 500, 500, 500, 500, 500}}, part: body[:10],
			want: "500 Internal Server Error (6 tries, 10 bytes are kept", left: 10},
		{name: "wrong file", sum: sha(other), want: "SHA-256 of 500000 bytes is " + sha(body) + ", want " + sha(other),
			is: ErrChecksum, left: 0, ranges: "[]"},
		{name: "no checksum", sum: "abc", want: "64 hexadecimal digits", left: -1, ranges: "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dest := filepath.Join(t.TempDir(), "set.tar.gz")
				write(t, dest, tt.dest)
				write(t, dest+".part", tt.part)
				tt.server.body = body
				var last, total int64
				f := &fetcher{client: &http.Client{Transport: &tt.server}, url: "https://example.org/set", dest: dest,
					want: strings.ToLower(tt.sum), progress: func(d, n int64) { last, total = d, n }}
				if tt.sum == "" {
					f.want = sha(body)
				}
				err := f.fetch(t.Context())
				if got := fmt.Sprint(tt.server.ranges); tt.ranges != "" && got != tt.ranges {
					t.Errorf("requests: got %q, want %q", got, tt.ranges)
				}
				if tt.want != "" {
					checkFailed(t, err, tt.want, tt.is, dest+".part", tt.left)
					return
				}
				got, _ := os.ReadFile(dest)
				if err != nil || !bytes.Equal(got, body) {
					t.Fatalf("got %v and %d bytes, want %d", err, len(got), len(body))
				}
				if _, err := os.Stat(dest + ".part"); err == nil {
					t.Error("the part file is still there")
				}
				if tt.name != "part is whole" && (last != int64(len(body)) || total != last && !tt.server.unknown) {
					t.Errorf("progress ends at %d of %d", last, total)
				}
			})
		})
	}
}

func checkFailed(t *testing.T, err error, want string, is error, part string, left int) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || is != nil && !errors.Is(err, is) {
		t.Errorf("got %v, want %q", err, want)
	}
	info, err := os.Stat(part)
	if left < 0 && err == nil || left >= 0 && (err != nil || info.Size() != int64(left)) {
		t.Errorf("part file: %v, want %d bytes", err, left)
	}
}

func write(t testing.TB, name string, data []byte) {
	t.Helper()
	if data == nil {
		return
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFetchStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := []byte("all of it")
		dest := filepath.Join(t.TempDir(), "f")
		f := &fetcher{client: &http.Client{Transport: &server{body: body, stall: map[int]int{0: 3}}},
			url: "https://example.org", dest: dest, want: sha(body)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := f.fetch(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3 bytes are kept") {
			t.Errorf("got %v, want the deadline and what is kept", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v, want 1s", d)
		}
	})
}

func TestFetchOnFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	f := &fetcher{client: &http.Client{Transport: &server{body: []byte("bytes")}}, url: "https://example.org",
		dest: "set", part: full, sum: sha256.New()}
	err = f.explain(f.transfer(t.Context()))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") || !strings.Contains(err.Error(), "set.part are kept") {
		t.Errorf("got %v, want the full disk and what is kept", err)
	}
}

func TestFetchRefusesASecondProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := []byte("body")
		dest := filepath.Join(t.TempDir(), "f")
		fetch := func(s *server, ctx context.Context) error {
			f := &fetcher{client: &http.Client{Transport: s}, url: "https://example.org", dest: dest, want: sha(body)}
			return f.fetch(ctx)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() { first <- fetch(&server{body: body, stall: map[int]int{0: 1}}, ctx) }()
		synctest.Wait()
		if err := fetch(&server{body: body}, t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("second: got %v, want %v", err, ErrBusy)
		}
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("first: got %v, want it cancelled", err)
		}
		if err := fetch(&server{body: body}, t.Context()); err != nil {
			t.Errorf("third: %v", err)
		}
	})
}

func TestFetchNamesItsURL(t *testing.T) {
	err := Fetch(t.Context(), "nonsense://x", CIFAR10SHA256, filepath.Join(t.TempDir(), "no", "such", "dir"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "fetch nonsense://x: ") {
		t.Errorf("got %v, want the URL named", err)
	}
}

// Over a real connection, with ranges as net/http serves them.
func TestFetchOverHTTP(t *testing.T) {
	body := bytes.Repeat([]byte("shoal"), 100000)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "set", time.Time{}, bytes.NewReader(body))
	}))
	defer web.Close()
	for _, left := range [][]byte{nil, body[:77777]} {
		dest := filepath.Join(t.TempDir(), "set")
		write(t, dest+".part", left)
		if err := Fetch(t.Context(), web.URL, sha(body), dest, nil); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(dest); !bytes.Equal(got, body) {
			t.Errorf("after %d bytes: got %d, want %d", len(left), len(got), len(body))
		}
	}
}
