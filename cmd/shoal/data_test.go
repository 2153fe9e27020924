package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/shards"
)

// serve gives body to every request, at an address on this machine.
func serve(t *testing.T, body string) (url, sum string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/set.tar.gz" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(body)) // a client that went away is no failure of the server
	}))
	t.Cleanup(server.Close)
	digest := sha256.Sum256([]byte(body))
	return server.URL + "/set.tar.gz", hex.EncodeToString(digest[:])
}

func TestDataFetch(t *testing.T) {
	url, sum := serve(t, "four")
	dir := filepath.Join(t.TempDir(), "new")
	dest := filepath.Join(dir, "set.tar.gz")
	fetch := []string{"data", "fetch", "cifar10", "--url", url, "--sha256", strings.ToUpper(sum), "--dir", dir}
	stdout, stderr, code := shoal(t, fetch...)
	text, err := os.ReadFile(dest)
	if code != 0 || err != nil || string(text) != "four" {
		t.Fatalf("exit code %d, %q, %v: %s", code, text, err, stderr)
	}
	if want := dest + ": 4 B, SHA-256 as expected; train on it with --set data.set=" + dest + "\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	stdout, stderr, code = shoal(t, append(fetch, "--json")...)
	var again fetched
	if err := json.Unmarshal([]byte(stdout), &again); err != nil || code != 0 || again != (fetched{dest, 4, sum}) {
		t.Errorf("again: exit code %d, %+v, %v: %s", code, again, err, stderr)
	}
}

func TestDataFetchFails(t *testing.T) {
	url, sum := serve(t, "four")
	other := strings.Repeat("0", 64)
	for name, v := range map[string]struct {
		args []string
		code int
		want string
	}{
		"other set":  {[]string{"mnist"}, exitUsage, `fetch "mnist": no such data set`},
		"no set":     {nil, exitUsage, "run: shoal data fetch cifar10"},
		"checksum":   {[]string{"cifar10", "--url", url, "--sha256", other}, exitData, other},
		"not found":  {[]string{"cifar10", "--url", url + ".old", "--sha256", sum}, exitData, "404"},
		"no file":    {[]string{"cifar10", "--url", "/", "--sha256", sum}, exitUsage, "no file name at its end"},
		"no hex":     {[]string{"cifar10", "--url", url, "--sha256", "12"}, exitData, "64 hexadecimal digits"},
		"not a file": {[]string{"cifar10", "--url", url, "--sha256", sum, "--dir", "data.go"}, exitFailure, "make directory"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"data", "fetch", "--dir", t.TempDir()}, v.args...)
			_, stderr, code := shoal(t, args...)
			if code != v.code || !strings.Contains(stderr, v.want) || strings.Count(stderr, "shoal: ") != 1 {
				t.Errorf("exit code %d, want %d with %q: %s", code, v.code, v.want, stderr)
			}
		})
	}
}

func TestDataInfo(t *testing.T) {
	stdout, stderr, code := shoal(t, "data", "info")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"set       builtin\n", "train     4000 images of 32×32\n", "test      1000 images of 32×32\n", "\nclass", "hash      "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	stdout, stderr, code = shoal(t, "data", "info", "builtin", "--json", "--set", "data.limit=50")
	var d shards.Description
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || code != 0 || d.Name != "builtin" || len(d.Classes) != 10 {
		t.Errorf("exit code %d, %v: %s\n%s", code, err, stderr, stdout)
	}
	_, stderr, code = shoal(t, "data", "info", filepath.Join(t.TempDir(), "absent.zip"))
	if code != exitData || !strings.Contains(stderr, "absent.zip") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
